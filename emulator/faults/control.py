"""The endpoint that says which faults happen: `/_faults`, with a bearer token that stands in account.json."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from emulator.faults.gate import Gate
from emulator.faults.requests import CONTROL_PATH
from emulator.faults.rules import RuleProblem

Handler = Callable[[dict[str, Any]], Awaitable[Response]]


class Control:
    """Its routes."""

    def __init__(self, gate: Gate, token: str) -> None:
        self._gate = gate
        self._token = token

    def routes(self) -> list[BaseRoute]:
        return [
            Route(CONTROL_PATH, self._rules, methods=["GET", "PUT", "POST", "DELETE"]),
            Route(f"{CONTROL_PATH}/release", self._guarded(self._release), methods=["POST"]),
            Route(f"{CONTROL_PATH}/node", self._guarded(self._node), methods=["POST"]),
            Route(f"{CONTROL_PATH}/statements", self._statements, methods=["GET"]),
        ]

    async def _rules(self, request: Request) -> Response:
        do = {"GET": self._tell, "PUT": self._replace, "POST": self._add, "DELETE": self._clear}[request.method]
        return await self._guarded(do)(request)

    def _guarded(self, do: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            if not self._allowed(request):
                return _problem(401, "the token of account.json is missing: send it as `Authorization: Bearer …`")
            raw = await request.body()
            try:
                document = json.loads(raw or b"{}")
                if not isinstance(document, dict):
                    raise RuleProblem("the body is not an object")
                return await do(document)
            except RuleProblem as error:
                return _problem(400, str(error))
            except ValueError as error:
                return _problem(400, f"the body is not JSON: {error}")

        return handle

    def _allowed(self, request: Request) -> bool:
        return hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {self._token}")

    async def _tell(self, document: dict[str, Any]) -> Response:
        book = self._gate.book
        return JSONResponse({"seed": book.seed, "rules": book.as_json(), "held": [held.as_json() for held in self._gate.held()]})

    async def _replace(self, document: dict[str, Any]) -> Response:
        seed = document.get("seed", 0)
        if type(seed) is not int:
            raise RuleProblem(f"seed: {seed!r} is not a whole number")
        self._gate.replace(seed, _list(document))
        return await self._tell({})

    async def _add(self, document: dict[str, Any]) -> Response:
        self._gate.book.add(_list(document))
        return await self._tell({})

    async def _clear(self, document: dict[str, Any]) -> Response:
        self._gate.replace(0, [])
        return await self._tell({})

    async def _release(self, document: dict[str, Any]) -> Response:
        identifier = document.get("id")
        if identifier is not None and not any(held.id == identifier for held in self._gate.held()):
            return _problem(404, f"nothing with the id {identifier} is held")
        return JSONResponse({"released": self._gate.release(identifier, cancel=bool(document.get("cancel")))})

    async def _node(self, document: dict[str, Any]) -> Response:
        pool = str(document.get("pool", ""))
        node = await run_in_threadpool(self._gate.kill_node, pool)
        if node is None:
            return _problem(404, f"no compute pool {pool!r} with a node that could die")
        return JSONResponse({"node": node})

    async def _statements(self, request: Request) -> Response:
        if not self._allowed(request):
            return _problem(401, "the token of account.json is missing: send it as `Authorization: Bearer …`")
        since = request.query_params.get("since", "0")
        if not since.isdigit():
            return _problem(400, f"since: {since!r} is not a number of a statement")
        return JSONResponse(self._gate.journal.since(int(since)))


def _list(document: dict[str, Any]) -> list[Any]:
    unknown = sorted(set(document) - {"seed", "rules"})
    if unknown:
        near = get_close_matches(unknown[0], ("rules", "seed"), n=1)
        advice = f"did you mean {near[0]}?" if near else "the body has `rules` and `seed`, and what a rule has stands in `rules: [{…}]`"
        raise RuleProblem(f"unknown key {unknown[0]!r}; {advice}")
    rules = document.get("rules", [])
    if not isinstance(rules, list):
        raise RuleProblem("rules: not a list")
    return rules


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)
