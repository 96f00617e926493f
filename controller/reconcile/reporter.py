"""Makes the report of each cycle: statuses with their transitions, events of what moved, and whether anything will move by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from controller.account.errors import AccountError, LoginFailed
from controller.account.redact import redact
from controller.api.objects import DesiredObject, ObjectKey
from controller.kinds.base import Health
from controller.reconcile import history
from controller.reconcile.clock import Timing
from controller.reconcile.engine import invalid_objects, spec_hash
from controller.reconcile.events import Reason
from controller.reconcile.lead.leadership import Standing
from controller.reconcile.look.files import Loaded
from controller.reconcile.planning.change import ObjectPlan, Plan
from controller.reconcile.report import ObjectStatus, Report
from controller.reconcile.rest import Rest
from controller.reconcile.settled import settled
from controller.reconcile.state import State
from controller.reconcile.status import Context, Made, made_again
from controller.reconcile.work.backoff import Failure
from controller.reconcile.work.failures import Failures

log = structlog.get_logger("snowcat.reconcile")
_FIRST_TRIES = 3
_LATER_TRIES = 8


@dataclass
class Reporter:
    """Remembers the statuses of the last look, and what they were made from: of thousands of objects a look mostly moves a few, and a save
    waits for this thread. For one thread."""

    state: State
    timing: Timing
    failures: Failures
    rest: Rest
    before: dict[ObjectKey, ObjectStatus] = field(default_factory=dict)
    generations: dict[ObjectKey, int] = field(default_factory=dict)
    _counted: Mapping[ObjectKey, DesiredObject] = field(default_factory=dict)  # whose generations these are
    _made: dict[ObjectKey, Made] = field(default_factory=dict)  # the statuses of `before` that still stand as they were made
    _statuses: tuple[ObjectStatus, ...] = ()  # the same tuple for as long as nothing moves, so that its identity stands for it
    _degraded: set[ObjectKey] = field(default_factory=set)
    _degraded_since: dict[ObjectKey, float] = field(default_factory=dict)
    _plan: Plan | None = None  # of the last look, kept so that its identity stands for it
    _seen: tuple[int, dict[ObjectKey, str], dict[ObjectKey, Failure]] | None = None
    _unreachable: int = 0
    _unread: str = ""  # what was logged of that
    _seen_account: bool = False
    _quiet: bool = False  # the last look found nothing to do

    def take_plan(self, plan: Plan) -> None:
        """The generations that results and statuses of this plan belong to."""
        if plan is not self._plan:
            objects = plan.graph.objects
            moved = {key: spec_hash(obj) for key, obj in objects.items() if self._counted.get(key) is not obj}
            known = {key: generation for key, generation in self.generations.items() if key in objects}
            self.generations = {**known, **self.state.generations(moved)}
            self._counted, self._plan = objects, plan

    def hastened(self, entries: Sequence[ObjectPlan]) -> None:
        """Work on objects whose manifests were just saved begins before the look that would report the difference."""
        wanted = {entry.key: entry.desired for entry in entries if entry.desired is not None}
        self.generations = {**self.generations, **self.state.generations({key: spec_hash(obj) for key, obj in wanted.items()})}
        self._counted, self._plan = {**self._counted, **wanted}, None
        for entry in entries:
            history.hastened(self.state, entry.change, self.generations.get(entry.key, 0))
            if entry.key in self.before:
                self.before[entry.key] = self.before[entry.key].out_of_sync()
                self._made.pop(entry.key, None)
        self._statuses = tuple(self.before.values())

    def looked(self, loaded: Loaded, plan: Plan, busy: Mapping[ObjectKey, str], now: float, *, full: bool, unread: int) -> Report:
        """After a look at the account. `busy`: key → what is being done; `unread`: questions that wait for their turn."""
        seen = (id(plan), dict(busy), dict(self.failures.known))
        if seen == self._seen:  # statuses follow from nothing else
            found = self._statuses
            self.rest.moved(False)
        else:
            found = self._compare(loaded, plan, busy, full=full)
            self._seen = seen
        return Report(
            project=loaded.project.name,
            statuses=found,
            plan=plan,
            events=self.state.fresh_events(),
            problems=problems(loaded),
            notes=loaded.notes,
            working=tuple(sorted(busy)),
            settled=self._settled(plan, found, now, full=full, idle=not busy and not unread),
        )

    def _compare(self, loaded: Loaded, plan: Plan, busy: Mapping[ObjectKey, str], *, full: bool) -> tuple[ObjectStatus, ...]:
        """The statuses of a look, and what follows from their difference to the last ones. Only those that moved are looked at."""
        made = made_again(plan, Context(self.failures.known, busy, self.generations), self._made)
        invalid = invalid_objects(loaded, plan)
        if not full:  # it does not look for leftovers: those of the last full one are still there
            declared = made.keys() | {status.key for status in invalid}
            made |= {key: one for key, one in self._made.items() if key not in declared and one.status.location is None}
        moved = [key for key, status in made.items() if status is not self._made.get(key)]
        found = [*(made[key].status for key in moved), *invalid]
        history.compare(self.state, plan, found, self.before)
        found = self.state.transitions(found)
        dated = {status.key: status for status in found}
        made |= {key: replace(made[key], status=dated.pop(key)) for key in moved}
        self._statuses = (*(one.status for one in made.values()), *dated.values())  # those left are of manifests that cannot be used
        before, self.before = self.before, {status.key: status for status in self._statuses}
        gone = before.keys() - self.before.keys()
        self.rest.moved(bool(gone) or any(_face(status) != _face(before.get(status.key)) for status in found))
        if any(status.ready and not (old and old.ready) for status in found for old in [before.get(status.key)]):
            self.failures.wake_waiting()
        for key in gone:
            self.state.forget(key)
        self._made = made
        self._degraded = {status.key for status in self._statuses if status.health is Health.DEGRADED}
        return self._statuses

    def _settled(self, plan: Plan, found: Sequence[ObjectStatus], now: float, *, full: bool, idle: bool) -> bool:
        """Only a full look tells: it alone sees leftovers, so when a lesser one finds nothing to do, a full one follows."""
        self._degraded_since = {key: self._degraded_since.get(key, now) for key in self._degraded}
        given_up = {key for key, since in self._degraded_since.items() if now - since >= self.timing.degraded}
        if not idle or not settled(plan, found, given_up):
            self._quiet = False
            return False
        if not full and not self._quiet:
            self.rest.full_look_due(now)
        self._quiet = True
        return full

    # ---- the account away ------------------------------------------------------------------------------------------------------------

    def no_account(self, loaded: Loaded, busy: Mapping[ObjectKey, str], error: AccountError) -> Report:
        """The account could not be read: every object stays as it was last seen."""
        self._unreachable += 1
        self.rest.full_look_due()
        message = redact(str(error))
        self.state.event("Project", Reason.UNREACHABLE, message)
        if message != self._unread:
            log.warning("account cannot be read", error=message, tries=self._unreachable)
        self._unread = message
        return Report(
            project=loaded.project.name,
            statuses=tuple(self.before.values()),
            events=self.state.fresh_events(),
            problems=problems(loaded),
            notes=loaded.notes,
            working=tuple(sorted(busy)),
            error=message,
            tries=self._unreachable,
            settled=not busy and (isinstance(error, LoginFailed) or self._given_up()),
        )

    def standby(self, loaded: Loaded | None, busy: Mapping[ObjectKey, str], standing: Standing) -> Report:
        """Somebody else works on the project: nothing was looked at, and every object stays as it was last seen. On this machine whoever
        works writes to the same state file, so the next look asks it about everything."""
        self._counted, self._made, self._plan, self._seen = {}, {}, None, None
        return Report(
            project=loaded.project.name if loaded else "",
            statuses=tuple(self.before.values()),
            events=self.state.fresh_events(),
            working=tuple(sorted(busy)),
            error=standing.message if standing.hopeless else "",
            standby=standing.message,
            settled=standing.hopeless and not busy,
        )

    def _given_up(self) -> bool:
        """`apply` does not wait for ever for an account that is away, and not long for one that it has not seen once; `run` does."""
        return self._unreachable >= (_LATER_TRIES if self._seen_account else _FIRST_TRIES)

    def reached(self, loaded: Loaded) -> None:
        """The account answered."""
        if self._unreachable:
            log.info("account can be read again", tries=self._unreachable)
            self.state.event("Project", Reason.REACHABLE, f"project {loaded.project.name} can be looked at again")
        self._unreachable, self._unread = 0, ""
        self._seen_account = True


def problems(loaded: Loaded) -> tuple[str, ...]:
    """What is wrong in the files."""
    return tuple(str(problem) for problem in loaded.errors)


def _face(status: ObjectStatus | None) -> tuple[object, ...]:
    """What of a status counts as a move."""
    return () if status is None else (status.sync, status.health, status.action)
