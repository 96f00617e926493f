"""The HTTP routes that the drivers call."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
import time
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from emulator import errors
from emulator.execute import submit
from emulator.session import Session
from emulator.wire.login import LoginError, log_in
from emulator.wire.responses import expired_session, failure, history_rows, in_progress, query_status
from emulator.wire.statements import Statement
from emulator.wire.tokens import MASTER_SECONDS, Issued, bearer_of

if TYPE_CHECKING:
    from emulator.account import Account

LONG_POLL_SECONDS = 40.0
DETACHED_SECONDS = 300.0  # Snowflake lets a statement without its client end unless ABORT_DETACHED_QUERY; this is a small machine
SERVER_VERSION = "9.36.0"
_LOGIN_PARAMETERS: dict[str, Any] = {
    "AUTOCOMMIT": True,
    "CLIENT_PREFETCH_THREADS": 4,
    "CLIENT_RESULT_CHUNK_SIZE": 160,
    "CLIENT_SESSION_KEEP_ALIVE": False,
    "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY": 3600,
    "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD": 0,
    "CLIENT_TELEMETRY_ENABLED": False,
    "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "arrow",
    "QUERY_RESULT_FORMAT": "arrow",
    "TIMEZONE": "UTC",
    "TIMESTAMP_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM",
    "SERVICE_NAME": "",
}


class Wire:
    """Handlers for one account."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/session/v1/login-request", self.login, methods=["POST"]),
            Route("/session/token-request", self.token, methods=["POST"]),
            Route("/session/heartbeat", self.heartbeat, methods=["POST", "GET"]),
            Route("/session", self.end_session, methods=["POST"]),
            Route("/queries/v1/query-request", self.query, methods=["POST"]),
            Route("/queries/v1/abort-request", self.abort, methods=["POST"]),
            Route("/queries/{query_id}/result", self.result, methods=["GET"]),
            Route("/queries/{query_id}/abort-request", self.abort_by_id, methods=["POST"]),
            Route("/monitoring/queries/{query_id}", self.monitor, methods=["GET"]),
            Route("/monitoring/queries//{query_id}", self.monitor, methods=["GET"]),
            Route("/telemetry/send", self.telemetry, methods=["POST"]),
            Route("/telemetry/send/sessionless", self.telemetry, methods=["POST"]),
            Route("/_local/queries", self.history, methods=["GET"]),
        ]

    # -- sessions

    async def login(self, request: Request) -> Response:
        body = await _body(request)
        try:
            session = await run_in_threadpool(log_in, self.account, _mapping(body.get("data")), dict(request.query_params))
        except LoginError as refused:
            return _json(
                {
                    "data": {"authnMethod": "USERNAME_PASSWORD", "nextAction": "RETRY_LOGIN"},
                    "code": str(refused.code),
                    "message": refused.message,
                    "success": False,
                    "headers": None,
                }
            )
        return _json({"data": self._login_data(self.account.tokens.open(session)), "code": None, "message": None, "success": True})

    def _login_data(self, issued: Issued) -> dict[str, Any]:
        session = issued.session
        return {
            "masterToken": issued.master,
            "token": issued.token,
            "validityInSeconds": int(self.account.tokens.session_seconds),
            "masterValidityInSeconds": MASTER_SECONDS,
            "displayUserName": session.user,
            "serverVersion": SERVER_VERSION,
            "firstLogin": False,
            "remMeToken": None,
            "remMeValidityInSeconds": 0,
            "healthCheckInterval": 45,
            "newClientForUpgrade": None,
            "sessionId": session.id,
            "parameters": [{"name": name, "value": value} for name, value in {**_LOGIN_PARAMETERS, **session.parameters}.items()],
            "sessionInfo": {
                "databaseName": session.database,
                "schemaName": session.schema,
                "warehouseName": session.warehouse,
                "roleName": session.role,
            },
            "idToken": None,
            "idTokenValidityInSeconds": 0,
            "responseData": None,
            "mfaToken": None,
            "mfaTokenValidityInSeconds": 0,
        }

    async def token(self, request: Request) -> Response:
        """RENEW: new tokens for the session. ISSUE: a token for someone else (the registry login uses it)."""
        body = await _body(request)
        kind = str(body.get("requestType") or "RENEW")
        if kind == "ISSUE":
            session = self.account.tokens.by_master(_bearer(request)) or self._session(request)
            if session is None:
                return _expired()
            token = self.account.tokens.issue(session.user, session.role, "oauth", str(session.id), 3600.0)
            return _json({"data": {"sessionToken": token, "validityInSecondsST": 3600}, "code": None, "message": None, "success": True})
        issued = self.account.tokens.renew(_bearer(request)) or self.account.tokens.renew(str(body.get("masterToken") or ""))
        if issued is None:
            return _json(
                {
                    "data": None,
                    "code": "390114",
                    "message": "Authentication token has expired.  The user must authenticate again.",
                    "success": False,
                }
            )
        data = {
            "sessionToken": issued.token,
            "validityInSecondsST": int(self.account.tokens.session_seconds),
            "masterToken": issued.master,
            "validityInSecondsMT": MASTER_SECONDS,
            "masterValidityInSeconds": MASTER_SECONDS,
            "sessionId": issued.session.id,
        }
        return _json({"data": data, "code": None, "message": None, "success": True})

    async def heartbeat(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _expired()
        self.account.tokens.heartbeat(session)
        return _ok()

    async def end_session(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _expired()
        if request.query_params.get("delete") == "true":
            await run_in_threadpool(self.account.end_session, session.id)
        return _ok()

    def _session(self, request: Request) -> Session | None:
        return self.account.tokens.session(_bearer(request))

    # -- statements

    async def query(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _expired()
        body = await _body(request)
        request_id = request.query_params.get("requestId") or ""
        statement = self.account.statements.by_request(request_id) if request_id else None
        if statement is None or statement.session.id != session.id:
            begun = await self._begin(session, body, request_id)
            if isinstance(begun, Response):
                return begun
            statement = begun
        if body.get("asyncExec"):
            return _json(in_progress(statement, detached=True))
        statement.needs_client = True
        return await self._wait(request, statement)

    async def _begin(self, session: Session, body: dict[str, Any], request_id: str) -> Statement | Response:
        """The statement, running; or what a fault that was asked for answers in its place."""
        if self.account.faults is not None:
            return await self.account.faults.statement(session, body, request_id)
        return submit(self.account, session, body, request_id)

    async def _wait(self, request: Request, statement: Statement) -> Response:
        """The statement's answer, or 'in progress' when it takes longer than one long poll."""
        if statement.future is not None and not statement.future.done():
            waiting = asyncio.wrap_future(statement.future)
            gone = asyncio.create_task(_disconnected(request))
            statement.waiting += 1
            try:
                done, _ = await asyncio.wait([waiting, gone], timeout=LONG_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                statement.waiting -= 1
                statement.last_heard = time.monotonic()
                gone.cancel()
            if waiting not in done:
                at_once = gone in done and str(statement.session.parameters.get("ABORT_DETACHED_QUERY", "")).lower() == "true"
                asyncio.get_running_loop().call_later(0.0 if at_once else DETACHED_SECONDS, self._abandon, statement, at_once)
                return _json(in_progress(statement, detached=False))
        if self.account.faults is not None and (lost := self.account.faults.lost_answer(statement)) is not None:
            return lost
        if statement.response is None:
            return _json(failure(errors.statement_not_found(statement.query_id), statement.query_id))
        return _json(statement.response)

    def _abandon(self, statement: Statement, at_once: bool) -> None:
        """Cancels a statement that nobody waits for any more. An asynchronous one is left alone: its client said that it would leave."""
        heard = time.monotonic() - statement.last_heard
        if statement.needs_client and statement.ended is None and not statement.waiting and (at_once or heard >= DETACHED_SECONDS - 1):
            asyncio.get_running_loop().run_in_executor(None, statement.cancel)

    async def result(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _expired()
        query_id = request.path_params["query_id"]
        statement = self.account.statements.get(query_id)
        if statement is None or statement.session.user != session.user:
            return _json(failure(errors.statement_not_found(query_id), query_id))
        return await self._wait(request, statement)

    async def abort(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _expired()
        body = await _body(request)
        statement = self.account.statements.by_request(str(body.get("requestId") or ""))
        return await self._abort(session, statement)

    async def abort_by_id(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _expired()
        return await self._abort(session, self.account.statements.get(request.path_params["query_id"]))

    async def _abort(self, session: Session, statement: Statement | None) -> Response:
        if statement is None or statement.session.user != session.user or statement.ended is not None:
            return _json(
                {"data": None, "code": "000605", "message": "Identified SQL statement is not currently executing.", "success": False}
            )
        await run_in_threadpool(statement.cancel)
        return _ok()

    async def monitor(self, request: Request) -> Response:
        if self._session(request) is None:
            return _expired()
        statement = self.account.statements.get(request.path_params["query_id"])
        rows = [query_status(statement)] if statement is not None else []
        return _json({"data": {"queries": rows}, "code": None, "message": None, "success": True})

    async def telemetry(self, request: Request) -> Response:
        await request.body()
        return _ok()

    async def history(self, request: Request) -> Response:
        """The statement log, for tests and diagnosis: needs a session token like everything else."""
        if self._session(request) is None:
            return _expired()
        return _json({"data": history_rows(self.account.statements.history()), "now": time.time()})


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    if raw[:2] == b"\x1f\x8b":
        raw = await run_in_threadpool(functools.partial(gzip.decompress, raw))
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


async def _disconnected(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object; what a client sends may be anything."""
    return value if isinstance(value, dict) else {}


def _bearer(request: Request) -> str:
    return bearer_of(request.headers.get("authorization", ""))


def _json(data: dict[str, Any]) -> Response:
    return JSONResponse(data)


def _ok() -> Response:
    return _json({"data": None, "code": None, "message": None, "success": True})


def _expired() -> Response:
    return _json(expired_session())
