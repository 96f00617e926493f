"""The volumes of one container: where they live, how they get into its root, and the thread that writes stages back."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emulator.runtime.isolation import Isolation
from emulator.runtime.writeback import StageTarget, WriteBack

_SCAN_SECONDS = 0.4


@dataclass(frozen=True)
class StageMount:
    """A stage folder at a path of the container. `source` is the stage's folder on disk."""

    path: str
    source: Path
    target: StageTarget


@dataclass(frozen=True)
class DirectoryMount:
    """A local, memory or block volume: a directory that the containers of an instance share."""

    path: str
    source: Path


class ContainerVolumes:
    """Prepares mounts below a container's folder; `binds` and `overlays` go into the first process's configuration."""

    def __init__(
        self,
        folder: Path,
        root: Path,
        stages: list[StageMount],
        directories: list[DirectoryMount],
        isolation: Isolation,
        report: Callable[[str], None],
    ) -> None:
        self.binds: list[dict[str, object]] = []
        self.overlays: list[dict[str, str]] = []
        self.guarded: list[str] = []
        self.guard_works = True
        self._writers: list[WriteBack] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        for directory in directories:
            directory.source.mkdir(parents=True, exist_ok=True)
            if isolation.private:
                self.binds.append({"source": str(directory.source), "target": directory.path, "readOnly": False})
            else:
                _link(directory.source, Path(f"{root}{directory.path}"))
        for index, stage in enumerate(stages):
            stage.source.mkdir(parents=True, exist_ok=True)
            if isolation.overlay:
                changes, work = folder / f"stage-{index}", folder / f"stage-{index}-work"
                changes.mkdir(parents=True, exist_ok=True)
                work.mkdir(parents=True, exist_ok=True)
                self.overlays.append({"lower": str(stage.source), "upper": str(changes), "work": str(work), "target": stage.path})
            else:
                changes = folder / f"stage-{index}"
                shutil.rmtree(changes, ignore_errors=True)
                shutil.copytree(stage.source, changes, symlinks=True)
                if isolation.private:
                    self.binds.append({"source": str(changes), "target": stage.path, "readOnly": False})
                else:
                    _link(changes, Path(f"{root}{stage.path}"))
            self.guarded.append(stage.path if isolation.private else str(changes.resolve()))
            self._writers.append(WriteBack(changes, stage.target, overlay=isolation.overlay, report=report, guarded=True))

    def unguarded(self) -> None:
        """The kernel's guard could not be installed: violations are looked for in the files instead."""
        self.guard_works = False
        for writer in self._writers:
            writer.guarded = False

    def watch(self, pid: int) -> None:
        """Write back while the container runs."""
        if not self._writers:
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._loop, args=(pid,), daemon=True, name="write-back")
        self._thread.start()

    def finish(self) -> bool:
        """To be called when the process has ended, until it says True: everything is on the stage then."""
        if self._thread is None:
            return True
        self._stop.set()
        if self._thread.is_alive():
            return False
        self._thread = None
        return True

    def _loop(self, pid: int) -> None:
        while not self._stop.wait(_SCAN_SECONDS):
            for writer in self._writers:
                writer.scan(pid)
        for writer in self._writers:
            writer.scan(None)


def _link(target: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(target.resolve(), target_is_directory=True)
