"""Statements in flight and done: threads that run them, results kept for a while, the query history.

Results are bounded by count, total bytes and age, so that a long-lived account does not grow. A repeated requestId gets the first answer.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from emulator import errors
from emulator.catalogue.store import Store
from emulator.results import ResultSet
from emulator.session import Session

KEEP_RESULTS = 500
KEEP_BYTES = 256 << 20
KEEP_SECONDS = 3600.0
KEEP_HISTORY = 5_000
END_SECONDS = 30.0
WORKERS = 64
_WAKE_SECONDS = 0.05


@dataclass
class Statement:
    """One statement's life. `text` has secrets removed; times are epoch seconds.

    `past` is the catalogue that it reads when that is not today's.
    `needs_client`: it is cancelled when nobody waits for it (`waiting` requests, `last_heard` on the monotonic clock) for long.
    """

    query_id: str
    session: Session
    text: str
    request_id: str = ""
    started: float = field(default_factory=time.time)
    ended: float | None = None
    role: str = ""
    warehouse: str | None = None
    used_warehouse: bool = False
    error: errors.SqlError | None = None
    result: ResultSet | None = None
    response: dict[str, Any] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    on_cancel: list[Callable[[], None]] = field(default_factory=list)
    future: Future[None] | None = None
    children: list[str] = field(default_factory=list)
    bytes: int = 0
    timed_out: int | None = None
    needs_client: bool = False
    waiting: int = 0
    last_heard: float = field(default_factory=time.monotonic)
    past: Store | None = None

    @property
    def status(self) -> str:
        if self.ended is None:
            return "RUNNING"
        return "FAILED_WITH_ERROR" if self.error is not None else "SUCCESS"

    def cancel(self) -> None:
        """Asks the statement to stop: whatever it waits in has registered how to be woken.

        Waking goes on until it has ended: an interrupt that meets a query just before it starts is lost.
        """
        first = not self.cancelled.is_set()
        self.cancelled.set()
        for wake in list(self.on_cancel):
            wake()
        if first and self.ended is None:
            threading.Thread(target=self._wake_until_ended, daemon=True, name="cancel").start()

    def _wake_until_ended(self) -> None:
        while self.ended is None:
            time.sleep(_WAKE_SECONDS)
            for wake in list(self.on_cancel):
                wake()


class Statements:
    """All statements of the account by query id and request id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: OrderedDict[str, Statement] = OrderedDict()
        self._by_request: dict[str, str] = {}
        self._history: list[Statement] = []
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="statement")

    def start(self, session: Session, text: str, request_id: str, run: Callable[[Statement], None]) -> Statement:
        """Runs `run(statement)` on a thread. `run` sets result or error and response."""
        statement = self.register(session, text, request_id)

        def work() -> None:
            try:
                run(statement)
            finally:
                self.finish(statement)

        statement.future = self._pool.submit(work)
        return statement

    def register(self, session: Session, text: str, request_id: str) -> Statement:
        """A statement that is known, and may be cancelled, but does not run yet."""
        statement = Statement(str(uuid.uuid4()), session, text, request_id, role=session.role, warehouse=session.warehouse)
        self.add(statement)
        return statement

    async def run_aside(self, work: Callable[..., None], *arguments: Any) -> None:
        """Runs `work` on one of the threads that run statements, without keeping the event loop waiting."""
        await asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(work, *arguments))

    def finish(self, statement: Statement) -> None:
        statement.ended = time.time()
        self._forget_old()

    def add(self, statement: Statement) -> None:
        with self._lock:
            if statement.session.ended:
                statement.cancelled.set()  # it came in while its session was being ended
            self._by_id[statement.query_id] = statement
            if statement.request_id:
                self._by_request[statement.request_id] = statement.query_id
            self._history.append(statement)
            if len(self._history) > KEEP_HISTORY:
                del self._history[: len(self._history) - KEEP_HISTORY]

    def get(self, query_id: str) -> Statement | None:
        with self._lock:
            return self._by_id.get(query_id)

    def by_request(self, request_id: str) -> Statement | None:
        with self._lock:
            query_id = self._by_request.get(request_id)
            return self._by_id.get(query_id) if query_id else None

    def running(self, session_id: int | None = None) -> list[Statement]:
        """Statements not ended yet, of one session or of all."""
        with self._lock:
            found = [statement for statement in self._by_id.values() if statement.ended is None]
        return [s for s in found if session_id is None or s.session.id == session_id]

    def end_session(self, session: Session, *, but: str = "") -> bool:
        """Cancels what the session runs, and whatever of it is still to come. False when one statement did not end in time.

        `but` is the query id of a statement that is not waited for.
        """
        with self._lock:
            session.ended = True
        left = self.running(session.id)
        for statement in left:
            if statement.query_id != but:
                statement.cancel()
        until = time.monotonic() + END_SECONDS
        while any(statement.ended is None and statement.query_id != but for statement in left):
            if time.monotonic() > until:
                return False
            time.sleep(_WAKE_SECONDS / 5)
        return True

    def history(self) -> list[Statement]:
        """The latest statements, oldest first. Their results may be gone."""
        with self._lock:
            return list(self._history)

    def _forget_old(self) -> None:
        horizon = time.time() - KEEP_SECONDS
        with self._lock:
            done = [s for s in self._by_id.values() if s.ended is not None]
            total = sum(s.bytes for s in done)
            surplus = len(done) - KEEP_RESULTS
            for statement in done[:-1]:
                if surplus <= 0 and total <= KEEP_BYTES and (statement.ended or 0) > horizon:
                    break
                surplus -= 1
                total -= statement.bytes
                self._by_id.pop(statement.query_id, None)
                self._by_request.pop(statement.request_id, None)
                statement.result = statement.response = statement.future = None

    def stop(self) -> None:
        """Cancels what runs and lets the threads end."""
        for statement in self.running():
            statement.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
