"""Questions that the account did not answer in time. Each is left alone for a while, longer each time, so that one SHOW that hangs costs
the objects that need it, and not every look at all others.

There may be thousands of DESCRIBEs, each of them asked once before it is known to hang. So where half of one kind or more hang in a round,
that kind is left alone as a whole: one of it is asked at a time, until one is answered.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
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
    resting: dict[str, tuple[int, float]] = field(default_factory=dict)  # the same of whole kinds of questions, by `Read.what`
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

    def paced(self, reads: Iterable[Read]) -> list[Read]:
        """Those to be asked now: of a kind that rests none, and once its time is over one."""
        now, found, tried = self.now(), [], set[str]()
        with self._lock:
            for question in reads:
                rest = self.resting.get(question.what)
                if rest is None or (now >= rest[1] and question.what not in tried):
                    found.append(question)
                    tried.add(question.what)
        return found

    def judge(self, asked: Iterable[Read]) -> set[str]:
        """Which kinds hang, after a round was noted. Those that rested and are answered again."""
        hung, all_, back = Counter[str](), Counter[str](), set[str]()
        with self._lock:
            for question in asked:
                all_[question.what] += 1
                hung[question.what] += question in self.known
            for what, count in all_.items():
                if hung[what] * 2 >= count:
                    times = self.resting.get(what, (0, 0.0))[0] + 1
                    self.resting[what] = (times, self.now() + self.backoff.delay(times))
                elif self.resting.pop(what, None) is not None:
                    back.add(what)
        return back

    def note(self, asked: Iterable[Read], answered: Collection[Read]) -> None:
        """Take in one round."""
        with self._lock:
            for question in asked:
                count = self.known.pop(question, (0, 0.0))[0]
                if question not in answered:
                    self.known[question] = (count + 1, self.now() + self.backoff.delay(count + 1))
