"""Presigned URLs: a stage file's address with a signature and an expiry, as an object store would give."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote

_LIFE_SECONDS = 3600
# Driver 5.x uploads with OVERWRITE=FALSE only if the address says that it covers these headers.
_SIGNED_HEADERS = "host;x-goog-if-generation-match;x-goog-meta-sfc-digest;x-goog-meta-encryptiondata;x-goog-meta-matdesc"


class StageUrls:
    """Signs and checks the addresses of stage files. `key` is the account's own secret."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, base_url: str, method: str, stage_id: int, path: str) -> str:
        """An address for PUT or GET of the file, good for an hour."""
        expires = int(time.time()) + _LIFE_SECONDS
        signature = self._signature(method, stage_id, path, expires)
        return (
            f"{base_url}/_stage/{stage_id}/{quote(path)}?expires={expires}&signature={signature}"
            f"&X-Goog-SignedHeaders={quote(_SIGNED_HEADERS, safe='')}"
        )

    def check(self, method: str, stage_id: int, path: str, expires: str, signature: str) -> bool:
        """Whether the request's signature is right and not expired."""
        if not expires.isdigit() or int(expires) < time.time():
            return False
        return hmac.compare_digest(signature, self._signature(method, stage_id, path, int(expires)))

    def _signature(self, method: str, stage_id: int, path: str, expires: int) -> str:
        message = f"{method}\n{stage_id}\n{path}\n{expires}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()
