"""Content-addressed blobs on disk, so that a pushed layer exists once and can never differ from its digest.

Every write goes to a temporary file that is flushed and renamed: after a crash a blob is either complete or absent.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_CHUNK = 1 << 20
#: A blob that no manifest names is kept this long: a push sends blobs before the manifest.
UNREFERENCED_SECONDS = 3600.0


class DigestMismatch(ValueError):
    """The bytes that arrived do not have the digest that the client named."""


class UnknownUpload(KeyError):
    """The upload id was never given out, or its upload was finished or cancelled."""


def is_digest(text: str) -> bool:
    return _DIGEST.match(text) is not None


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class BlobStore:
    """Blobs under `<root>/sha256/<2 hex>/<64 hex>` and unfinished uploads under `<root>/uploads/<id>`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._uploads = root / "uploads"
        shutil.rmtree(self._uploads, ignore_errors=True)
        self._uploads.mkdir(parents=True)

    def path(self, digest: str) -> Path:
        if not is_digest(digest):
            raise ValueError(f"digest {digest!r} is not of the form sha256:<64 hex digits>")
        hexadecimal = digest.removeprefix("sha256:")
        return self._root / "sha256" / hexadecimal[:2] / hexadecimal

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def size(self, digest: str) -> int:
        return self.path(digest).stat().st_size

    def read(self, digest: str) -> bytes:
        return self.path(digest).read_bytes()

    def put(self, content: bytes) -> str:
        upload = self.start_upload()
        self.append(upload, content)
        digest = digest_of(content)
        self.finish_upload(upload, digest)
        return digest

    def start_upload(self) -> str:
        upload = uuid.uuid4().hex
        (self._uploads / upload).touch()
        return upload

    def upload_size(self, upload: str) -> int:
        return self._upload_path(upload).stat().st_size

    def append(self, upload: str, content: bytes) -> int:
        """Add bytes to an upload; returns the size so far."""
        with self._upload_path(upload).open("ab") as file:
            file.write(content)
            return file.tell()

    def cancel_upload(self, upload: str) -> None:
        self._upload_path(upload).unlink()

    def finish_upload(self, upload: str, digest: str) -> None:
        """Check the digest and make the blob visible. Raises DigestMismatch, and forgets the upload, when it differs."""
        source = self._upload_path(upload)
        target = self.path(digest)
        checksum = hashlib.sha256()
        with source.open("rb") as file:
            while chunk := file.read(_CHUNK):
                checksum.update(chunk)
            os.fsync(file.fileno())
        if "sha256:" + checksum.hexdigest() != digest:
            source.unlink()
            raise DigestMismatch(f"content has digest sha256:{checksum.hexdigest()}, not {digest}")
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)

    def remove_unreferenced(self, referenced: set[str]) -> int:
        """Delete blobs that nothing names any more; returns how many. Young blobs stay, a push may be under way."""
        removed = 0
        oldest = time.time() - UNREFERENCED_SECONDS
        for path in self._all():
            if "sha256:" + path.name not in referenced and path.stat().st_mtime < oldest:
                path.unlink()
                removed += 1
        return removed

    def _all(self) -> Iterator[Path]:
        yield from (self._root / "sha256").glob("*/*")

    def _upload_path(self, upload: str) -> Path:
        path = self._uploads / upload
        if not upload.isalnum() or not path.is_file():
            raise UnknownUpload(upload)
        return path
