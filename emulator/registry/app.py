"""The OCI distribution API (v2) as a starlette application.

Paths are `/v2/<db>/<schema>/<repo>/<image>/…`. Who may read or write is asked of the account through `RegistryGate`.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from emulator.registry.blobs import BlobStore, DigestMismatch, UnknownUpload, is_digest
from emulator.registry.images import ImageIndex, ManifestInvalid, RepositoryKey

_TOKEN_SECONDS = 3600.0
_CHUNK = 1 << 20
_ROUTE = re.compile(
    r"^/v2/(?P<db>[^/]+)/(?P<schema>[^/]+)/(?P<repo>[^/]+)/(?P<image>.+?)/"
    r"(?P<what>blobs/uploads|blobs|manifests|tags/list|tags)(?:/(?P<rest>[^/]*))?$"
)


@dataclass(frozen=True)
class Principal:
    """Who talks to the registry: a user and the role that decides."""

    user: str
    role: str


class RegistryGate(Protocol):
    """What the registry asks of the account."""

    def login(self, user: str, password: str) -> Principal | None:
        """Check a name and a password (password, programmatic token, or `0sessiontoken` with the token's JSON)."""

    def session(self, token: str) -> Principal | None:
        """Check a session token."""

    def repository(self, key: RepositoryKey) -> bool:
        """Whether the repository exists."""

    def may(self, principal: Principal, key: RepositoryKey, *, write: bool) -> bool:
        """Whether the role may read (or write) the repository."""


class RegistryError(Exception):
    """An error in the form that the distribution specification gives."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


class RegistryApp:
    """ASGI application for `/v2/…` and `/login` on the registry's host."""

    def __init__(self, index: ImageIndex, gate: RegistryGate) -> None:
        self._index = index
        self._blobs: BlobStore = index.blobs
        self._gate = gate
        self._tokens: dict[str, tuple[Principal, float]] = {}
        methods = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"]
        self.asgi = Starlette(
            routes=[
                Route("/login", self._login, methods=["GET"]),
                Route("/v2/token", self._login, methods=["GET"]),
                Route("/v2/{path:path}", self._dispatch, methods=methods),
                Route("/v2", self._dispatch, methods=["GET", "HEAD"]),
            ]
        )

    async def _login(self, request: Request) -> Response:
        principal = await run_in_threadpool(self._basic, request.headers.get("authorization", ""))
        if principal is None:
            return JSONResponse(
                {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]},
                status_code=401,
                headers={"WWW-Authenticate": 'Basic realm="snowflake"'},
            )
        token = secrets.token_urlsafe(32)
        now = time.monotonic()
        self._tokens = {t: entry for t, entry in self._tokens.items() if entry[1] > now}
        self._tokens[token] = (principal, now + _TOKEN_SECONDS)
        return JSONResponse({"token": token, "access_token": token, "expires_in": int(_TOKEN_SECONDS)})

    async def _dispatch(self, request: Request) -> Response:
        try:
            principal = await run_in_threadpool(self._authenticate, request)
            if request.url.path.rstrip("/") == "/v2":
                return JSONResponse({}, headers={"Docker-Distribution-API-Version": "registry/2.0"})
            match = _ROUTE.match(request.url.path.rstrip("/"))
            if match is None:
                raise RegistryError(404, "NAME_UNKNOWN", "expected /v2/<db>/<schema>/<repo>/<image>/…")
            key = RepositoryKey(match["db"].upper(), match["schema"].upper(), match["repo"].upper())
            await run_in_threadpool(self._authorise, principal, key, request.method not in ("GET", "HEAD"))
            what, image, rest = match["what"], match["image"], match["rest"] or ""
            if what == "blobs/uploads":
                return await self._upload(request, key, image, rest)
            if what == "blobs":
                return await run_in_threadpool(self._blob, request.method, rest)
            if what == "manifests":
                return await self._manifest(request, key, image, rest)
            return await run_in_threadpool(self._tags, key, image)
        except RegistryError as error:
            body = {"errors": [{"code": error.code, "message": error.message}]}
            return JSONResponse(body, status_code=error.status, headers=error.headers)

    def _authenticate(self, request: Request) -> Principal:
        header = request.headers.get("authorization", "")
        scheme, _, value = header.partition(" ")
        principal: Principal | None = None
        if scheme.lower() == "basic":
            principal = self._basic(header)
        elif scheme.lower() == "bearer":
            entry = self._tokens.get(value)
            principal = entry[0] if entry and entry[1] > time.monotonic() else self._gate.session(value)
        if principal is None:
            host = request.headers.get("host", "localhost")
            challenge = f'Bearer realm="{request.url.scheme}://{host}/login",service="{host}"'
            raise RegistryError(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        return principal

    def _basic(self, header: str) -> Principal | None:
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return self._gate.login(user, password)

    def _authorise(self, principal: Principal, key: RepositoryKey, write: bool) -> None:
        if not self._gate.repository(key):
            raise RegistryError(404, "NAME_UNKNOWN", f"image repository {key.path} does not exist or not authorized")
        if not self._gate.may(principal, key, write=write):
            needed = "WRITE" if write else "READ"
            message = f"role {principal.role} needs {needed} on image repository {key.path}"
            raise RegistryError(403, "DENIED", message)

    async def _upload(self, request: Request, key: RepositoryKey, image: str, upload: str) -> Response:
        digest = request.query_params.get("digest")
        mount = request.query_params.get("mount")
        try:
            if request.method == "POST":
                if mount and is_digest(mount) and self._blobs.has(mount):
                    return self._created(key, image, mount)
                upload = await run_in_threadpool(self._blobs.start_upload)
                if digest is None:
                    return self._accepted(key, image, upload, 0)
            elif request.method == "GET":
                return self._accepted(key, image, upload, self._blobs.upload_size(upload), status=204)
            elif request.method == "DELETE":
                self._blobs.cancel_upload(upload)
                return Response(status_code=204)
            size = self._blobs.upload_size(upload)
            self._check_range(request, size)
            async for chunk in request.stream():
                if chunk:
                    size = await run_in_threadpool(self._blobs.append, upload, chunk)
            if request.method == "PATCH":
                return self._accepted(key, image, upload, size)
            if digest is None or not is_digest(digest):
                raise RegistryError(400, "DIGEST_INVALID", "the query parameter digest=sha256:… is missing or malformed")
            await run_in_threadpool(self._blobs.finish_upload, upload, digest)
            return self._created(key, image, digest)
        except UnknownUpload:
            raise RegistryError(404, "BLOB_UPLOAD_UNKNOWN", f"no upload {upload}") from None
        except DigestMismatch as error:
            raise RegistryError(400, "DIGEST_INVALID", str(error)) from None

    @staticmethod
    def _check_range(request: Request, size: int) -> None:
        text = request.headers.get("content-range")
        match = re.match(r"^(?:bytes )?(\d+)-(\d+)", text) if text else None
        if text and (match is None or int(match[1]) != size):
            raise RegistryError(416, "BLOB_UPLOAD_INVALID", f"the upload holds {size} bytes, the chunk is for {text}")

    @staticmethod
    def _accepted(key: RepositoryKey, image: str, upload: str, size: int, status: int = 202) -> Response:
        headers = {
            "Location": f"/v2/{key.path}/{image}/blobs/uploads/{upload}",
            "Docker-Upload-UUID": upload,
            "Range": f"0-{max(size - 1, 0)}",
        }
        return Response(status_code=status, headers=headers)

    @staticmethod
    def _created(key: RepositoryKey, image: str, digest: str) -> Response:
        headers = {"Location": f"/v2/{key.path}/{image}/blobs/{digest}", "Docker-Content-Digest": digest}
        return Response(status_code=201, headers=headers)

    def _blob(self, method: str, digest: str) -> Response:
        if not is_digest(digest) or not self._blobs.has(digest):
            raise RegistryError(404, "BLOB_UNKNOWN", f"no blob {digest}")
        headers = {"Content-Length": str(self._blobs.size(digest)), "Docker-Content-Digest": digest}
        if method == "HEAD":
            return Response(status_code=200, headers=headers, media_type="application/octet-stream")
        if method != "GET":
            raise RegistryError(405, "UNSUPPORTED", "single blobs cannot be deleted")
        return StreamingResponse(self._chunks(digest), headers=headers, media_type="application/octet-stream")

    async def _chunks(self, digest: str) -> AsyncIterator[bytes]:
        with self._blobs.path(digest).open("rb") as file:
            while chunk := await run_in_threadpool(file.read, _CHUNK):
                yield chunk

    async def _manifest(self, request: Request, key: RepositoryKey, image: str, reference: str) -> Response:
        if request.method == "PUT":
            media_type = request.headers.get("content-type", "application/vnd.oci.image.manifest.v1+json")
            content = await request.body()
            try:
                digest = await run_in_threadpool(self._index.put_manifest, key, image, reference, media_type, content)
            except ManifestInvalid as error:
                raise RegistryError(400, "MANIFEST_INVALID", str(error)) from None
            location = f"/v2/{key.path}/{image}/manifests/{digest}"
            return Response(status_code=201, headers={"Location": location, "Docker-Content-Digest": digest})
        if request.method == "DELETE":
            message = "single images cannot be deleted: drop the image repository"
            raise RegistryError(405, "UNSUPPORTED", message)
        entry = await run_in_threadpool(self._index.manifest, key, image, reference)
        if entry is None:
            raise RegistryError(404, "MANIFEST_UNKNOWN", f"no manifest {image}:{reference} in {key.path}")
        content = await run_in_threadpool(self._blobs.read, entry.digest)
        headers = {"Docker-Content-Digest": entry.digest, "Content-Length": str(len(content))}
        body = content if request.method == "GET" else b""
        return Response(body, headers=headers, media_type=entry.media_type)

    def _tags(self, key: RepositoryKey, image: str) -> Response:
        tags = self._index.tags(key, image)
        if tags is None:
            raise RegistryError(404, "NAME_UNKNOWN", f"no image {image} in {key.path}")
        return JSONResponse({"name": f"{key.path}/{image}", "tags": tags})
