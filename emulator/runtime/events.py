"""Platform events of services (`SPCS_GET_EVENTS`): status changes of service, instances and containers, kept on disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class PlatformEvent:
    time: str  # ISO, UTC
    severity: str  # INFO or ERROR
    name: str
    status: str
    message: str
    instance: str | None = None
    container: str | None = None


class EventLog:
    """Events of one service, oldest first; the older half is forgotten when there are many."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, what: str, status: str, message: str, instance: str | None = None, container: str | None = None) -> None:
        """`what` is SERVICE, SERVICE_INSTANCE or CONTAINER."""
        severity = "ERROR" if status in ("FAILED", "INTERNAL_ERROR") else "INFO"
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        event = PlatformEvent(stamp, severity, f"{what}.STATUS_CHANGE", status, message, instance, container)
        with self._lock:
            if self._path.exists() and self._path.stat().st_size > _MAX_BYTES:
                lines = self._path.read_text().splitlines(keepends=True)
                self._path.write_text("".join(lines[len(lines) // 2 :]))
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(event)) + "\n")

    def __iter__(self) -> Iterator[PlatformEvent]:
        if not self._path.exists():
            return
        with self._path.open() as file:
            for line in file:
                if line.endswith("\n"):
                    yield PlatformEvent(**json.loads(line))
