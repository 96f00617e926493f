"""Where things are inside a container.

Specifications name absolute paths such as `/snowcat/stage`. On SPCS, and wherever the local account can give a process
a root of its own, they are just that. Where it cannot, it puts the container's folders below `SNOWCAT_ROOT` instead.
Every path that comes from a specification goes through `real`, and nothing else needs to know.
"""

from __future__ import annotations

import os
from pathlib import Path

SESSION_TOKEN = "/snowflake/session/token"  # noqa: S105 - where SPCS puts the token, not the token
STAGE = "/snowcat/stage"


def real(declared: str | Path) -> Path:
    """The path on this machine for an absolute path of the specification. Relative paths stay as they are.

    A path that already lies below the root is left alone: the account rewrites declared paths in arguments and
    environment itself.
    """
    path = Path(declared)
    root = os.environ.get("SNOWCAT_ROOT")
    if not root or not path.is_absolute() or path.is_relative_to(root):
        return path
    return Path(root) / path.relative_to("/")
