"""One look at a project from end to end: load the files, gather facts, look at the account, plan. No loop, and no memory but caches.

`snowcat plan`, `get`, `describe`, the loop and `destroy` all go through here.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from controller.account.errors import Rejected, TimedOut
from controller.account.pool import SessionPool
from controller.account.reader import current_role, read
from controller.account.redact import redact
from controller.account.snapshot import Read, Show, Snapshot
from controller.account.tracing import span
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import Kind, View
from controller.reconcile.look.deep import Answers, DeepReads
from controller.reconcile.look.facts import FactGatherer, FileHashes, gather_all
from controller.reconcile.look.files import Loaded, Loader, load_with_last_good
from controller.reconcile.look.observe import look, offline_view
from controller.reconcile.look.silent import Silent
from controller.reconcile.look.still import still
from controller.reconcile.planning.change import Permit, Plan
from controller.reconcile.planning.ownership import written_for
from controller.reconcile.planning.plan import plan
from controller.reconcile.planning.prune import Rules
from controller.reconcile.report import ObjectStatus
from controller.reconcile.state import State
from controller.reconcile.status import Context, invalid, statuses
from controller.reconcile.work.backoff import FailureClass

log = structlog.get_logger("snowcat.reconcile")


@dataclass(frozen=True)
class _Planned:
    """The last plan with all that it was made from: planning is pure, so the same again gives the same plan."""

    view: View
    inputs: tuple[object, ...]
    plan: Plan


def _same(one: View, other: View) -> bool:
    return (
        one.graph is other.graph
        and one.births == other.births
        and one.facts == other.facts
        and one.snapshot.role == other.snapshot.role
        and one.snapshot.answers == other.snapshot.answers
    )


@dataclass
class Engine:
    """`pool` None plans offline: every question counts as answered with nothing."""

    load_files: Loader
    kinds: Mapping[str, Kind]
    state: State
    pool: SessionPool | None
    account: str = ""
    local: bool = False
    hashes: FileHashes = field(default_factory=FileHashes)
    deep: DeepReads = field(default_factory=DeepReads)
    allow_prune: int | None = None  # leftovers that a person has allowed to go at once
    permit: Permit | None = None  # what may be done in this run; None: whatever is planned
    silent: Silent = field(default_factory=Silent)
    _role: str | None = None
    _births: dict[ObjectKey, str] | None = None
    _remembered: Plan | None = None  # the last plan whose births were kept
    _planned: _Planned | None = None
    _seen_at: float = 0.0  # when the account was last found as the last plan has it

    def last(self, within: float) -> tuple[View, Plan] | None:
        """The last plan and what it was made from, if that was seen at most so many seconds ago."""
        planned = self._planned
        return (planned.view, planned.plan) if planned is not None and time.monotonic() - self._seen_at <= within else None

    def questions(self, key: ObjectKey) -> tuple[Show, ...]:
        """The SHOWs that list an object of the last plan."""
        graph = self._planned.plan.graph if self._planned is not None else Graph({})
        return tuple(self.kinds[key.kind].reads(graph.objects[key], graph)) if key in graph else ()

    def load(self, *, keep: bool = True) -> Loaded:
        """Read the files; `keep` remembers what is good.

        Raises:
            NoProject: the project file cannot be used, and never could.
        """
        with span("load"):
            loaded = load_with_last_good(self.load_files, self.state, local=self.local, keep=keep)
        self.deep.budget = loaded.settings.deep_reads
        return loaded

    def look(self, loaded: Loaded, *, full: bool = True, dropping: bool = False) -> View:
        """Facts and one look at the account; see `controller.reconcile.look.observe.look`.

        Raises:
            AccountError: the account could not be read.
        """
        gatherer = FactGatherer(loaded.project, self.state, self.pool, self.hashes)
        if self.pool is None:
            return offline_view(loaded.project, loaded.graph, gather_all(loaded.graph, self.kinds, gatherer))
        if self._role is None:
            self._role = current_role(self.pool)
        facts = gather_all(loaded.graph, self.kinds, gatherer)
        pool = self.pool
        if self._births is None:
            self._births = self.state.births()
        view = look(
            loaded.project,
            loaded.graph,
            facts,
            self.kinds,
            lambda reads: self._ask(pool, reads),
            self.deep,
            role=self._role,
            first=gatherer.answers,
            full=full,
            dropping=dropping,
            ask_wide=lambda reads: self._ask(pool.wide(), reads),
            ask_details=lambda reads: self._ask_details(pool, reads),
        )
        return replace(view, births=self._births)

    def read_on(self) -> bool:
        """Read more of what only DESCRIBE tells, without a look; see `DeepReads.read_on`.

        Raises:
            AccountError: the account could not be read.
        """
        pool = self.pool
        return pool is not None and self.deep.read_on(lambda reads: self._ask_details(pool, reads))

    def plan(self, loaded: Loaded, view: View, failed: Mapping[ObjectKey, str] | None = None) -> Plan:
        """What would be done. Pure. `failed`: objects whose last try stalled → fingerprint of the change that was tried."""
        rules = Rules(loaded.prune_off, loaded.settings.prune_share, self.allow_prune)
        inputs = (view.project, rules, loaded.invalid, loaded.remembered, self.permit, dict(failed or {}))
        last, seen_at = self._planned, time.monotonic()
        if last is not None and last.inputs == inputs and _same(last.view, view):
            self._seen_at = seen_at
            return last.plan
        with span("plan", snowcat__objects=len(loaded.graph.objects)) as traced:
            now = plan(
                view,
                self.kinds,
                account=self.account,
                prune=rules,
                invalid=loaded.invalid,
                remembered=loaded.remembered,
                permit=self.permit,
                failed=failed,
                before=last.plan.objects if last is not None else None,
            )
            traced.set("snowcat.pending", len(now.pending))
        self._planned, self._seen_at = _Planned(view, inputs, now), seen_at  # only now: until here a save goes by the plan of before
        return now

    def glance(self, loaded: Loaded, view: View, keys: Iterable[ObjectKey]) -> View:
        """A view that is still young, with some objects as they are now: their manifests, their facts and their rows.

        Raises:
            AccountError: the account could not be read.
        """
        if self.pool is None:
            raise ValueError("a glance needs an account")
        chosen = list(keys)
        gatherer = FactGatherer(loaded.project, self.state, self.pool, self.hashes)
        facts = {**view.facts, **gather_all(loaded.graph, self.kinds, gatherer, chosen)}
        graph = view.graph.with_objects([loaded.graph.objects[key] for key in chosen])
        questions = dict.fromkeys(question for key in chosen for question in self.kinds[key.kind].reads(graph.objects[key], graph))
        known = {question: answer for question, answer in view.snapshot.answers.items() if question not in questions}
        answers = {**known, **gatherer.answers, **self._ask(self.pool, questions, first=True)}
        return replace(view, graph=graph, facts=facts, snapshot=Snapshot(answers, view.snapshot.role))

    def remember(self, now: Plan) -> None:
        """Keep when the objects were made that carry our mark, so that they stay ours when somebody writes over their comments."""
        if now is self._remembered:
            return
        before, self._remembered = self._remembered, now
        seen = before.objects if before is not None and before.project == now.project else {}
        new = [e for e in now if seen.get(e.key) is not e]
        own = [e for e in new if e.mark is not None and e.mark.project == now.project and written_for(e.mark, e.key)]
        ours = {entry.key: entry.observation.born for entry in own if entry.observation is not None and entry.observation.born}
        known = self._births or {}
        moved = {key: born for key, born in ours.items() if known.get(key) != born}
        if moved:
            self._births = {**known, **moved}
            self.state.keep_births(moved)

    def _ask(self, pool: SessionPool, reads: Iterable[Read], *, first: bool = False) -> Answers:
        """All answers; a question that this account does not take, or not in time, is left without one, so that it costs only the objects
        that need it.

        Raises:
            AccountError: the account cannot be read at all.
        """
        wanted = self.silent.without(reads)
        try:
            answers = read(pool, wanted, first=first)
        except Rejected:
            answers = {}
            for question in wanted:
                try:
                    answers.update(read(pool, [question], first=first))
                except Rejected as error:
                    log.warning("the account does not answer a question", sql=question.sql, error=redact(error.message))
        else:
            self.silent.note(wanted, answers)
        return still(answers)

    def _ask_details(self, pool: SessionPool, reads: Iterable[Read]) -> Answers:
        """As `_ask`, for what only DESCRIBE tells: where it hangs it is left alone for a while, all of its kind too, so that not every look
        waits for it. Not so for SHOWs: of an account that is away it should be said that it is.

        Raises:
            AccountError: as `_ask`.
        """
        wanted = self.silent.paced(self.silent.without(reads))
        try:
            answers = self._ask(pool, wanted)
        except TimedOut:
            self.silent.note(wanted, ())
            self.silent.judge(wanted)
            raise
        self.deep.ask_again(self.silent.judge(wanted))
        return answers

    def assess(self) -> tuple[Loaded, Plan, list[ObjectStatus]]:
        """The files, the plan and the status of every object now, with what the daemon remembers of it. Changes nothing, not even the
        state file's history.

        Raises:
            NoProject, AccountError.
        """
        loaded = self.load(keep=False)
        tried = self.state.failures(loaded.graph.objects)
        stalled = {key: failure.fingerprint for key, failure in tried.items() if failure.kind is FailureClass.STALLED}
        now = self.plan(loaded, self.look(loaded), stalled)
        generations = self.state.generations(spec_hashes(now), keep=False)
        found = statuses(now, Context(self.state.failures(now.objects), {}, generations))
        return loaded, now, self.state.transitions([*found, *invalid_objects(loaded, now)], keep=False)


def spec_hashes(now: Plan) -> dict[ObjectKey, str]:
    """A short hash of each object's resolved specification; its changes are counted as generations."""
    return {key: spec_hash(obj) for key, obj in now.graph.objects.items()}


def spec_hash(obj: DesiredObject) -> str:
    return hashlib.sha256(obj.manifest.model_dump_json(by_alias=True, include={"spec"}).encode()).hexdigest()[:12]


def invalid_objects(loaded: Loaded, now: Plan) -> list[ObjectStatus]:
    """A status for each object that stands in a file but cannot be used, such as both of a duplicate."""
    return [invalid(key, str(problem), problem.location) for key, problem in loaded.by_key.items() if key not in now.graph]
