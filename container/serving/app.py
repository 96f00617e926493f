"""The application: all routes of one model, and its health."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from container.serving import openai, sql_functions
from container.serving.service import ModelService


def build(service: ModelService, failed: Callable[[], None]) -> Starlette:
    """The ASGI application. The model loads in a thread of its own, so that health can be asked meanwhile.

    `failed` is called from that thread when the model cannot be loaded or does not answer.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        worker = threading.Thread(target=service.run, args=(failed,), name="model", daemon=True)
        worker.start()
        yield
        service.close()

    async def healthz(request: Request) -> Response:
        state = "ready" if service.ready else "failed" if service.failure else "loading"
        document = {"status": state, "model": service.settings.name, "version": service.settings.version}
        return JSONResponse(document, status_code=200 if service.ready else 503)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            *sql_functions.routes(service),
            *openai.routes(service),
        ],
        lifespan=lifespan,
    )
