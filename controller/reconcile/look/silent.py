"""Questions that the account did not answer in time. Each is left alone for a while, longer each time, so that one SHOW that hangs costs
the objects that need it, and not every look at all others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from controller.account.snapshot import Read
from controller.reconcile.work.backoff import Backoff


@dataclass
class Silent:
    """Remembers them. Safe for use from several threads."""

    backoff: Backoff = field(default_factory=lambda: Backoff(first=15.0, most=900.0))
    now: Callable[[], float] = time.monotonic
    known: dict[Read, tuple[int, float]] = field(default_factory=dict)  # how often in a row, and until when it is left alone
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def soon(self) -> int:
        """How many were silent only once, so that it is worth waiting for their next turn."""
        with self._lock:
            return sum(count == 1 for count, _ in self.known.values())

    def without(self, reads: Iterable[Read]) -> list[Read]:
        """Those that are to be asked now."""
        now = self.now()
        with self._lock:
            return [question for question in reads if question not in self.known or now >= self.known[question][1]]

    def note(self, asked: Iterable[Read], answered: Collection[Read]) -> None:
        """Take in one round."""
        with self._lock:
            for question in asked:
                count = self.known.pop(question, (0, 0.0))[0]
                if question not in answered:
                    self.known[question] = (count + 1, self.now() + self.backoff.delay(count + 1))
