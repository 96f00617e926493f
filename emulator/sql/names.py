"""Names: how they are stored, shown and quoted."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAIN = re.compile(r"[A-Z_][A-Z0-9_$]*\Z")


def quote(name: str) -> str:
    """`name` as it must be written in SQL: bare where that keeps it, quoted otherwise."""
    if _PLAIN.match(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def is_plain(name: str) -> bool:
    """Whether the stored name needs no quotes."""
    return _PLAIN.match(name) is not None


@dataclass(frozen=True)
class QualifiedName:
    """A dotted name as written; every part in stored form (unquoted parts already upper-case). One to three parts."""

    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.parts[-1]

    def __str__(self) -> str:
        return ".".join(quote(part) for part in self.parts)
