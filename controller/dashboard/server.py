"""The daemon's HTTP side: `/metrics`, `/healthz` and `/readyz`, in a thread of its own, so that a busy loop answers all the same."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from controller.dashboard.metrics import CONTENT_TYPE, Metrics

_GRACE = 2  # seconds for requests under way when the daemon stops


class _Server(uvicorn.Server):
    """Looks once a second whether it should end. Its base does so ten times, a good part of what an idle daemon costs."""

    async def main_loop(self) -> None:
        tick = 0
        while not await self.on_tick(tick):
            tick += 10  # in tenths of a second: each whole second renews the date of the answers
            await asyncio.sleep(1.0)


class Dashboard:
    """Listens from the moment it is made, so that a port that is taken is known before the loop starts."""

    def __init__(self, host: str, port: int, metrics: Metrics) -> None:
        """Port 0 takes any that is free.

        Raises:
            OSError: the address cannot be listened on; its text says which and why.
        """
        try:
            self._socket = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        bound, number = self._socket.getsockname()[:2]
        self.url = f"http://[{bound}]:{number}" if ":" in bound else f"http://{bound}:{number}"
        config = uvicorn.Config(application(metrics), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_GRACE)
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="dashboard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_GRACE + 1)
        self._socket.close()


def application(metrics: Metrics) -> Starlette:
    """The pages, as an ASGI application."""

    def exposition(_: Request) -> Response:
        return Response(metrics.exposition(), headers={"content-type": CONTENT_TYPE})

    def healthz(_: Request) -> Response:
        return _answer(metrics.health.alive(), {})

    def readyz(_: Request) -> Response:
        return _answer(metrics.health.ready(), {"role": metrics.health.role})

    return Starlette(routes=[Route("/metrics", exposition), Route("/healthz", healthz), Route("/readyz", readyz)])


def _answer(checks: dict[str, str], more: dict[str, str]) -> Response:
    fine = all(text == "ok" for text in checks.values())
    return JSONResponse({"status": "ok" if fine else "failed", **more, "checks": checks}, status_code=200 if fine else 503)
