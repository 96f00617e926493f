"""The ASGI application: the drivers' routes, stage transfer, and what the container runtime adds (registry, ingress)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from emulator.wire.routes import Wire
from emulator.wire.transfer import Transfer

if TYPE_CHECKING:
    from emulator.account import Account


def application(account: Account) -> ASGIApp:
    """Requests whose Host header is an ingress name go to the service; all others to the account's own routes."""
    routes = [*Wire(account).routes(), *Transfer(account).routes()]
    if account.runtime is not None:
        routes += account.runtime.routes()
    own: ASGIApp
    if account.faults is None:
        own = Starlette(routes=routes)
    else:
        from emulator.faults.control import Control
        from emulator.faults.requests import RequestFaults

        control = Control(account.faults, account.faults_token)
        own = RequestFaults(Starlette(routes=[*control.routes(), *routes]), account.faults)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if account.runtime is not None and scope["type"] in ("http", "websocket"):
            host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
            ingress = account.runtime.app_for_host(host)
            if ingress is not None:
                await ingress(scope, receive, send)
                return
        await own(scope, receive, send)

    return serve
