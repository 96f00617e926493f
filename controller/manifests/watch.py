"""Says that something in the user's files has changed. It never says what: whoever listens looks at everything again.

Events may be lost (network drives, editors that replace folders) and that costs time only, since the loop looks by itself every `resync`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from watchfiles import watch

_DEBOUNCE_MS = 250  # at most so long, while one change follows another
_STEP_MS = 20  # editors write a file in several steps: so long without a change ends one


class Watcher:
    """Watches folders and files in a thread of its own until `stop`.

    `changed` is called in that thread, at most a few times a second. Hidden files do not count.
    """

    def __init__(self, paths: Iterable[Path], changed: Callable[[], None]) -> None:
        self._paths = sorted({path for path in paths if path.exists()})
        self._changed = changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch-files", daemon=True)

    def start(self) -> None:
        if self._paths:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        for _ in watch(
            *self._paths,
            watch_filter=lambda _change, path: counts(Path(path), self._paths),
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._stop,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            self._changed()


def counts(path: Path, roots: Iterable[Path]) -> bool:
    """Whether a change of `path` matters: nothing between it and what is watched is hidden (a project may lie in a hidden folder)."""
    for root in roots:
        if path.is_relative_to(root):
            return not any(part.startswith(".") for part in path.relative_to(root).parts)
    return False
