"""What every statement is held to: how long it may take, by class, and how many a daemon sends in a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.account.answering import Answering
from controller.account.counters import StatementClass

_READS = frozenset({StatementClass.SHOW, StatementClass.DESCRIBE, StatementClass.SESSION})
_TRANSFERS = frozenset({StatementClass.FILES, StatementClass.DML, StatementClass.CALL})


@dataclass(frozen=True)
class Timeouts:
    """Seconds for one statement. `read`: SHOW, DESCRIBE and what asks without a warehouse; `change`: CREATE, ALTER, DROP, GRANT;
    `transfer`: PUT, GET, COPY, and whatever works in a warehouse; `login`: one login.
    """

    read: float = 60.0
    change: float = 300.0
    transfer: float = 1800.0
    login: float = 60.0

    def of(self, kind: StatementClass, *, warehouse: bool = False) -> float:
        """For one statement."""
        if warehouse or kind in _TRANSFERS:
            return self.transfer
        return self.read if kind in _READS or kind is StatementClass.SELECT else self.change


class TokenBucket:
    """So many statements a second on average, a burst at once. Who comes first goes first. Safe for use from several threads."""

    def __init__(self, per_second: float = 200.0, burst: int = 400, *, now: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / per_second
        self._burst = burst
        self._now = now
        self._next = 0.0  # when a bucket that had been empty would give its next token
        self._closed_until = 0.0
        self._lock = threading.Lock()

    def take(self, *, urgent: bool = False) -> float:
        """Reserve one token; the seconds to wait before it may be used. An urgent one never waits: those after it do, the longer."""
        with self._lock:
            now = self._now()
            start = max(self._next, now)
            wait = max(0.0, start - now - (self._burst - 1) * self._interval, self._closed_until - now)
            self._next = start + self._interval
            return 0.0 if urgent else wait

    def pause(self, seconds: float) -> None:
        """The account asked for less: nothing that is not urgent is sent for so long."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._now() + seconds)


@dataclass(frozen=True)
class Limits:
    """Of all sessions of a pool together. `answering` is told what comes of each statement."""

    timeouts: Timeouts = field(default_factory=Timeouts)
    bucket: TokenBucket | None = None
    answering: Answering = field(default_factory=Answering)
