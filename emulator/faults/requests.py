"""Makes the faults happen to requests that carry no statement: login, token, heartbeat, results, registry, stage files."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emulator.faults.gate import QUERY_PATH, Dropped, Gate, Held, die, tag
from emulator.faults.rules import Arrival, Rule
from emulator.session import Session
from emulator.wire.tokens import bearer_of

CONTROL_PATH = "/_faults"
_LOGIN_PATH = "/session/v1/login-request"


class RequestFaults:
    """An ASGI application around the account's own. Statements pass: `Gate.statement` is asked about them."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or path.startswith(CONTROL_PATH):
            await self._app(scope, receive, send)
            return
        scope["drop"] = functools.partial(_drop, receive)
        if path == QUERY_PATH:
            await self._app(scope, receive, send)
            return
        session = self._session(Request(scope))
        client = tag(session) if session is not None else ""
        if path == _LOGIN_PATH:
            receive, client = await _look_into_login(receive)
        verdict = self._gate.book.decide(Arrival(path, client))
        await asyncio.sleep(verdict.latency)
        if verdict.rule is None:
            await self._app(scope, receive, send)
            return
        held = Held(self._gate.next_id(), verdict.name, "before", session.id if session else None, client, "", path)
        await self._fault(verdict.rule, held, session, scope, receive, send)

    async def _fault(self, rule: Rule, held: Held, session: Session | None, scope: Scope, receive: Receive, send: Send) -> None:
        if rule.hold == "before" or rule.hang:
            await self._gate.hold(held)
        if rule.exit == "before":
            die()
        if rule.drop == "before" or rule.http is not None or rule.expire is not None or held.cancel:
            await self._gate.refuse(rule, session)(scope, receive, send)
        elif rule.error is not None:
            answer = {"data": {}, "code": str(rule.error.errno), "message": rule.error.message, "success": False}
            await JSONResponse(answer)(scope, receive, send)
        elif rule.drop == "after" or rule.hold == "after" or rule.exit == "after":
            await self._after(rule, held, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _after(self, rule: Rule, held: Held, scope: Scope, receive: Receive, send: Send) -> None:
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app(scope, receive, keep)
        if rule.exit == "after":
            die()
        if rule.drop == "after":
            await Dropped()(scope, receive, send)
            return
        held.side = "after"
        await self._gate.hold(held)
        for message in answer:
            await send(message)

    def _session(self, request: Request) -> Session | None:
        tokens, token = self._gate.account.tokens, bearer_of(request.headers.get("authorization", ""))
        return (tokens.session(token) or tokens.by_master(token)) if token else None


async def _look_into_login(receive: Receive) -> tuple[Receive, str]:
    """The QUERY_TAG that a login asks for, and a `receive` that gives the same body once more."""
    chunks: list[Message] = [await receive()]
    while chunks[-1].get("more_body"):
        chunks.append(await receive())
    client = ""
    try:
        raw = b"".join(chunk.get("body", b"") for chunk in chunks)
        data = json.loads(gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw)["data"]
        client = str(data["SESSION_PARAMETERS"]["QUERY_TAG"])
    except (ValueError, LookupError, TypeError, OSError, EOFError):
        pass  # a login without one
    rest = iter(chunks)

    async def again() -> Message:
        return next(rest, None) or await receive()

    return again, client


async def _drop(receive: Any) -> None:
    """Closes the connection under the request. ASGI has no word for it; uvicorn's cycle, whose method `receive` is, has the transport."""
    receive.__self__.transport.abort()
    while (await receive())["type"] != "http.disconnect":
        continue
