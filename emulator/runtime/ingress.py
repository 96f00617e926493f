"""Public endpoints: requests whose Host header is an ingress name are checked and passed on to the container, streams included."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import html
import secrets
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote

import httpx
import websockets
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from emulator.catalogue.store import CatalogueObject
from emulator.errors import SqlError
from emulator.registry.app import Principal
from emulator.runtime.functions import wake_service
from emulator.runtime.gateway import Hit

if TYPE_CHECKING:
    from emulator.runtime.gate import AccountGate
    from emulator.runtime.manager import Manager
    from emulator.runtime.service import Service

SUFFIX = "-snowcat-local.localhost"
PROVISIONING = "Endpoints provisioning in progress... check back in a few minutes"
LOGIN_PATH = "/sfc-endpoint/login"
LOGOUT_PATH = "/sfc-endpoint/logout"
_COOKIE = "sfc-ss-ingress-auth"
_COOKIE_SECONDS = 8 * 3600.0
_LINK_SECONDS = 60.0
_HOP_HEADERS = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
    "authorization", "host", "content-length",
}  # fmt: skip
_LOGIN_PAGE = """<!doctype html><title>Sign in</title><style>body{{font:16px sans-serif;max-width:22em;margin:4em auto}}
input{{display:block;width:100%;margin:.3em 0 1em;padding:.4em}}</style><h1>Local account</h1><p>{message}</p>
<form method="post" action="{action}"><label>User<input name="user" autofocus></label>
<label>Password<input name="password" type="password"></label><button>Sign in</button></form>"""


def ingress_id(service: CatalogueObject, endpoint: str) -> str:
    """First label of an endpoint's host: stable for the life of the service."""
    return hashlib.sha256(f"{service.id}/{service.created_on}/{endpoint}".encode()).hexdigest()[:10]


def ingress_host(service: CatalogueObject, endpoint: str, port: int) -> str:
    return f"{ingress_id(service, endpoint)}{SUFFIX}:{port}"


class Ingress:
    """Finds the service of a host, and lets only those in whose roles may call the endpoint."""

    def __init__(self, manager: Manager, gate: AccountGate) -> None:
        self._manager = manager
        self._gate = gate
        self._cookies: dict[str, tuple[Principal, float]] = {}
        self._copies: set[asyncio.Task[None]] = set()
        self._links: dict[str, tuple[Principal, float]] = {}
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(90.0, connect=5.0), trust_env=False, follow_redirects=False)

    def app_for_host(self, host: str) -> ASGIApp | None:
        """The application for an ingress host, or None for any other host."""
        name = host.rpartition(":")[0] or host
        if not name.endswith(SUFFIX):
            return None
        identifier = name.removesuffix(SUFFIX)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await self._websocket(WebSocket(scope, receive, send), identifier)
            else:
                response = await self._http(Request(scope, receive), identifier)
                await response(scope, receive, send)

        return app

    # -- who

    def _principal(self, headers: Headers, cookies: dict[str, str]) -> Principal | None:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "snowflake":
            token = value.strip().removeprefix("Token=").strip('"')
            return self._gate.session(token)
        entry = self._cookies.get(cookies.get(_COOKIE, ""))
        return entry[0] if entry and entry[1] > time.monotonic() else None

    def _may(self, principal: Principal, hit: Hit) -> bool:
        """A gateway's own USAGE opens what is behind it; else a service role is needed."""
        roles = self._gate.roles(principal)
        if hit.gateway is not None:
            return self._gate.may_use(roles, hit.gateway)
        return self._gate.may_call(roles, hit.service.obj, hit.endpoint)

    async def _login(self, request: Request) -> Response:
        target = request.query_params.get("to", "/")
        target = target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"
        message = "Sign in to reach this endpoint."
        if request.method == "GET" and "token" in request.query_params:
            held = self._links.pop(request.query_params["token"], None)
            if held is not None and held[1] > time.monotonic():
                return self._signed_in(held[0], target)
            message = "The link was used already or is too old."
        if request.method == "POST":
            form = parse_qs((await request.body()).decode(errors="replace"))
            user, password = (form.get(key, [""])[0] for key in ("user", "password"))
            principal = await run_in_threadpool(self._gate.login, user, password)
            if form.get("link") == ["1"]:
                return self._link(principal)
            if principal is not None:
                return self._signed_in(principal, target)
            message = "Incorrect username or password was specified."
        page = _LOGIN_PAGE.format(message=html.escape(message), action=f"{LOGIN_PATH}?to={quote(target)}")
        return HTMLResponse(page, status_code=200 if request.method == "GET" else 401)

    def _signed_in(self, principal: Principal, target: str) -> Response:
        value = _remember(self._cookies, principal, _COOKIE_SECONDS)
        answer = RedirectResponse(target, status_code=303)
        answer.set_cookie(_COOKIE, value, max_age=int(_COOKIE_SECONDS), httponly=True, samesite="lax")
        return answer

    def _link(self, principal: Principal | None) -> Response:
        """A token that signs a browser in once, so that a tool can open an endpoint for its user."""
        if principal is None:
            return _refused(401, "390100", "Incorrect username or password was specified.")
        return JSONResponse({"token": _remember(self._links, principal, _LINK_SECONDS)})

    def _logout(self, request: Request) -> Response:
        self._cookies.pop(request.cookies.get(_COOKIE, ""), None)
        answer = PlainTextResponse("signed out")
        answer.delete_cookie(_COOKIE)
        return answer

    # -- HTTP

    async def _http(self, request: Request, identifier: str) -> Response:
        if request.url.path == LOGIN_PATH:
            return await self._login(request)
        if request.url.path == LOGOUT_PATH:
            return self._logout(request)
        if request.method in ("TRACE", "CONNECT"):
            return PlainTextResponse("method not allowed", 405)
        found = await run_in_threadpool(self._manager.find_ingress, identifier)
        principal = await run_in_threadpool(self._principal, request.headers, request.cookies)
        if principal is None:
            if "text/html" in request.headers.get("accept", "") and request.method == "GET":
                to = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"{LOGIN_PATH}?to={quote(to)}", status_code=302)
            return _refused(401, "390101", "Authorization header not found or token is invalid.")
        if found is None and await run_in_threadpool(self._behind_gateway, principal, identifier):
            return _refused(503, "395092", "No endpoint of the gateway can answer.")
        if found is None or not await run_in_threadpool(self._may, principal, found):
            return _refused(404, "390404", "The endpoint does not exist or not authorized.")
        port = await run_in_threadpool(self._port, found.service, found.endpoint)
        if port is None:
            service = found.service
            return _refused(503, "395092", f"Service {service.obj.name} is not ready: {service.message or service.status}")
        if found.shadows:
            await self._mirror(request, principal, found)
        return await self._forward(request, principal, port)

    def _behind_gateway(self, principal: Principal, identifier: str) -> bool:
        gateway = self._manager.gateway_of(identifier)
        return gateway is not None and self._gate.may_use(self._gate.roles(principal), gateway)

    async def _mirror(self, request: Request, principal: Principal, hit: Hit) -> None:
        """Send copies to the shadow endpoints; what they answer is nobody's business."""
        body = await request.body()
        for service, endpoint in hit.shadows:
            port = await run_in_threadpool(self._port, service, endpoint)
            if port is not None:
                address = f"http://127.0.0.1:{port}{_target(request.scope)}"
                task = asyncio.create_task(self._send_copy(request.method, address, _onward(request.headers, principal), body))
                self._copies.add(task)
                task.add_done_callback(self._copies.discard)

    async def _send_copy(self, method: str, address: str, headers: list[tuple[str, str]], body: bytes) -> None:
        with contextlib.suppress(httpx.HTTPError):
            await self._client.request(method, address, headers=headers, content=body)

    def _port(self, service: Service, name: str) -> int | None:
        """Real port of a ready instance; None when there is none. Wakes a suspended service."""
        with self._manager.lock:
            service.last_call = time.monotonic()
            if service.suspended:
                try:
                    wake_service(self._manager, service)
                except SqlError:
                    return None
            endpoint = service.version.spec.endpoint(name)
            ready = service.ready_instances()
            if not ready or endpoint is None or endpoint.port is None:
                return None
            return ready[0].ports.mapping.get(endpoint.port, endpoint.port)

    async def _forward(self, request: Request, principal: Principal, port: int) -> Response:
        outgoing = self._client.build_request(
            request.method,
            f"http://127.0.0.1:{port}{_target(request.scope)}",
            headers=_onward(request.headers, principal),
            content=request.stream() if request.method not in ("GET", "HEAD", "OPTIONS") else None,
        )
        try:
            answer = await self._client.send(outgoing, stream=True)
        except httpx.HTTPError as error:
            return _refused(503, "395092", f"The container did not answer: {type(error).__name__}")
        response = StreamingResponse(_body(answer), status_code=answer.status_code)
        response.raw_headers = [
            (key.lower(), value) for key, value in answer.headers.raw if key.lower().decode() not in _HOP_HEADERS - {"content-length"}
        ]
        return response

    # -- WebSocket

    async def _websocket(self, socket: WebSocket, identifier: str) -> None:
        found = await run_in_threadpool(self._manager.find_ingress, identifier)
        principal = await run_in_threadpool(self._principal, socket.headers, socket.cookies)
        port = None
        if found is not None and principal is not None and await run_in_threadpool(self._may, principal, found):
            port = await run_in_threadpool(self._port, found.service, found.endpoint)
        if port is None or principal is None:
            await socket.close(1008)
            return
        dropped = {"sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol"}
        headers = [(k, v) for k, v in _onward(socket.headers, principal) if k.lower() not in dropped]
        origin = next((v for k, v in headers if k.lower() == "origin"), None)
        try:
            async with websockets.connect(
                f"ws://127.0.0.1:{port}{_target(socket.scope)}",
                additional_headers=[(k, v) for k, v in headers if k.lower() not in ("origin", "user-agent")],
                origin=origin,  # type: ignore[arg-type]
                subprotocols=list(socket.scope.get("subprotocols") or []) or None,
                max_size=None,
                proxy=None,
            ) as upstream:
                await socket.accept(subprotocol=upstream.subprotocol)
                await _pump(socket, upstream)
        except (OSError, websockets.WebSocketException):
            await socket.close(1011)


def _remember(known: dict[str, tuple[Principal, float]], principal: Principal, seconds: float) -> str:
    """A fresh secret that stands for the principal for a while; outdated ones are forgotten."""
    now = time.monotonic()
    for old in [key for key, (_, expires) in known.items() if expires < now]:
        del known[old]
    value = secrets.token_urlsafe(32)
    known[value] = (principal, now + seconds)
    return value


async def _pump(socket: WebSocket, upstream: Any) -> None:
    """Both directions until either side closes."""

    async def outward() -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await upstream.send(message["text"] if message.get("text") is not None else message["bytes"])

    async def inward() -> None:
        async for message in upstream:
            if isinstance(message, str):
                await socket.send_text(message)
            else:
                await socket.send_bytes(message)
        await socket.close()

    tasks = [asyncio.create_task(outward()), asyncio.create_task(inward())]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        expected = (WebSocketDisconnect, websockets.WebSocketException, asyncio.CancelledError, RuntimeError)
        if isinstance(result, BaseException) and not isinstance(result, expected):
            raise result


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()


def _target(scope: Scope) -> str:
    path = scope.get("raw_path") or quote(unquote(scope["path"])).encode()
    query = scope.get("query_string") or b""
    return bytes(path).decode() + (f"?{query.decode()}" if query else "")


def _onward(headers: Headers, principal: Principal) -> list[tuple[str, str]]:
    """Headers for the container: no credentials of the account, but who it is. The public host stays, as apps check origins."""
    kept = [(k, v) for k, v in headers.items() if k.lower() not in _HOP_HEADERS and not k.lower().startswith("sf-context-")]
    cleaned = [(k, _without_cookie(v) if k.lower() == "cookie" else v) for k, v in kept]
    return [*cleaned, ("host", headers.get("host", "localhost")), ("Sf-Context-Current-User", principal.user)]


def _without_cookie(text: str) -> str:
    return "; ".join(part for part in text.split("; ") if not part.startswith(f"{_COOKIE}="))


def _refused(status: int, code: str, message: str) -> Response:
    body = f'{{"responseType":"ERROR","requestId":"{secrets.token_hex(8)}","detail":"{html.escape(message)}","code":"{code}"}}'
    return Response(body, status_code=status, media_type="application/json")
