"""What a container printed, in files of bounded size: one line each with time stamp and stream."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

#: A file that grows past this is kept once as `.1`, then forgotten: at most twice this much per run of a container.
MAX_BYTES = 4 << 20
#: What one call of SYSTEM$GET_SERVICE_LOGS gives at most.
MAX_ANSWER_BYTES = 100_000


@dataclass(frozen=True)
class LogLine:
    time: datetime
    stream: str  # stdout or stderr
    text: str


class ContainerLog:
    """Log of one container of one instance; `previous` is that of the run before the last restart."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._size = self._path.stat().st_size if self._path.exists() else 0

    @property
    def _path(self) -> Path:
        return self._folder / "current.log"

    def write(self, stream: str, text: str) -> None:
        line = f"{datetime.now(UTC).isoformat(timespec='microseconds')} {stream} {text}\n".encode(errors="replace")
        with self._lock:
            if self._size + len(line) > MAX_BYTES:
                self._path.replace(self._folder / "current.log.1")
                self._size = 0
            with self._path.open("ab") as file:
                file.write(line)
            self._size += len(line)

    def restarted(self) -> None:
        """A new run begins: what there is becomes the previous log."""
        with self._lock:
            (self._folder / "current.log.1").unlink(missing_ok=True)
            if self._path.exists():
                self._path.replace(self._folder / "previous.log")
            self._size = 0

    def lines(self, *, previous: bool = False) -> Iterator[LogLine]:
        names = ["previous.log"] if previous else ["current.log.1", "current.log"]
        for name in names:
            path = self._folder / name
            if not path.exists():
                continue
            with path.open(encoding="utf-8", errors="replace") as file:
                for raw in file:
                    stamp, _, rest = raw.rstrip("\n").partition(" ")
                    stream, _, text = rest.partition(" ")
                    try:
                        yield LogLine(datetime.fromisoformat(stamp), stream, text)
                    except ValueError:
                        continue  # the line was cut by a kill

    def tail(self, count: int, *, previous: bool = False, since: datetime | None = None, stamps: bool = False) -> str:
        """The last `count` lines as text, at most 100 KB."""
        kept: deque[str] = deque(maxlen=count)
        for line in self.lines(previous=previous):
            if since is None or line.time >= since:
                kept.append(f"{line.time.isoformat().replace('+00:00', 'Z')} {line.text}" if stamps else line.text)
        text = "\n".join(kept)
        return text[-MAX_ANSWER_BYTES:] + ("\n" if text else "")
