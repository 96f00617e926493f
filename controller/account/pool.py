"""Sessions lent out to whoever sends statements, so that a daemon logs in a few times and not for every statement."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from controller.account import statements
from controller.account.connections import Connection
from controller.account.counters import Counters
from controller.account.errors import AccountError, Denied, Rejected, TimedOut, Transient
from controller.account.limits import Limits
from controller.account.session import TAG, Session, open_session

_FRESH = 3600.0  # seconds: an account ends sessions that were idle for longer, mostly after four hours


class SessionPool:
    """At most `size` sessions, opened when first wanted. A session that the account closed is replaced by a fresh one.

    What has been idle longest is lent first, so that none is idle until the account ends it.
    """

    def __init__(
        self,
        connection: Connection,
        size: int = 4,
        *,
        role: str | None = None,
        tag: str = TAG,
        limits: Limits | None = None,
        opener: Callable[..., Session] = open_session,
    ) -> None:
        self.connection = connection
        self.size = size
        self.role = role
        self.tag = tag
        self.limits = limits or Limits()
        self.counters = Counters()
        self._opener = opener
        self._idle: deque[tuple[Session, float]] = deque()  # each with the time since when
        self._taken = 0  # places of sessions that are lent or being opened
        self._first = 0  # of those who wait, how many go first
        self._lent: set[Session] = set()
        self._hung: list[Session] = []  # broken off, and their threads have not come back
        self._lock = threading.Condition()
        self._closed = False
        self._wide: SessionPool | None = None

    @contextlib.contextmanager
    def session(self, *, first: bool = False) -> Iterator[Session]:
        """Borrow a session; waits while all are lent. `first`: before all others who wait, for what should not wait for a whole look.

        Raises:
            AccountError: as `open_session`.
        """
        session = self._take(first)
        try:
            if self._closed:
                raise Transient("the pool of sessions is closed")
            if session is None:
                session = self._fresh()
            with self._lock:
                self._lent.add(session)
            yield session
        finally:
            self._give_back(session)

    def open_all(self) -> None:
        """Log in with all sessions that are not open yet, side by side and in threads of their own. Who wants one waits for the first."""
        with self._lock:
            missing = self.size - self._taken - len(self._idle)
            self._taken += missing
        for _ in range(missing):
            threading.Thread(target=self._open_one, name="login", daemon=True).start()

    def _open_one(self) -> None:
        session = None
        try:
            session = None if self._closed else self._fresh()
        except AccountError:
            pass  # whoever wants a session tries again, and is told
        finally:
            self._give_back(session)

    @property
    def ids(self) -> frozenset[str]:
        """The sessions that are open."""
        with self._lock:
            return frozenset(session.id for session in (*self._lent, *(idle for idle, _ in self._idle)))

    def _take(self, first: bool) -> Session | None:
        """A place, with a session in it if one is open."""
        old: list[Session] = []
        with self._lock:
            self._first += first
            while self._taken >= self.size or (self._first and not first):
                self._lock.wait()
            self._first -= first
            self._taken += 1
            self._lock.notify_all()
            found = None
            while found is None and self._idle:
                session, since = self._idle.popleft()
                if session.alive and time.monotonic() - since < _FRESH:
                    found = session
                else:
                    old.append(session)
        _close_behind(old)
        return found

    def _give_back(self, session: Session | None) -> None:
        if session is not None and (not session.alive or self._closed):
            session.close()
            with self._lock:
                self._lent.discard(session)
                self._hung += [session] if session.line.hanging else []
            session = None
        with self._lock:
            if session is not None:
                self._lent.discard(session)
                self._idle.append((session, time.monotonic()))
            self._taken -= 1
            self._lock.notify_all()

    def _take_idle(self) -> list[Session]:
        with self._lock:
            idle = [session for session, _ in self._idle]
            self._idle.clear()
            return idle

    def _fresh(self) -> Session:
        """A new session. One that hung before is aborted by it first, so that nothing it was sent takes effect any more.

        Raises:
            Transient: too many hang, or the new one was lost while it ended an earlier one.
            AccountError: as `open_session`.
        """
        with self._lock:
            self._hung = [session for session in self._hung if session.line.hanging]
            hung = list(self._hung)
        if len(hung) >= 2 * self.size:
            raise Transient(f"{len(hung)} sessions hang; no more are opened until some of them end")
        session = self._opener(self.connection, role=self.role, counters=self.counters.child(), tag=self.tag, limits=self.limits)
        for other in hung:
            if other.id.isdigit() and not other.aborted:
                try:
                    session.execute(statements.call_system("ABORT_SESSION", int(other.id)))
                except Transient as error:
                    other.aborted = isinstance(error, TimedOut)  # it was sent; else the next session tries again
                    if not session.alive:
                        session.aborted = True  # nothing that it was sent changes anything
                        session.close()
                        with self._lock:
                            self._hung += [session] if session.line.hanging else []
                        raise
                    continue
                except AccountError:
                    pass  # not every role may, or it is gone; else the statement may still end by itself
                other.aborted = True
        return session

    @property
    def hung(self) -> int:
        """Sessions whose last statement nobody answers, and whose threads are still there."""
        return sum(session.line.hanging for session in self._hung)

    def break_off(self) -> None:
        """By any thread: whatever waits for the account fails now, and nothing more is sent."""
        self._closed = True
        with self._lock:
            lent = list(self._lent)
        for session in lent:
            session.break_off()
        if self._wide is not None:
            self._wide.break_off()

    def expire(self) -> None:
        """By any thread: all sessions may have been ended by somebody else. Who waits for an answer is let go; the next ones are new."""
        with self._lock:
            lent, wide = list(self._lent), self._wide
        for session in lent:
            session.break_off()
        if wide is not None:
            wide.expire()
        _close_behind(self._take_idle())

    def wide(self) -> SessionPool:
        """A small pool beside this one whose sessions see with all roles of the user.

        A schema's owner drops what others made inside, and may not even see it: before a drop one looks as wide as one can.
        """
        with self._lock:
            if self._wide is None:
                self._wide = SessionPool(self.connection, 2, role=self.role, tag=self.tag, limits=self.limits, opener=self._open_wide)
                self._wide.counters = self.counters
            return self._wide

    def _open_wide(self, connection: Connection, **how: Any) -> Session:
        session = self._opener(connection, **how)
        with contextlib.suppress(Denied, Rejected):  # a policy of the account forbids it, or the session can have one role only
            session.execute("USE SECONDARY ROLES ALL")
        return session

    def close(self, seconds: float = 2.0) -> None:
        """Close the idle sessions now, side by side and within so many seconds, and each lent one as it comes back."""
        self._closed = True
        closing = _close_behind(self._take_idle(), seconds)
        end = time.monotonic() + seconds
        if self._wide is not None:
            self._wide.close(seconds)
        for thread in closing:
            thread.join(max(0.0, end - time.monotonic()))


def _close_behind(sessions: list[Session], seconds: float = 10.0) -> list[threading.Thread]:
    """Log out, in threads that nobody need wait for."""
    threads = [threading.Thread(target=session.close, args=(seconds,), name="close", daemon=True) for session in sessions]
    for thread in threads:
        thread.start()
    return threads
