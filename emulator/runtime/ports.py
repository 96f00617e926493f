"""Ports on this machine for the ports that a specification declares.

Containers share the machine's network, so two servers on port 8000 would clash. Each instance gets a free port per declared port;
where the declared number stands in its environment or arguments it is replaced, and `SNOWCAT_PORT_<ENDPOINT>`, `SNOWCAT_PORT` and
`PORT` say it too. An abstract Unix socket reserves each number, so that two accounts on one machine do not choose the same.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys


class Reservation:
    """A port that is ours until `release`."""

    def __init__(self, port: int, holder: socket.socket | None) -> None:
        self.port = port
        self._holder = holder

    def release(self) -> None:
        if self._holder is not None:
            self._holder.close()


def reserve(wanted: int | None = None) -> Reservation | None:
    """The wanted port if it is free (else None), or any free one."""
    for _ in range(50):
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            try:
                probe.bind(("", wanted or 0))
            except OSError:
                return None
            port = int(probe.getsockname()[1])
        holder = _hold(port)
        if holder is not None or not sys.platform.startswith("linux"):
            return Reservation(port, holder)
        if wanted:
            return None
    raise OSError("no free port on this machine")


def _hold(port: int) -> socket.socket | None:
    if not sys.platform.startswith("linux"):
        return None
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(f"\0snowcat-port-{port}")
    except OSError:
        holder.close()
        return None
    return holder


def rewrite(text: str, ports: dict[int, int]) -> str:
    """`text` with declared ports replaced where it is the number alone or ends in `=8000`, `:8000` or `:8000/path`."""
    for declared, actual in ports.items():
        if text == str(declared):
            return str(actual)
    if not ports:
        return text
    numbers = "|".join(str(port) for port in ports)
    return re.sub(
        rf"(?<=[=:])({numbers})(?=$|/|,)", lambda match: str(ports[int(match[1])]), text
    ) if not text.lstrip().startswith("{") else text  # fmt: skip


def mentions(texts: list[str], port: int) -> bool:
    """Whether any of the texts would be rewritten for the port."""
    return any(rewrite(text, {port: -1}) != text for text in texts)
