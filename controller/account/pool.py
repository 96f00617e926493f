"""Sessions lent out to whoever sends statements, so that a daemon logs in a few times and not for every statement."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from controller.account import statements
from controller.account.connections import Connection
from controller.account.counters import Counters
from controller.account.errors import AccountError, Denied, Rejected, Transient
from controller.account.limits import Limits
from controller.account.session import TAG, Session, open_session


class SessionPool:
    """At most `size` sessions, opened when first wanted. A session that the account closed is replaced by a fresh one."""

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
        self._idle: queue.LifoQueue[Session | None] = queue.LifoQueue()
        self._lent: set[Session] = set()
        self._hung: list[Session] = []  # broken off, and their threads have not come back
        self._lock = threading.Lock()
        self._closed = False
        self._wide: SessionPool | None = None
        for _ in range(size):
            self._idle.put(None)

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Borrow a session; waits while all are lent.

        Raises:
            AccountError: as `open_session`.
        """
        slot = self._idle.get()
        try:
            if self._closed:
                raise Transient("the pool of sessions is closed")
            if slot is None or not slot.alive:
                slot = None
                slot = self._fresh()
            with self._lock:
                self._lent.add(slot)
            yield slot
        finally:
            if slot is not None:
                with self._lock:
                    self._lent.discard(slot)
                if not slot.alive or self._closed:
                    slot.close()
                    self._hung += [slot] if slot.line.hanging else []
                    slot = None
            self._idle.put(slot)

    def _fresh(self) -> Session:
        """A new session. One that hung before is aborted by it first, so that nothing it was sent takes effect any more.

        Raises:
            Transient: too many hang.
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
                other.aborted = True
                with contextlib.suppress(AccountError):  # not every role may; then the statement may still end by itself
                    session.execute(statements.call_system("ABORT_SESSION", int(other.id)))
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
        slots: list[Session | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                slots.append(self._idle.get_nowait())
        for slot in slots:
            self._idle.put(None)
            if slot is not None:
                threading.Thread(target=slot.close, name="close", daemon=True).start()

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
        slots: list[Session | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                slots.append(self._idle.get_nowait())
        for _ in slots:
            self._idle.put(None)
        closing = [threading.Thread(target=slot.close, args=(seconds,), name="close", daemon=True) for slot in slots if slot is not None]
        for thread in closing:
            thread.start()
        end = time.monotonic() + seconds
        if self._wide is not None:
            self._wide.close(seconds)
        for thread in closing:
            thread.join(max(0.0, end - time.monotonic()))
