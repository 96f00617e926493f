"""The loop: look, plan, hand work out, look again. Level-triggered: files, timers, finished work and a restart all lead to the same cycle.

Each cycle compares everything that is wanted with everything that is there. Objects whose change can be made now are worked on side by
side; what waits, fails or takes long holds up only what depends on it. `apply` is this loop until nothing moves any more.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from controller.account.errors import AccountError, LoginFailed
from controller.account.redact import redact
from controller.api.objects import Location, ObjectKey
from controller.api.project import PROJECT_FILE
from controller.kinds.base import Health, View
from controller.manifests.problems import Problem
from controller.reconcile import history
from controller.reconcile.backoff import Backoff, Failure, FailureClass
from controller.reconcile.change import Action, Block, Change, Plan
from controller.reconcile.clock import Clock, Timing
from controller.reconcile.engine import Engine, invalid_objects, spec_hashes
from controller.reconcile.events import Reason
from controller.reconcile.execute import Done, Executor, Interrupted
from controller.reconcile.files import Loaded, NoProject
from controller.reconcile.prune import Absences
from controller.reconcile.report import Listener, ObjectStatus, Report
from controller.reconcile.settled import settled
from controller.reconcile.status import Context, live_failure, statuses
from controller.reconcile.workers import Workers

log = structlog.get_logger("snowcat.reconcile")
_FIRST_TRIES = 3
_LATER_TRIES = 8
_STEP = 0.2  # seconds between two looks at whether the loop was stopped
_FOR_READING = 2  # sessions that no worker takes, so that long work never keeps the loop from looking


@dataclass
class Reconciler:
    """Keeps one project as its files say. `run` is called once; `stop` and `files_changed` by any thread or signal handler."""

    engine: Engine
    listeners: Sequence[Listener] = ()
    timing: Timing = field(default_factory=Timing)
    clock: Clock = field(default_factory=Clock)
    backoff: Backoff = field(default_factory=Backoff)
    abandoned: bool = field(default=False, init=False)  # the stop left work or a question behind in a thread that may hang
    size: int = 8  # objects worked on at once; fewer where the pool has not that many sessions
    _wake: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _dirty: bool = True
    _loaded: Loaded | None = None
    _failures: dict[ObjectKey, Failure] = field(default_factory=dict)
    _before: dict[ObjectKey, ObjectStatus] = field(default_factory=dict)
    _generations: dict[ObjectKey, int] = field(default_factory=dict)
    _degraded_since: dict[ObjectKey, float] = field(default_factory=dict)
    _next_full: float = 0.0
    _poll: float = 0.0
    _unreachable: int = 0
    _seen_account: bool = False
    _quiet: bool = False  # the last look found nothing to do

    def __post_init__(self) -> None:
        if self.engine.pool is None:
            raise ValueError("the loop needs an account; offline there is only a plan")
        self._executor = Executor(self.engine.pool, self._stop)
        workers = max(1, min(self.size, self.engine.pool.size - _FOR_READING))
        self._workers = Workers(self._executor.run, self._wake.set, workers)
        self._absences = Absences(self.timing.prune_gap)
        self._poll = self.timing.poll_first

    # ---- from outside --------------------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End soon: no new work; statements under way may finish within the grace."""
        self._stop.set()
        self._wake.set()

    def files_changed(self) -> None:
        """Look at the files now."""
        self._dirty = True
        self._wake.set()

    def run(self, *, until_settled: bool = False, timeout: float | None = None) -> Report:
        """Cycle until stopped; with `until_settled` until every object is ready, or nothing can become so without a person.

        Returns the last report. Its `settled` is False when the time was up or the loop was stopped before.

        Raises:
            NoProject: the project file cannot be used, and never could.
        """
        end = None if timeout is None else self.clock.now() + timeout
        report = Report("")
        try:
            while True:
                self._wake.clear()
                try:
                    report = self._cycle()
                except Interrupted:
                    return report
                for listener in self.listeners:
                    listener(report)
                if self._stop.is_set() or (until_settled and report.settled) or (end is not None and self.clock.now() >= end):
                    return report
                self._rest(report, end)
                if self._stop.is_set():
                    return report
        finally:
            self._finish()

    # ---- one cycle -----------------------------------------------------------------------------------------------------------------------

    def _cycle(self) -> Report:
        self._take_results()
        self._take_pokes()
        now = self.clock.now()
        full = self._dirty or now >= self._next_full
        if full or self._loaded is None:
            self._dirty = False
            self._loaded = self._load()
            self._next_full = now + self.timing.resync
        loaded = self._loaded
        untouchable = set(self._workers.busy)  # what is being changed while we look is judged by the next look
        problems = tuple(str(problem) for problem in loaded.errors)
        try:
            view = self._look(loaded, full)
        except AccountError as error:
            return self._no_account(loaded, problems, error)
        self._reached(loaded)
        plan = self.engine.plan(loaded, view)
        if full:
            gone = [change.key for change in plan.changes if change.action is Action.DELETE]
            self._absences.note(gone, not loaded.prune_off, self.clock.now())
        self._generations = self.engine.state.generations(spec_hashes(plan))
        self._forget_failures(plan)
        if not self._stop.is_set():
            self._hand_out(plan, untouchable, full)
        return self._report(loaded, plan, problems, full)

    def _load(self) -> Loaded:
        """The files; while the project file is gone, as they last were. A project in a folder above is another one.

        Raises:
            NoProject: it cannot be used, and never could.
        """
        before = self._loaded
        try:
            loaded = self.engine.load()
        except NoProject as error:
            if before is None:
                raise
            return replace(before, problems=error.problems)
        if before is not None and loaded.project.root != before.project.root:
            gone = Problem(Location(before.project.root / PROJECT_FILE, 1), "the project file is gone", "put it back; until then all stays")
            return replace(before, problems=(gone,))
        return loaded

    def _look(self, loaded: Loaded, full: bool) -> View:
        """Look in a thread, so that an account that does not answer cannot keep a stop waiting.

        Raises:
            AccountError: the account could not be read.
            Interrupted: the loop was stopped, and the answer did not come within the grace.
        """
        answer: queue.SimpleQueue[View | BaseException] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answer.put(self.engine.look(loaded, full=full))
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits for it
                answer.put(error)

        threading.Thread(target=ask, name="look", daemon=True).start()
        waited = 0.0
        while waited < self.timing.grace:
            try:
                found = answer.get(timeout=_STEP)
            except queue.Empty:
                waited += _STEP if self._stop.is_set() else 0.0
                continue
            if isinstance(found, BaseException):
                raise found
            return found
        self.abandoned = True
        raise Interrupted("stopped while the account did not answer")

    def _report(self, loaded: Loaded, plan: Plan, problems: tuple[str, ...], full: bool) -> Report:
        state = self.engine.state
        context = Context(self._failures, dict(self._workers.busy), self._generations)
        found = [*statuses(plan, context), *invalid_objects(loaded, plan)]
        history.compare(state, plan, found, self._before)
        found = state.transitions(found)
        moved = {s.key: (s.sync, s.health, s.action) for s in found} != {k: (s.sync, s.health, s.action) for k, s in self._before.items()}
        self._poll = self.timing.poll_first if moved else min(self.timing.poll_most, self._poll * self.timing.poll_factor)
        for key in self._before.keys() - {status.key for status in found}:
            state.forget(key)
        self._before = {status.key: status for status in found}
        return Report(
            project=loaded.project.name,
            statuses=tuple(found),
            plan=plan,
            events=state.fresh_events(),
            problems=problems,
            working=tuple(sorted(self._workers.busy)),
            settled=self._settled(plan, found, full),
        )

    def _settled(self, plan: Plan, found: list[ObjectStatus], full: bool) -> bool:
        """Only a full look tells: it alone sees leftovers, so when a lesser one finds nothing to do, a full one follows."""
        now = self.clock.now()
        degraded = {status.key for status in found if status.health is Health.DEGRADED}
        self._degraded_since = {key: self._degraded_since.get(key, now) for key in degraded}
        given_up = {key for key, since in self._degraded_since.items() if now - since >= self.timing.degraded}
        if self._workers.busy or self.engine.deep.unread or not settled(plan, found, given_up):
            self._quiet = False
            return False
        if not full and not self._quiet:
            self._next_full = now
        self._quiet = True
        return full

    def _hand_out(self, plan: Plan, untouchable: set[ObjectKey], full: bool) -> None:
        now = self.clock.now()
        for change in plan.changes:
            if self._workers.full:
                return
            if not change.runnable or change.key in untouchable or change.key in self._workers.busy:
                continue
            failure = self._failures.get(change.key)
            if failure and failure.fingerprint == change.fingerprint and now < failure.not_before:
                continue
            if change.action is Action.DELETE and not (full and self._absences.confirmed(change.key, now)):
                continue
            log.info("change", object=str(change.key), action=change.action.value, reason=redact(change.reason))
            self._workers.start(change)

    # ---- results, requests, failures -----------------------------------------------------------------------------------------------------

    def _take_results(self) -> None:
        for done in self._workers.take():
            key = done.change.key
            self.engine.deep.forget(key)
            generation = self._generations.get(key, 0)
            if done.error is None:
                self._clear_failure(key)
                history.succeeded(self.engine.state, done, generation)
                log.info("done", object=str(key), action=done.change.action.value, seconds=round(done.seconds, 3))
                if done.change.action is Action.DELETE:
                    self._next_full = 0.0  # what it was in may go now
            elif not isinstance(done.error, Interrupted):
                self._failed(done, done.error, generation)

    def _failed(self, done: Done, error: Exception, generation: int) -> None:
        key, change = done.change.key, done.change
        deleting = change.action is Action.DELETE
        failure = self.backoff.after(error, change.fingerprint, self._failures.get(key), self.clock.now(), deleting=deleting)
        failure = replace(failure, message=redact(failure.message))
        self._failures[key] = failure
        self.engine.state.keep_failure(key, failure)
        history.failed(self.engine.state, key, failure, generation)
        log.warning(
            "not done",
            object=str(key),
            action=change.action.value,
            failure=failure.kind.value,
            reason=failure.reason,
            error=failure.message,
        )

    def _clear_failure(self, key: ObjectKey) -> None:
        if self._failures.pop(key, None):
            self.engine.state.keep_failure(key, None)

    def _forget_failures(self, plan: Plan) -> None:
        """A failure stands only for the change that was tried."""
        for key in list(self._failures):
            entry = plan.objects.get(key)
            if key not in self._workers.busy and (entry is None or not live_failure(entry, self._failures[key])):
                self._clear_failure(key)

    def _take_pokes(self) -> None:
        for target in self.engine.state.take_pokes():
            for key in [key for key in self._failures if target in ("", str(key))]:
                self._clear_failure(key)
            self._dirty = True
            self.engine.state.event(target or "Project", Reason.REQUESTED, "a look was asked for")

    # ---- the account away ----------------------------------------------------------------------------------------------------------------

    def _no_account(self, loaded: Loaded, problems: tuple[str, ...], error: AccountError) -> Report:
        self._unreachable += 1
        self._next_full = 0.0
        message = redact(str(error))
        self.engine.state.event("Project", Reason.UNREACHABLE, message)
        log.warning("account cannot be read", error=message, tries=self._unreachable)
        return Report(
            project=loaded.project.name,
            statuses=tuple(self._before.values()),
            events=self.engine.state.fresh_events(),
            problems=problems,
            working=tuple(sorted(self._workers.busy)),
            error=message,
            settled=not self._workers.busy and (isinstance(error, LoginFailed) or self._given_up()),
        )

    def _given_up(self) -> bool:
        """`apply` does not wait for ever for an account that is away, and not long for one that it has not seen once; `run` does."""
        return self._unreachable >= (_LATER_TRIES if self._seen_account else _FIRST_TRIES)

    def _reached(self, loaded: Loaded) -> None:
        if self._unreachable:
            self.engine.state.event("Project", Reason.REACHABLE, f"project {loaded.project.name} can be looked at again")
        self._unreachable = 0
        self._seen_account = True

    # ---- between cycles ------------------------------------------------------------------------------------------------------------------

    def _rest(self, report: Report, end: float | None) -> None:
        """Wait for the next reason to look: a result, a file, a request, or the time."""
        until = self._next_look(report)
        if end is not None:
            until = min(until, end)
        while not self._wake.is_set() and (left := until - self.clock.now()) > 0:
            self.clock.wait(self._wake, min(left, self.timing.poke))
            if self.engine.state.has_pokes():
                return

    def _next_look(self, report: Report) -> float:
        now = self.clock.now()
        if report.error:
            return now + self.backoff.delay(self._unreachable)
        times = [self._next_full]
        moving = any(s.health is Health.PROGRESSING for s in report.statuses) or self.engine.deep.unread
        waiting = report.plan is not None and any(c.block is Block.WAITING or self._ready_to_go(c) for c in report.plan.changes)
        if self._workers.busy or moving or waiting:
            times.append(now + self._poll)
        times += [max(f.not_before, now + self.timing.poll_first) for f in self._failures.values() if f.kind is not FailureClass.STALLED]
        due = self._absences.next_due(now)
        if due is not None:
            self._next_full = min(self._next_full, now + due)
            times.append(self._next_full)
        return min(times)

    def _ready_to_go(self, change: Change) -> bool:
        return change.runnable and change.key not in self._failures and change.action is not Action.DELETE

    def _finish(self) -> None:
        self._stop.set()
        left = self._workers.join(self.timing.grace if not self.abandoned else 0.0)
        self._take_results()
        if left:
            self.abandoned = True
            log.warning("stopped while work was under way; the next start takes it up", objects=[str(key) for key in left])
