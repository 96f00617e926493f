"""Where the daemon's pages are served, as `--listen` says it; apart from the server, so that it is checked before anything is loaded."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:]*\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`; without a host (`:9464`) all interfaces are meant, as such options do elsewhere.

    Raises:
        ValueError: it is not such an address.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9464")
    return match["host"].strip("[]") or "0.0.0.0", int(match["port"])  # noqa: S104 - asked for by leaving the host out
