"""The loop: look, plan, hand work out, look again. Level-triggered: files, timers, finished work and a restart all lead to the same cycle.

Each cycle compares everything that is wanted with everything that is there. Objects whose change can be made now are worked on side by
side; what waits, fails or takes long holds up only what depends on it. `apply` is this loop until nothing moves any more.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from controller.account.errors import AccountError
from controller.account.tracing import span
from controller.kinds.base import View
from controller.reconcile import history
from controller.reconcile.clock import Clock, Timing
from controller.reconcile.engine import Engine
from controller.reconcile.events import Reason
from controller.reconcile.lead.leadership import Alone, Interrupted, Leadership
from controller.reconcile.look.files import Loaded
from controller.reconcile.look.follow import Follow
from controller.reconcile.look.latest import LatestFiles
from controller.reconcile.look.looker import Looker
from controller.reconcile.look.quick import quick_changes
from controller.reconcile.meter import Meter
from controller.reconcile.planning.change import Action, Change, Plan
from controller.reconcile.planning.prune import Absences
from controller.reconcile.report import Listener, Report
from controller.reconcile.reporter import Reporter
from controller.reconcile.rest import Rest
from controller.reconcile.work.backoff import Backoff, FailureClass
from controller.reconcile.work.execute import Done, Executor
from controller.reconcile.work.failures import Failures, outcome, result_of
from controller.reconcile.work.queue import WorkQueue
from controller.reconcile.work.workers import Workers

log = structlog.get_logger("snowcat.reconcile")
_LOOK_ENDS = 2.0  # seconds that a look has to come back after a stop
_FOR_READING = 2  # sessions that no worker takes, so that long work never keeps the loop from looking
_LOOKS = 3  # at most so many for one plan: what changes all the time is planned as it was a moment ago
_WORK_FIRST = 4.0  # while work waits for a worker, a look begins so many times what the last one took after it; a resync later at the most


@dataclass
class Reconciler:
    """Keeps one project as its files say. `run` is called once; `stop` and `files_changed` by any thread or signal handler."""

    engine: Engine
    listeners: Sequence[Listener] = ()
    timing: Timing = field(default_factory=Timing)
    clock: Clock = field(default_factory=Clock)
    backoff: Backoff = field(default_factory=Backoff)
    leadership: Leadership = field(default_factory=Alone)
    meter: Meter = field(default_factory=Meter)
    abandoned: bool = field(default=False, init=False)  # the stop left work or a question behind in a thread that may hang
    size: int = 8  # objects worked on at once; fewer where the pool has not that many sessions
    _wake: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _dirty: bool = True
    _overtaken: bool = False  # the files were loaded anew since the look began
    _stopped_at: float | None = None
    _unusual: bool = False  # a result since the look began that only another look can follow
    _cycle_took: float = 0.0

    def __post_init__(self) -> None:
        if self.engine.pool is None:
            raise ValueError("the loop needs an account; offline there is only a plan")
        self._executor = Executor(self.engine.pool, self._stop, self.leadership, self.engine.state.remember, self.engine.questions)
        workers = max(1, min(self.size, self.engine.pool.size - _FOR_READING))
        self._queue = WorkQueue(self.meter, self.clock.now)
        self._workers = Workers(
            self._queue,
            self._executor.run,
            self._work_ended,
            self._executor.abort,
            workers,
            limit=self.timing.work,
            now=self.clock.now,
        )
        self.meter.workers(workers)
        self._absences = Absences(self.timing.prune_gap)
        self._failures = Failures(self.engine.state, self.backoff)
        self._rest = Rest(self.timing, self._failures, self._absences)
        self._reporter = Reporter(self.engine.state, self.timing, self._failures, self._rest)
        self._files = LatestFiles(self.engine)
        self._looker = Looker(self.engine, self._stop, min(_LOOK_ENDS, self.timing.grace), self._meanwhile)
        self._follow = Follow(self.engine, self._looker.glance)
        self._changed: list[Done] = []  # whose DESCRIBEs are out of date, and a look may be reading

    # ---- from outside --------------------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End soon: no new work; statements under way may finish within the grace."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
        self._stop.set()
        self._wake.set()

    def files_changed(self) -> None:
        """Look at the files now."""
        self._dirty = True
        self._wake.set()
        self._looker.poke()

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
                    report = self._turn()
                except Interrupted:
                    return report
                for listener in self.listeners:
                    listener(report)
                if self._stop.is_set() or (until_settled and report.settled) or (end is not None and self.clock.now() >= end):
                    return report
                with contextlib.suppress(Interrupted):  # the stop came during a glance
                    self._wait(report, end)
                if self._stop.is_set():
                    return report
        finally:
            self._finish()

    # ---- one cycle -----------------------------------------------------------------------------------------------------------------------

    def _turn(self) -> Report:
        """One cycle, measured."""
        started = time.monotonic()
        try:
            with span("cycle") as self._executor.cycle:
                return self._cycle()
        finally:
            self._cycle_took = time.monotonic() - started
            self.meter.cycled(self._cycle_took)

    def _cycle(self) -> Report:
        self._workers.watch()
        self._take_and_follow()
        standing = self.leadership.standing()
        self.meter.leads(standing.leads)
        if not standing.leads:
            self._queue.withdraw()
            return self._reporter.standby(self._files.loaded, self._workers.busy, standing)
        self._take_pokes()
        now = self.clock.now()
        full = self._dirty or self._overtaken or now >= self._rest.next_full
        if full or self._files.loaded is None:
            self._take_files()
            self._rest.full_look(now)
        try:
            loaded, view, plan, full = self._look(full=full)
        except AccountError as error:
            loaded = self._files.now
            self._queue.withdraw()
            standing = self.leadership.standing()
            if not standing.leads:  # its sessions were ended by who leads now
                return self._reporter.standby(loaded, self._workers.busy, standing)
            return self._reporter.no_account(loaded, self._workers.busy, error)
        self._reporter.reached(loaded)
        if full:
            gone = [change.key for change in plan.changes if change.action is Action.DELETE]
            self._absences.note(gone, not loaded.prune_off, self.clock.now())
        self._reporter.take_plan(plan)
        self.engine.remember(plan)
        self._failures.compare(plan, self._workers.busy)
        if not self._stop.is_set():
            self._follow.begin(loaded, view, plan)
            self._hand_out(plan, full)
            self._hand_on(self._follow.catch_up(self._files.now.graph))
        unread = self._unread
        return self._reporter.looked(loaded, plan, dict(self._workers.busy), self.clock.now(), full=full, unread=unread)

    def _look(self, *, full: bool) -> tuple[Loaded, View, Plan, bool]:
        """Files, what the account shows, the plan of both, and whether it was a full look. When the files change meanwhile, it is looked
        again with the new ones.

        Raises:
            AccountError: the account could not be read.
        """
        for _ in range(_LOOKS):
            loaded, self._overtaken, self._unusual = self._files.now, False, False
            self._queue.look_begins()
            self._follow.look_begins()
            for done in self._changed:
                self.engine.deep.forget(done.change.key, done=done.error is None)
            self._changed = []
            view = self._looker.look(loaded, full=full)
            plan = self._looker.plan(loaded, view, dict(self._failures.stalled))
            now = self._files.now
            if loaded.graph is now.graph and loaded.problems == now.problems:
                break
            full = True
        else:
            full = False  # of files that have changed again since: it tells neither what may go nor that all is done
        self._dirty |= self._overtaken
        return loaded, view, plan, full

    def _meanwhile(self) -> None:
        """While a look is under way: what was saved, and what follows from results, does not wait for it."""
        if self._stop.is_set():
            return
        while self._dirty:
            self._take_files()
        self._take_and_follow()

    def _take_files(self) -> None:
        """Load, and do at once what can be done of what was just saved."""
        self._dirty, self._overtaken = False, True
        before, now = self._files.load(), self._files.now
        self._queue.take_back(lambda change: change.action is Action.DELETE and bool(change.key in now.graph or now.prune_off))
        self._hasten(before, now)

    def _hasten(self, before: Loaded | None, loaded: Loaded) -> None:
        """What was just saved goes first; the full look that follows judges it again."""
        entries = quick_changes(self.engine, before, loaded, self._looker.glance)
        entries = [entry for entry in entries if not self._failures.resting(entry.change, self.clock.now())]
        if entries and not self._stop.is_set():
            self._queue.hasten([entry.change for entry in entries])
            self._workers.staff()
            self._reporter.hastened(entries)

    def _take_and_follow(self) -> None:
        """Take results, and hand out what waited for just them. Notes whether a look is needed for what else follows."""
        results = self._take_results()
        if self._files.loaded is None or (results and not self.leadership.may_mutate()):
            self._unusual = True
            return
        changes, usual = self._follow.ended(results, self._files.now.graph)
        self._hand_on(changes)
        self._unusual |= not usual

    def _hand_on(self, changes: Sequence[Change]) -> None:
        """What waited for nothing but what has just been done."""
        now = self.clock.now()
        ready = [change for change in changes if not self._failures.resting(change, now)]
        if ready and not self._stop.is_set():
            self._queue.hasten(ready, self._follow.chains)
            self._workers.staff()

    def _hand_out(self, plan: Plan, full: bool) -> None:
        """Put into the queue what can be done now. Only a full look finds leftovers; a lesser one keeps those that wait for a worker."""
        now = self.clock.now()

        def wanted(change: Change) -> bool:
            if not change.runnable or self._failures.resting(change, now):
                return False
            confirmed = full and self._absences.confirmed(change.key, now)
            return change.action is not Action.DELETE or confirmed or self._queue.queued(change)

        self._queue.offer([change for change in plan.changes if wanted(change)], self._follow.chains)
        self._workers.staff()

    # ---- results and requests ------------------------------------------------------------------------------------------------------------

    def _take_results(self) -> list[Done]:
        results = self._workers.take()
        self._changed += results
        for done in results:
            key = done.change.key
            generation = self._reporter.generations.get(key, 0)
            failure = None
            if done.error is None:
                self._failures.clear(key)
                history.succeeded(self.engine.state, done, generation)
                log.info("done", **outcome(done, generation))
                if done.change.action is Action.DELETE:
                    self._rest.full_look_due()  # what it was in may go now
            elif not isinstance(done.error, Interrupted) and self.leadership.may_mutate():  # else its session was ended by who leads now
                failure = self._failures.note(done, done.error, generation, self.clock.now())
                if failure.kind is FailureClass.TRANSIENT:
                    self.meter.retried(key)
            self.meter.reconciled(key, result_of(done.error, failure), done.seconds)
        return results

    def _take_pokes(self) -> None:
        for target in self.engine.state.take_pokes():
            self._failures.forgive(target)
            self._dirty = True
            self.engine.state.event(target or "Project", Reason.REQUESTED, "a look was asked for")

    # ---- between cycles ------------------------------------------------------------------------------------------------------------------

    def _wait(self, report: Report, end: float | None) -> None:
        """Wait for the next reason to look: a result, a file, a request, or the time. Meanwhile read what only DESCRIBE tells."""
        now = self.clock.now()
        until = self._rest.next_look(report, now, working=bool(self._workers.busy), silent=self.engine.silent.soon)
        if len(self._queue):
            until = max(until, now + min(_WORK_FIRST * self._cycle_took, self.timing.resync))
        until = min(until, self._workers.watch())
        if end is not None:
            until = min(until, end)
        while (left := until - self.clock.now()) > 0:
            if self._wake.is_set():
                if not self._carry_on():
                    return
                if not len(self._queue):  # the last ones are under way: one look for all of them, unless they take long
                    until = min(until, self.clock.now() + self.timing.poll_first)
            elif report.plan is not None and self.engine.deep.unread:
                if not self._read_on():
                    self._rest.full_look_due()  # plans with what was read
                    return
            else:
                self.clock.wait(self._wake, min(left, self.timing.poke))
            if self.engine.state.has_pokes():
                return

    def _carry_on(self) -> bool:
        """After a wake: whether no look is needed yet. Others are still worked on, and what waited for just these results is handed out."""
        self._wake.clear()
        if self._stop.is_set() or self._dirty or self._overtaken:
            self._dirty |= self._overtaken
            return False
        self._take_and_follow()  # what was taken while details were read counts too
        usual, self._unusual = not self._unusual, False
        if usual and self._follow.finished and not self._workers.busy:
            self._rest.full_look_due()  # it alone tells that nothing is left to do
        return usual and bool(len(self._queue) or self._workers.busy)

    def _read_on(self) -> bool:
        """A cycle that only reads some more details. Whether more are left; False too when the account did not answer."""
        started = time.monotonic()
        try:
            return self._looker.read_on()
        except (AccountError, Interrupted):
            return False  # the look that follows says why
        finally:
            self.meter.cycled(time.monotonic() - started)

    @property
    def _unread(self) -> int:
        """Questions whose answers are still to come: deep reads that wait for their turn, and what was silent for the first time."""
        return self.engine.deep.unread + self.engine.silent.soon

    def _work_ended(self) -> None:
        self._wake.set()
        self._looker.poke()

    def _finish(self) -> None:
        self.stop()
        self.abandoned = self._looker.abandoned
        left = self._workers.join(self.timing.grace - (time.monotonic() - (self._stopped_at or 0.0)))
        self._take_results()
        if left:
            self.abandoned = True
            log.warning("stopped while work was under way; the next start takes it up", objects=[str(key) for key in left])
