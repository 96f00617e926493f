"""One redactor for everything that leaves the process as text: logs, events, errors, plans.

It knows the values that must not appear (passwords, tokens, secrets read from the environment), and the shapes of well-known tokens for
those that it was not told about.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

HIDDEN = "********"

_SHAPES = re.compile(
    r"hf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|gh[pousr]_[A-Za-z0-9]{30,}"  # GitHub
    r"|sk-[A-Za-z0-9_-]{20,}"  # OpenAI and those who follow it
    r"|AKIA[0-9A-Z]{16}"  # AWS access key
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"  # JSON Web Token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----"
)
_ASSIGNED = re.compile(
    r"(?P<key>\b(?:SECRET_STRING|PASSWORD|OAUTH_REFRESH_TOKEN|PRIVATE_KEY_PASSPHRASE|TOKEN)\s*=\s*)'(?:[^'\\]|''|\\.)*'", re.IGNORECASE
)
_SIGNED = re.compile(r"(?P<address>\bhttps?://[^\s?'\"<>]+)\?(?=[^\s'\"<>]*(?:sig|signature|credential|token)=)[^\s'\"<>]+", re.IGNORECASE)
"""Addresses that whoever has them may use: of uploads and downloads in a cloud's storage."""

_SHORTEST = 4  # a shorter value would hide parts of ordinary words


class Redactor:
    """Hides known values and known shapes. Safe for use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, values: Iterable[str | None]) -> None:
        """Remember values to hide. Ones under four characters are left out: they stand in ordinary words."""
        fresh = {value for value in values if value and len(value) >= _SHORTEST}
        with self._lock:
            if fresh <= self._values:
                return
            self._values |= fresh
            both = self._values | {value.replace("\\", "\\\\").replace("'", "''") for value in self._values}
            self._pattern = re.compile("|".join(re.escape(value) for value in sorted(both, key=len, reverse=True)))

    def __call__(self, message: str) -> str:
        pattern = self._pattern
        if pattern is not None:
            message = pattern.sub(HIDDEN, message)
        message = _ASSIGNED.sub(rf"\g<key>'{HIDDEN}'", message)
        if "://" in message:
            message = _SIGNED.sub(rf"\g<address>?{HIDDEN}", message)
        return _SHAPES.sub(HIDDEN, message)


redact = Redactor()
"""The process's redactor: sessions, logs and events use this one, and whoever reads a secret teaches it."""
