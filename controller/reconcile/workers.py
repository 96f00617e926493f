"""A bounded number of threads that work on objects side by side; never two on one object.

Daemon threads, so that a statement that hangs can keep neither the other objects nor the end of the process waiting.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.api.objects import ObjectKey
from controller.reconcile.change import Change
from controller.reconcile.execute import Done


@dataclass
class Workers:
    """`run` does the work and never raises; `ended` is called in the worker's thread after each. All else is for one thread."""

    run: Callable[[Change, Callable[[str], None]], Done]
    ended: Callable[[], None]
    size: int = 8
    busy: dict[ObjectKey, str] = field(default_factory=dict)
    """Keys that are worked on, or whose result nobody has taken yet → what is being done."""
    _results: queue.SimpleQueue[Done] = field(default_factory=queue.SimpleQueue)
    _threads: dict[ObjectKey, threading.Thread] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        return len(self.busy) >= self.size

    def start(self, change: Change) -> None:
        """Begin. The caller checks `full` and `busy` before."""
        self.busy[change.key] = ""
        thread = threading.Thread(target=self._work, args=(change,), name=f"work-{change.key}", daemon=True)
        self._threads[change.key] = thread
        thread.start()

    def _work(self, change: Change) -> None:
        def say(message: str) -> None:
            self.busy[change.key] = message

        self._results.put(self.run(change, say))
        self.ended()

    def take(self) -> list[Done]:
        """Results since the last call; their keys are free again."""
        taken: list[Done] = []
        while True:
            try:
                done = self._results.get_nowait()
            except queue.Empty:
                return taken
            self.busy.pop(done.change.key, None)
            self._threads.pop(done.change.key, None)
            taken.append(done)

    def join(self, seconds: float) -> list[ObjectKey]:
        """Wait for all; the keys that were not done in time."""
        end = time.monotonic() + seconds
        for thread in list(self._threads.values()):
            thread.join(max(0.0, end - time.monotonic()))
        return sorted(key for key, thread in self._threads.items() if thread.is_alive())
