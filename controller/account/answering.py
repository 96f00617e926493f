"""Whether the account answers at all: noticed where statements are sent, told once when it falls silent and once when it is back.

Every wait for an answer is long, because statements may be. Whoever looks at a terminal should not wait as long to learn that nobody is
there. A sign is a request that the driver has to send again, or a short statement that takes long; it counts when nothing else was
answered for some seconds. A thread runs only while there is a sign.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from controller.account.errors import AccountError, Transient

SLOW = 3.0
"""Seconds after which a short statement without an answer is a sign."""

_GRACE = 3.0  # seconds after a sign in which any answer makes it void
_AWAY = frozenset({None, 250001, 250002, 250003, 251011, *range(290400, 290600)})  # errors that are no answer of the account itself


@dataclass
class Answering:
    """Of all sessions of a process together. Safe for use from several threads.

    `tell` is called with None when the account has fallen silent, and with the seconds for which it was when it answers again; in a thread
    that should not be kept.
    """

    tell: Callable[[float | None], None] = lambda _: None
    grace: float = _GRACE
    now: Callable[[], float] = time.monotonic
    _answered: float = field(default=0.0, init=False)
    _silent_since: float | None = field(default=None, init=False)
    _doubting: bool = field(default=False, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _told: float | None = field(default=None, init=False)  # since when the silence is that was told and is not over for whoever hears
    _telling: threading.Lock = field(default_factory=threading.Lock, init=False)

    def answered(self) -> None:
        """Something came from the account, a refusal too."""
        with self._lock:
            self._answered = self.now()
            since, self._silent_since = self._silent_since, None
        if since is not None:
            self._tell()

    def failed(self, error: AccountError) -> None:
        """A statement ended with an error, which may be an answer."""
        if not isinstance(error, Transient) or error.errno not in _AWAY:
            self.answered()

    def missed(self, since: float) -> None:
        """A sign: what was asked at that moment has no answer."""
        with self._lock:
            if self._doubting or self._silent_since is not None or self._answered > since:
                return
            self._doubting = True
        timer = threading.Timer(self.grace, self._judge, (since,))
        timer.name, timer.daemon = "silence", True
        timer.start()

    def _judge(self, since: float) -> None:
        with self._lock:
            self._doubting = False
            silent = self._answered <= since
            self._silent_since = since if silent else None
        if silent:
            self._tell()

    def _tell(self) -> None:
        """Tell how it is now, if that was not told: two threads may come at once, and the last word must be the true one."""
        with self._telling:
            silent, told = self._silent_since, self._told
            if (silent is None) == (told is None):
                return
            self._told = silent
            self.tell(None if told is None else self.now() - told)

    def waits(self, policy: Callable[[], Iterator[float]]) -> Iterator[float]:
        """The driver's waits between two tries of a request: each but the first is asked for after another try has failed."""
        last = None
        for wait in policy():
            if last is not None:
                self.missed(self.now() - last)
            yield wait
            last = wait
