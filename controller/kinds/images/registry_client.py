"""Pushing an image over the OCI distribution API as a Docker client does: log in, ask per blob whether it is there, send what is not.

Snowflake's registry answers slow uploads with 408 and busy times with 429: those, 5xx and cut connections are tried again, after a new
login since the token is short-lived. What is already there stays, so a repeated push goes on where the last one ended.

Source: github.com/opencontainers/distribution-spec, version 1.1; the login is that of `snow spcs image-registry login`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urljoin

import httpx

from controller.kinds.images.oci import MANIFEST_TYPE, Blob, OciImage

_ATTEMPTS = 6
_LONGEST_WAIT = 20.0  # seconds
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class RegistryRefused(Exception):
    """The registry said no, and will again: bad credentials, no right, no such repository. The message says which."""


class RegistryUnreachable(Exception):
    """No usable answer after several attempts. Trying later may help."""


class _Retry(Exception):
    """One attempt failed in a way that the next may not."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


@dataclass
class RegistryClient:
    """One registry. `base` is its URL with the scheme; `login` gives user and password anew for each attempt."""

    base: str
    login: Callable[[], tuple[str, str]]
    transport: httpx.BaseTransport | None = None
    sleep: Callable[[float], None] = time.sleep
    _headers: dict[str, str] = field(default_factory=dict, repr=False)

    def push(self, repository: str, tag: str, image: OciImage, progress: Callable[[str], None] = lambda _: None) -> str:
        """Push under `repository` (`db/schema/repo/image`); returns the manifest's digest.

        Raises:
            RegistryRefused, RegistryUnreachable: as described there.
        """
        failure = ""
        for attempt in range(_ATTEMPTS):
            try:
                with httpx.Client(base_url=self.base, timeout=_TIMEOUT, transport=self.transport) as client:
                    self._log_in(client)
                    for number, blob in enumerate(image.blobs, 1):
                        progress(f"pushing part {number} of {len(image.blobs)} ({blob.size / 1e6:.1f} MB)")
                        self._push_blob(client, repository, blob)
                    path = f"/v2/{repository}/manifests/{tag}"
                    answer = self._send(client, "PUT", path, content=image.manifest, headers={"Content-Type": MANIFEST_TYPE})
                    return answer.headers.get("Docker-Content-Digest") or image.digest
            except _Retry as error:
                failure, wait = str(error), error.after
            except httpx.TransportError as error:
                failure, wait = f"{type(error).__name__}: {error}", None
            if attempt + 1 < _ATTEMPTS:
                pause = min(wait if wait is not None else 0.5 * 2**attempt, _LONGEST_WAIT) * random.uniform(0.8, 1.2)  # noqa: S311 (jitter)
                progress(f"the registry did not take it ({failure}); trying again in {pause:.0f} s")
                self.sleep(pause)
        raise RegistryUnreachable(f"{self.base} did not take {repository}:{tag} in {_ATTEMPTS} attempts; last answer: {failure}")

    def _log_in(self, client: httpx.Client) -> None:
        self._headers.clear()
        user, password = self.login()
        answer = client.get("/login", auth=(user, password))
        self._raise_for(answer, "login")
        self._headers["Authorization"] = f"Bearer {answer.json()['token']}"

    def _push_blob(self, client: httpx.Client, repository: str, blob: Blob) -> None:
        if self._send(client, "HEAD", f"/v2/{repository}/blobs/{blob.digest}", missing_is_fine=True).status_code == httpx.codes.OK:
            return
        started = self._send(client, "POST", f"/v2/{repository}/blobs/uploads/")
        place = httpx.URL(urljoin(str(client.base_url), started.headers["Location"])).copy_merge_params({"digest": blob.digest})
        with blob.path.open("rb") as content:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
            self._send(client, "PUT", str(place), content=iter(lambda: content.read(1 << 20), b""), headers=headers)

    def _send(
        self, client: httpx.Client, method: str, url: str, *, content: object = None, headers: dict[str, str] | None = None,
        missing_is_fine: bool = False,
    ) -> httpx.Response:  # fmt: skip
        answer = client.request(method, url, content=content, headers={**self._headers, **(headers or {})})  # type: ignore[arg-type]
        if not (missing_is_fine and answer.status_code == httpx.codes.NOT_FOUND):
            self._raise_for(answer, f"{method} {httpx.URL(url).path}")
        return answer

    def _raise_for(self, answer: httpx.Response, what: str) -> None:
        status = answer.status_code
        if status < 400:
            return
        text = f"{what}: HTTP {status} {_message(answer)}".strip()
        if status in _RETRIED:
            after = answer.headers.get("Retry-After", "")
            raise _Retry(text, float(after) if after.isdigit() else None)
        if status in (401, 403):
            raise RegistryRefused(f"{text}; the role needs WRITE on the image repository (GRANT WRITE ON IMAGE REPOSITORY … TO ROLE …)")
        raise RegistryRefused(text)


def _message(answer: httpx.Response) -> str:
    """The registry's own words, where it sent any."""
    try:
        errors = answer.json()["errors"]
        return "; ".join(str(error.get("message") or error.get("code")) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer.text[:200].strip()
