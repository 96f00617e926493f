"""Upload and download of stage files by presigned URL, as from an object store."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from emulator import errors

if TYPE_CHECKING:
    from emulator.account import Account


class Transfer:
    """The `/_stage/` routes."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def routes(self) -> list[BaseRoute]:
        return [Route("/_stage/{stage_id:int}/{path:path}", self.handle, methods=["PUT", "GET", "HEAD"])]

    async def handle(self, request: Request) -> Response:
        stage_id, path = int(request.path_params["stage_id"]), str(request.path_params["path"])
        method = "PUT" if request.method == "PUT" else "GET"
        query = request.query_params
        if not self.account.urls.check(method, stage_id, path, query.get("expires", ""), query.get("signature", "")):
            return PlainTextResponse("the address has expired or its signature is wrong", 403)
        if self.account.store.by_id(stage_id) is None:
            return PlainTextResponse("the stage is gone", 404)
        if method == "PUT":
            try:
                return await self._upload(request, stage_id, path)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                return PlainTextResponse(f"the account's disk is full: {error.strerror}", 507)
        return await self._download(stage_id, path)

    async def _upload(self, request: Request, stage_id: int, path: str) -> Response:
        files = self.account.stages
        try:
            target = files.path(stage_id, path)
        except errors.SqlError as error:
            return PlainTextResponse(error.message, 403)
        if request.headers.get("x-goog-if-generation-match") == "0" and target.exists():
            return PlainTextResponse("the file exists and OVERWRITE is FALSE", 412)
        room = await run_in_threadpool(files.room, target)
        incoming = files.incoming(stage_id)
        size = 0
        try:
            with incoming.open("wb") as out:
                async for chunk in _chunks(request):
                    size += len(chunk)
                    if room is not None and size > room:
                        return PlainTextResponse(errors.stage_full((files.quota or 0) - room, files.quota or 0).message, 507)
                    await asyncio.to_thread(out.write, chunk)
            await run_in_threadpool(files.accept, incoming, target)
        finally:
            incoming.unlink(missing_ok=True)
        return Response(status_code=200)

    async def _download(self, stage_id: int, path: str) -> Response:
        try:
            target = self.account.stages.path(stage_id, path)
        except errors.SqlError as error:
            return PlainTextResponse(error.message, 403)
        if not target.is_file():
            return PlainTextResponse(f"no file {path} on the stage", 404)
        return FileResponse(target, media_type="application/octet-stream")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of at least 1 MiB, so that small network chunks cost no thread switch each."""
    pending = bytearray()
    async for chunk in request.stream():
        pending += chunk
        if len(pending) >= 1 << 20:
            yield bytes(pending)
            pending.clear()
    if pending:
        yield bytes(pending)
