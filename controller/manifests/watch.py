"""Says that something in the user's files has changed. It never says what: whoever listens looks at everything again.

Events may be lost (network drives, editors that replace folders) and that costs time only, since the loop looks by itself every `resync`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

log = structlog.get_logger("snowcat.watch")

_DEBOUNCE = 0.25  # seconds, at most, while one change follows another
_STEP = 0.02  # seconds; editors write a file in several steps: so long without a change ends one
_CHANGES = [
    *(FileCreatedEvent, FileModifiedEvent, FileClosedEvent, FileMovedEvent, FileDeletedEvent),
    *(DirCreatedEvent, DirMovedEvent, DirDeletedEvent),
]
"""What counts: not that somebody has read a file, as every look does."""


class Watcher(FileSystemEventHandler):
    """Watches folders, in threads of its own until `stop`. It costs nothing while nothing changes.

    `changed` is called at most a few times a second. Hidden files do not count.
    """

    def __init__(self, paths: Iterable[Path], changed: Callable[[], None]) -> None:
        self._paths = sorted({path for path in paths if path.is_dir()})
        self._changed = changed
        self._observer = Observer()
        self._noticed = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="watch-files", daemon=True)

    def start(self) -> None:
        """Where the system refuses, for want of watches or handles, files are looked at every `resync` all the same: it is only logged."""
        try:
            for path in self._paths:
                self._observer.schedule(self, str(path), recursive=True, event_filter=_CHANGES)
            self._observer.start()
        except OSError as error:
            log.warning("files are not watched", error=str(error), message="a change is seen at the next look, within `resync`")
            return
        self._thread.start()

    def stop(self) -> None:
        self._stop = True
        self._noticed.set()
        if self._thread.is_alive():
            self._observer.stop()
            self._observer.join(timeout=5)
            self._thread.join(timeout=5)

    def on_any_event(self, event: FileSystemEvent) -> None:
        if any(counts(Path(os.fsdecode(path)), self._paths) for path in (event.src_path, event.dest_path) if path):
            self._noticed.set()

    def _run(self) -> None:
        while True:
            self._noticed.wait()
            until = time.monotonic() + _DEBOUNCE
            while self._noticed.is_set() and not self._stop and time.monotonic() < until:
                self._noticed.clear()
                self._noticed.wait(_STEP)
            self._noticed.clear()
            if self._stop:
                return
            self._changed()


def counts(path: Path, roots: Iterable[Path]) -> bool:
    """Whether a change of `path` matters: nothing between it and what is watched is hidden (a project may lie in a hidden folder)."""
    for root in roots:
        if path.is_relative_to(root):
            return not any(part.startswith(".") for part in path.relative_to(root).parts)
    return False
