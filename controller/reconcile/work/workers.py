"""A bounded number of threads that take changes out of the queue and carry them out, each as soon as it is free.

Daemon threads, so that work that hangs can keep neither the other objects nor the end of the process waiting. A thread that does not come
back is given up: another takes its place, and its object is left alone until the thread has ended, so that there are never two on one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from controller.account.redact import redact
from controller.api.objects import ObjectKey
from controller.kinds.base import Stalled
from controller.reconcile.planning.change import Change
from controller.reconcile.work.backoff import STUCK
from controller.reconcile.work.execute import Done
from controller.reconcile.work.queue import WorkQueue

log = structlog.get_logger("snowcat.reconcile")


@dataclass
class Work:
    """One change under way. `started` and `ending` (since when it is to end) on the workers' own clock."""

    change: Change
    thread: threading.Thread
    started: float
    said: str = ""
    ending: float | None = None
    ended: bool = False
    given_up: bool = False


@dataclass
class Workers:
    """`run` does the work and never raises; `ended` is called in the worker's thread after each; `abort` asks the work on a key to end.

    `staff`, `take`, `watch` and `join` are for one thread.
    """

    queue: WorkQueue
    run: Callable[[Change, Callable[[str], None]], Done]
    ended: Callable[[], None] = lambda: None
    abort: Callable[[ObjectKey], None] = lambda key: None
    size: int = 8
    limit: float = float("inf")  # seconds for one object's change, all steps together
    patience: float = 10.0  # seconds in which work that was aborted must come back
    now: Callable[[], float] = time.monotonic
    given_up: int = 0  # threads that did not come back, so far
    _results: list[tuple[Work, Done]] = field(default_factory=list)
    _work: dict[ObjectKey, Work] = field(default_factory=dict)  # until the result is taken; what was given up, until it ends
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def busy(self) -> dict[ObjectKey, str]:
        """What is worked on, or done and not taken yet → what was said of it last."""
        with self._lock:
            return {key: work.said for key, work in self._work.items() if not work.given_up}

    def staff(self) -> None:
        """As many threads as there is work for: `size` at most, and at most as many more as were given up and still run."""
        with self._lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            lost = sum(work.given_up for work in self._work.values())
            free = len(self._threads) - len(self._work)  # of those that wait for work; what ended and is not taken counts as busy
            room = min(self.size + lost, 2 * self.size) - len(self._threads)
            for _ in range(min(room, len(self.queue) - free)):
                thread = threading.Thread(target=self._serve, name="worker", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self) -> None:
        while (change := self.queue.pull()) is not None:
            work = Work(change, threading.current_thread(), self.now())
            with self._lock:
                self._work[change.key] = work
            log.info("change", object=change.key, action=change.action.value, reason=redact(change.reason))
            self.queue.meter.worker_started(change.key)

            def say(message: str, work: Work = work) -> None:
                work.said = message

            done = self.run(change, say)
            self.queue.meter.worker_ended(change.key)
            with self._lock:
                work.ended = True
                if work.given_up:
                    del self._work[change.key]
                else:
                    self._results.append((work, done))
            if work.given_up:
                log.warning("work that was given up has ended", object=change.key)
                self.queue.release(change.key)
            self.ended()
            if work.given_up:
                return  # another thread has its place

    def take(self) -> list[Done]:
        """Results since the last call; their keys are free again, unless they were given up."""
        with self._lock:
            taken, self._results = self._results, []
            free = [work.change.key for work, _ in taken if not work.given_up]
            for key in free:
                del self._work[key]
        for key in free:
            self.queue.release(key)
        return [done for _, done in taken]

    def watch(self) -> float:
        """End what takes longer than `limit`, and give up what does not end; returns when to watch again."""
        now, again = self.now(), float("inf")
        with self._lock:
            current = [work for work in self._work.values() if not work.ended and not work.given_up]
        for work in current:
            if work.ending is None and now - work.started >= self.limit:
                work.ending = now
                log.warning("work takes too long and is ended", object=work.change.key, duration=round(now - work.started))
                self.abort(work.change.key)
            elif work.ending is not None and now - work.ending >= self.patience:
                self._give_up(work, now)
                continue
            again = min(again, work.started + self.limit if work.ending is None else work.ending + self.patience)
        return again

    def _give_up(self, work: Work, now: float) -> None:
        with self._lock:
            if work.ended:
                return  # it has come back in this moment
            work.given_up = True
            self.given_up += 1
            text = (
                f"{work.said or work.change.action.value}: took longer than {self.limit:g} seconds and cannot be ended; "
                "the object is left alone until it ends, or the daemon is started again"
            )
            self._results.append((work, Done(work.change, Stalled(text, STUCK), now - work.started)))
        log.error("a worker is given up", object=work.change.key, given_up=self.given_up)

    def join(self, seconds: float) -> list[ObjectKey]:
        """Close the queue and wait for all; the keys that were not done in time."""
        self.queue.close()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            return sorted(key for key, work in self._work.items() if not work.ended)
