"""The ownership mark: a bracketed tag after the user's own text in an object's COMMENT.

    nightly pool [snowcat lab/ComputePool/llm_finetune_pool delete=yes spec=1f2e3d4c5b6a]

No mark, no change. Attributes are short hashes and flags that must survive the loss of every local file; they never hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

LEASE = "[snowcat-lease"
"""How the comments of a project's lease begin: no mark, so that no kind takes it for an object of the project."""

_REMEMBERED = 1 << 14  # comments
_MARK = re.compile(
    r"\s*\[snowcat (?P<project>[^/\s\]]+)/(?P<kind>[A-Za-z]+)/(?P<name>[^\s\]]+)(?P<attributes>(?: [A-Za-z]+=[^\s\]]*)*)\]\s*$"
)


@dataclass(frozen=True)
class Mark:
    """Which project and manifest an object belongs to. `name` is the last part of the object's name, lower case where it is bare."""

    project: str
    kind: str
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        tail = "".join(f" {key}={value}" for key, value in sorted(self.attributes.items()))
        return f"[snowcat {self.project}/{self.kind}/{self.name}{tail}]"


@lru_cache(_REMEMBERED)
def split_comment(comment: str | None) -> tuple[str, Mark | None]:
    """The user's own text and the mark, if there is one. Each comment is asked about several times in each plan."""
    match = _MARK.search(comment or "")
    if not match:
        return (comment or ""), None
    pairs = dict(part.split("=", 1) for part in match["attributes"].split())
    return (comment or "")[: match.start()], Mark(match["project"], match["kind"], match["name"], pairs)


def is_lease(comment: str | None) -> bool:
    """Whether the stage with this comment belongs to the lease of a project, of this one or another."""
    return (comment or "").lstrip().startswith(LEASE)


def mark_of(row: Mapping[str, Any] | None) -> Mark | None:
    """The mark in the comment of a row of SHOW; None where there is no row."""
    return split_comment(row.get("comment"))[1] if row is not None else None


def join_comment(text: str, mark: Mark) -> str:
    """The comment to write: the user's text, then the mark."""
    return f"{text} {mark}".strip()
