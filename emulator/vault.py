"""Encryption of secret values at rest, with a key that lives in the account's folder (readable by its owner only)."""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet


class Vault:
    """Seals and opens texts. The catalogue file alone gives no secret away."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(hashlib.sha256(key).digest()))

    def seal(self, value: str) -> str:
        return self._fernet.encrypt(value.encode()).decode()

    def open(self, sealed: str) -> str:
        return self._fernet.decrypt(sealed.encode()).decode()
