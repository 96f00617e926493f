"""Service functions: rows go out in batches over HTTP as Snowflake sends them, and come back checked.

Headers and body follow the external function data format (version 1.0). A batch may be sent more than once with the same id: on 429
and 5xx, and when the connection breaks. 202 means the work goes on, asked for again by GET with that id.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
import time
import uuid
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.runtime.service import Service

if TYPE_CHECKING:
    from emulator.commands.context import CommandContext
    from emulator.runtime.manager import Manager

DEFAULT_BATCH_ROWS = 1000
DEFAULT_RETRIES = 3
DEFAULT_TIMEOUT = 3600
_PARALLEL_BATCHES = 4
_REQUEST_TIMEOUT = 600.0
_CONNECT_SECONDS = 5.0
_POLL_SECONDS = 0.1


class _Requests:
    """HTTP on one event loop of its own, so that an abort of the statement ends a request that is under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: httpx.AsyncClient | None = None

    def send(self, method: str, url: str, body: bytes, headers: dict[str, str], seconds: float, ctx: CommandContext) -> httpx.Response:
        """The answer, whatever its status. Raises httpx.HTTPError, and SqlError 604 when the statement is cancelled."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None), trust_env=False)
                threading.Thread(target=self._loop.run_forever, daemon=True, name="service-requests").start()
        assert self._client is not None
        timeout = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
        request = self._client.request(method, url, content=body, headers=headers, timeout=timeout)
        answer = asyncio.run_coroutine_threadsafe(request, self._loop)
        ctx.on_cancel.append(answer.cancel)
        try:
            if ctx.cancelled.is_set():
                answer.cancel()
            return answer.result()
        except CancelledError:
            raise errors.canceled() from None
        finally:
            ctx.on_cancel.remove(answer.cancel)


_requests = _Requests()


class _BatchFailed(Exception):
    """This batch will not give values; the text says why."""


@dataclass(frozen=True)
class _Call:
    """What all batches of one statement share."""

    manager: Manager
    service_id: int
    endpoint: str
    function: CatalogueObject
    ctx: CommandContext
    headers: dict[str, str]
    deadline: float

    @property
    def props(self) -> dict[str, Any]:
        return self.function.props


def call_service_function(manager: Manager, function: CatalogueObject, rows: list[list[Any]], ctx: CommandContext) -> list[Any]:
    """One value per row, in order. Raises SqlError when a batch fails and ON_BATCH_FAILURE is ABORT."""
    if not rows:
        return []
    props = function.props
    obj = manager.account.store.find("SERVICE", *props["service"])
    if obj is None:
        raise errors.does_not_exist("Service", ".".join(props["service"]))
    timeout = float(props.get("batch_timeout_secs") or DEFAULT_TIMEOUT)
    deadline = time.monotonic() + timeout
    call = _Call(manager, obj.id, props["endpoint"], function, ctx, _headers(function, ctx), deadline)
    size = int(props.get("max_batch_rows") or DEFAULT_BATCH_ROWS)
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    if len(batches) == 1:
        return _values(call, batches[0])
    with ThreadPoolExecutor(_PARALLEL_BATCHES, thread_name_prefix="service-function") as pool:
        results = list(pool.map(lambda batch: _values(call, batch), batches))
    return [value for result in results for value in result]


def _values(call: _Call, batch: list[list[Any]]) -> list[Any]:
    try:
        return _send(call, batch)
    except _BatchFailed as error:
        if call.props.get("on_batch_failure") == "RETURN_NULL":
            return [None] * len(batch)
        name = call.props["name"]
        raise errors.function_failed(f"{name}. {error}") from None


def _send(call: _Call, batch: list[list[Any]]) -> list[Any]:
    body = json.dumps({"data": [[index, *row] for index, row in enumerate(batch)]}, default=_plain).encode()
    identifier = str(uuid.uuid4())
    headers = {**call.headers, "sf-external-function-query-batch-id": identifier}
    headers["Content-MD5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    retries = int(call.props.get("max_batch_retries", DEFAULT_RETRIES))
    attempt = 0
    polling = False
    failure = "no answer"
    while True:
        url = _address(call)
        try:
            response = _requests.send("GET" if polling else "POST", url, b"" if polling else body, headers, _left(call), call.ctx)
        except httpx.HTTPError as error:
            failure = f"Error sending request to the service: {type(error).__name__}"
        else:
            if response.status_code == 200:
                return _check(response, len(batch))
            if response.status_code == 202:
                polling = True
                _sleep(call, _POLL_SECONDS)
                continue
            failure = f"HTTP status {response.status_code}, response: {response.text[:500]!r}"
            if response.status_code != 429 and response.status_code < 500:
                raise _BatchFailed(failure)
        polling = False
        attempt += 1
        # 429 and 503 mean 'later': they are not counted against the retries, only against the batch's time.
        later = failure.startswith(("HTTP status 429", "HTTP status 503"))
        if not later and attempt > retries:
            raise _BatchFailed(f"{failure} (after {attempt} attempts)")
        _sleep(call, min(5.0, 0.2 * 2 ** min(attempt, 6)), failure)


def _check(response: httpx.Response, count: int) -> list[Any]:
    given = response.headers.get("content-md5")
    if given:
        found = hashlib.md5(response.content, usedforsecurity=False).digest()
        if given not in (base64.b64encode(found).decode(), found.hex()):
            raise _BatchFailed("Content-MD5 of the response does not match its body")
    try:
        data = response.json()["data"]
        if len(data) != count:
            raise _BatchFailed(f"the response has {len(data)} rows, expected {count}")
        if any(len(row) != 2 or int(row[0]) != index for index, row in enumerate(data)):
            raise _BatchFailed("the response must hold [row number, value] for each row, in the order of the request")
    except (ValueError, KeyError, TypeError) as error:
        raise _BatchFailed(f'the response is not of the form {{"data": [[0, value], …]}}: {error}') from None
    return [row[1] for row in data]


def _address(call: _Call) -> str:
    """URL of a ready instance; waits for one, and resumes a suspended service that allows it."""
    while True:
        with call.manager.lock:
            service = call.manager.services.get(call.service_id)
            if service is None or service.dropped:
                raise _BatchFailed("the service was dropped")
            endpoint = service.version.spec.endpoint(call.endpoint)
            if endpoint is None or endpoint.port is None:
                raise _BatchFailed(f"the service has no endpoint {call.endpoint}")
            service.last_call = time.monotonic()
            if service.suspended:
                wake_service(call.manager, service)
            ready = service.ready_instances()
            if ready:
                instance = ready[int(time.monotonic() * 1000) % len(ready)]
                port = instance.ports.mapping.get(endpoint.port, endpoint.port)
                return f"http://127.0.0.1:{port}{call.props['path']}"
            message = service.message
        _sleep(call, 0.05, f"the service is not ready: {message}")


def wake_service(manager: Manager, service: Service) -> None:
    """Resume a suspended service (and its pool) on use. Raises SqlError where AUTO_RESUME forbids it."""
    if not service.props.get("auto_resume", True):
        raise errors.execution(f"Service {service.obj.name} is suspended and AUTO_RESUME is FALSE.")
    pool = manager.account.store.find("COMPUTE POOL", "", "", service.props["compute_pool"])
    if pool is not None and pool.props["suspended"]:
        if not pool.props.get("auto_resume", True):
            raise errors.execution(f"Compute pool {pool.name} is suspended and AUTO_RESUME is FALSE.")
        manager.resume_pool(pool)
    manager.resume_service(service)


def _left(call: _Call) -> float:
    return max(0.1, min(_REQUEST_TIMEOUT, call.deadline - time.monotonic()))


def _sleep(call: _Call, seconds: float, reason: str = "the service is still working") -> None:
    until = time.monotonic() + seconds
    if until > call.deadline:
        raise _BatchFailed(f"timed out: {reason}")
    while (left := until - time.monotonic()) > 0:
        call.ctx.check_cancelled()
        call.ctx.cancelled.wait(left)
    call.ctx.check_cancelled()


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex().upper()
    return str(value)


def _headers(function: CatalogueObject, ctx: CommandContext) -> dict[str, str]:
    props = function.props
    signature = "(" + ", ".join(f"{a['name']} {a['type']}" for a in props["arguments"]) + ")"
    described = {"name": props["name"], "signature": signature, "return-type": props["returns"]}
    prefix = "sf-external-function"
    headers = {
        "Content-Type": "application/json",
        f"{prefix}-format": "json",
        f"{prefix}-format-version": "1.0",
        f"{prefix}-current-query-id": ctx.query_id,
    }
    for key, value in described.items():
        headers[f"{prefix}-{key}"] = value.encode("ascii", "replace").decode()
        headers[f"{prefix}-{key}-base64"] = base64.b64encode(value.encode()).decode()
    session = ctx.session
    values = {
        "current_user": session.user,
        "current_role": session.role,
        "current_account": ctx.account.name,
        "current_warehouse": session.warehouse,
        "current_database": session.database,
        "current_schema": session.schema,
        "current_session": str(session.id),
        "current_statement": ctx.text,
        "current_timestamp": str(time.time()),
    }
    for name in props.get("context_headers") or []:
        text = values.get(str(name).lower()) or ""
        header = f"sf-context-{str(name).lower().replace('_', '-')}"
        headers[header] = " ".join(text.encode("ascii", "replace").decode().split())
        headers[f"{header}-base64"] = base64.b64encode(text.encode()).decode()
    return headers
