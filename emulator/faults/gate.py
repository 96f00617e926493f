"""Makes the faults happen to statements. Waiting is awaited on the event loop and outside every lock, so no other session notices it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from emulator import errors
from emulator.execute import fail, run_request, time_limit
from emulator.faults.journal import Entry, Journal
from emulator.faults.past import Past
from emulator.faults.rules import Arrival, Rule, RuleBook, Verdict
from emulator.session import Session
from emulator.sql.redact import redact
from emulator.wire.responses import expired_session
from emulator.wire.statements import Statement

if TYPE_CHECKING:
    from emulator.account import Account

QUERY_PATH = "/queries/v1/query-request"
_EARLY = ("http", "expire")  # answered before the account knows of the statement, as is drop: before


class Dropped(Response):
    """No answer: the connection is closed. `requests.RequestFaults` puts the way to do it into the scope."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["drop"]()


@dataclass
class Held:
    """Something that waits until it is released. `statement` is '' for a request that carries none."""

    id: int
    rule: str
    side: str
    session: int | None
    client: str
    statement: str
    path: str
    cancel: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def as_json(self) -> dict[str, Any]:
        keys = ("id", "rule", "side", "session", "client", "statement", "path")
        return {key: getattr(self, key) for key in keys}


class Gate:
    """All faults of one account. Everything but `starves` is called on the event loop."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.book = RuleBook()
        self.journal = Journal()
        self._past = Past(account.store)
        self._held: dict[int, Held] = {}
        self._ids = itertools.count(1)
        self._lost: dict[str, int] = {}  # query id → answers that still get lost
        self._tasks: set[asyncio.Task[None]] = set()

    # -- what the control endpoint does

    def replace(self, seed: int, rules: list[Any]) -> None:
        """Raises RuleProblem, and then changes nothing."""
        book = RuleBook(seed)
        book.add(rules)
        self.book = book
        self.release()

    def held(self) -> list[Held]:
        return list(self._held.values())

    def release(self, identifier: int | None = None, *, cancel: bool = False) -> list[int]:
        """Lets one held statement go on (None: all). With `cancel` it ends as if its client had aborted it. Gives the ids."""
        found = [held for held in self._held.values() if identifier in (None, held.id)]
        for held in found:
            held.cancel = cancel
            held.released.set()
        return [held.id for held in found]

    # -- what the account asks

    def kill_node(self, pool: str) -> str | None:
        """One node of the pool dies, a busy one if there is any; its name, None without one. It blocks: not for the event loop."""
        runtime = self.account.runtime
        return runtime.kill_node(pool) if runtime is not None else None

    def starves(self, pool: str) -> bool:
        """Whether a node of the pool that was asked for does not come."""
        return self.book.starves(pool)

    def lost_answer(self, statement: Statement) -> Response | None:
        """What the client gets when this answer to the statement is lost on the way."""
        left = self._lost.pop(statement.query_id, 0)
        if left > 1:
            self._lost[statement.query_id] = left - 1
        return Dropped() if left > 0 else None

    async def statement(self, session: Session, body: dict[str, Any], request_id: str) -> Statement | Response:
        """The statement, begun with its faults, or the response that keeps it from the account."""
        text = str(body.get("sqlText") or "")
        client = tag(session)
        verdict = self.book.decide(Arrival(QUERY_PATH, client, text))
        entry = self.journal.begin(session.id, client, redact(text), verdict.name)
        rule = verdict.rule
        if rule is not None and (rule.fault in _EARLY or rule.drop == "before"):
            await asyncio.sleep(verdict.latency)
            entry.end(_kept_away(rule))
            return self.refuse(rule, session)
        past = None
        if rule is not None and rule.stale is not None:
            past = await run_in_threadpool(self._past.as_of, time.time() - rule.stale)
        statement = self.account.statements.register(session, redact(text), request_id)
        statement.past = past
        if rule is not None and rule.drop == "after":
            self._lost[statement.query_id] = rule.attempts
        statement.future = Future()
        self._start(self._drive(statement, statement.future, entry, verdict, text, body))
        return statement

    def refuse(self, rule: Rule, session: Session | None) -> Response:
        """The response of a fault that comes before the effect. An expired token is really expired: the client has to renew it."""
        if rule.http is not None:
            headers: Mapping[str, str] = {} if rule.retry_after is None else {"Retry-After": f"{rule.retry_after:g}"}
            return JSONResponse({"message": f"HTTP {rule.http} by a rule of the faults endpoint"}, rule.http, headers)
        if rule.expire is not None:
            if session is not None:
                self.account.tokens.expire(session, master=rule.expire == "master")
            return JSONResponse(expired_session())
        return Dropped()

    async def hold(self, held: Held, until: asyncio.Event | None = None) -> None:
        """Waits until it is released, or until `until`."""
        self._held[held.id] = held
        waits = [asyncio.ensure_future(event.wait()) for event in (held.released, until) if event is not None]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            del self._held[held.id]

    def next_id(self) -> int:
        return next(self._ids)

    # -- one statement

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps no hold of a task
        task.add_done_callback(self._tasks.discard)

    async def _drive(
        self, statement: Statement, done: Future[None], entry: Entry, verdict: Verdict, text: str, body: dict[str, Any]
    ) -> None:
        rule = verdict.rule
        try:
            await self._before(statement, verdict, body)
            if statement.cancelled.is_set():
                fail(statement, errors.canceled())
            elif rule is not None and rule.error is not None:
                fail(statement, errors.SqlError(rule.error.errno, rule.error.sqlstate, rule.error.message))
            else:
                await self.account.statements.run_aside(run_request, self.account, statement, text, body)
            if rule is not None and rule.exit == "after":
                die()
            if rule is not None and rule.hold == "after":
                with _wakes(statement) as woken:
                    await self.hold(self._held_statement(statement, verdict, "after"), woken)
        except Exception as error:  # noqa: BLE001 - whatever fails must reach the client as a SQL error
            fail(statement, error)
        finally:
            if statement.past is not None:
                statement.past.close()
            self.account.statements.finish(statement)
            entry.end(_outcome(statement))
            done.set_result(None)

    async def _before(self, statement: Statement, verdict: Verdict, body: dict[str, Any]) -> None:
        """Everything that comes before the effect."""
        rule = verdict.rule
        with _wakes(statement) as woken:
            if verdict.latency:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), verdict.latency)
            if rule is None or woken.is_set():
                return
            if rule.exit == "before":
                die()
            if rule.hang or rule.hold == "before":
                held = self._held_statement(statement, verdict, "hang" if rule.hang else "before")
                limit = time_limit(statement, statement.session, body)
                try:
                    await self.hold(held, woken)
                finally:
                    limit.cancel()
                if held.cancel:
                    statement.cancelled.set()

    def _held_statement(self, statement: Statement, verdict: Verdict, side: str) -> Held:
        session = statement.session
        return Held(self.next_id(), verdict.name, side, session.id, tag(session), statement.text, QUERY_PATH)


@contextlib.contextmanager
def _wakes(statement: Statement) -> Any:
    """An event that is set when somebody cancels the statement, from whatever thread."""
    woken = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(woken.set)

    statement.on_cancel.append(wake)
    if statement.cancelled.is_set():
        woken.set()
    try:
        yield woken
    finally:
        statement.on_cancel.remove(wake)


def tag(session: Session) -> str:
    """By what a rule's `client` knows a session: its QUERY_TAG."""
    return str(session.parameters.get("QUERY_TAG") or "")


def die() -> None:
    """The account ends as by kill -9: nothing is written, nobody is told, containers die with it."""
    os.kill(os.getpid(), signal.SIGKILL)


def _kept_away(rule: Rule) -> str:
    if rule.http is not None:
        return f"http {rule.http}"
    return f"expired {rule.expire}" if rule.expire is not None else "dropped"


def _outcome(statement: Statement) -> str:
    if statement.error is None:
        return "done"
    return "cancelled" if statement.error.errno == errors.canceled().errno else f"error {statement.error.errno}"
