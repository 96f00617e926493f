"""The files of internal stages: one folder per stage object, named by its id, so that a rename or re-creation never mixes files.

Writes go to a temporary file beside the target and are renamed into place: a killed upload leaves nothing that LIST would show.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from emulator import errors
from emulator.catalogue.store import CatalogueObject

_INCOMING = ".incoming-"


@dataclass(frozen=True)
class StageFile:
    """A file on a stage. `path` is relative to the stage's root; `modified` in epoch seconds."""

    path: str
    size: int
    md5: str
    modified: float


Files = list[StageFile]  # the method `list` hides the builtin inside the class


class StageFiles:
    """All stages below one folder. `quota` bounds their total size in bytes; None is no bound."""

    def __init__(self, root: Path, quota: int | None = None) -> None:
        self._root = root
        self._quota = quota
        self._digests: dict[tuple[str, int, int], str] = {}
        self._lock = threading.Lock()
        root.mkdir(parents=True, exist_ok=True)
        for leftover in root.glob(f"*/**/{_INCOMING}*"):
            leftover.unlink(missing_ok=True)

    def root(self, stage: CatalogueObject) -> Path:
        """The folder that holds the stage's files at their relative paths (made if needed)."""
        return self.root_of(stage.id)

    def root_of(self, stage_id: int) -> Path:
        folder = self._root / str(stage_id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def path(self, stage_id: int, relative: str) -> Path:
        """The file's place on disk. Raises 1008 for a path that leaves the stage."""
        parts = PurePosixPath(relative.strip("/")).parts
        if not parts or any(part in ("..", "") or part.startswith(_INCOMING) for part in parts):
            raise errors.invalid_parameter(relative, "PATH")
        return self.root_of(stage_id).joinpath(*parts)

    def put(self, stage: CatalogueObject, relative: str, data: bytes | Path) -> StageFile:
        """Stores bytes or a copy of a file. Raises the stage-full error when the quota would be passed."""
        if isinstance(data, Path):
            return self.write(stage.id, relative, iter_file(data))
        return self.write(stage.id, relative, [data])

    def write(self, stage_id: int, relative: str, chunks: Iterable[bytes]) -> StageFile:
        """Stores what `chunks` yield, all or nothing."""
        target = self.path(stage_id, relative)
        incoming = self.incoming(stage_id)
        room = self.room(target)
        size = 0
        try:
            with incoming.open("wb") as out:
                for chunk in chunks:
                    size += len(chunk)
                    if room is not None and size > room:
                        assert self._quota is not None
                        raise errors.stage_full(self._quota - room, self._quota)
                    out.write(chunk)
            self.accept(incoming, target)
        finally:
            incoming.unlink(missing_ok=True)
        return self._describe(self.root_of(stage_id), target)

    def incoming(self, stage_id: int) -> Path:
        """A fresh temporary name on the same file system."""
        return self.root_of(stage_id) / f"{_INCOMING}{uuid.uuid4().hex}"

    def accept(self, incoming: Path, target: Path) -> None:
        """Moves a finished upload into place."""
        target.parent.mkdir(parents=True, exist_ok=True)
        incoming.replace(target)

    def room(self, replaced: Path | None = None) -> int | None:
        """Bytes still free under the quota (a file about to be replaced counts as free); None without a quota."""
        if self._quota is None:
            return None
        used = sum(file.stat().st_size for file in self._root.rglob("*") if file.is_file() and not _hidden(file))
        if replaced is not None and replaced.is_file():
            used -= replaced.stat().st_size
        return max(0, self._quota - used)

    @property
    def quota(self) -> int | None:
        return self._quota

    def list(self, stage: CatalogueObject, prefix: str = "") -> Files:
        """Files whose path starts with `prefix`, by path."""
        root = self.root(stage)
        files = (path for path in root.rglob("*") if path.is_file() and not _hidden(path))
        found = [path for path in files if path.relative_to(root).as_posix().startswith(prefix.lstrip("/"))]
        return [self._describe(root, path) for path in sorted(found)]

    def remove(self, stage: CatalogueObject, relative: str) -> None:
        """Deletes one file, and folders that it leaves empty."""
        path = self.path(stage.id, relative)
        path.unlink(missing_ok=True)
        parent = path.parent
        while parent != self.root(stage) and parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent

    def drop(self, stage: CatalogueObject) -> None:
        """Deletes all files of the stage."""
        shutil.rmtree(self._root / str(stage.id), ignore_errors=True)

    def keep_only(self, owners: set[str]) -> None:
        """Deletes the folders of stages that are gone: a kill can come between the two."""
        for folder in self._root.iterdir():
            if folder.name not in owners:
                shutil.rmtree(folder, ignore_errors=True)

    def _describe(self, root: Path, path: Path) -> StageFile:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        with self._lock:
            digest = self._digests.get(key)
        if digest is None:
            md5 = hashlib.md5(usedforsecurity=False)
            for chunk in iter_file(path):
                md5.update(chunk)
            digest = md5.hexdigest()
            with self._lock:
                if len(self._digests) > 100_000:
                    self._digests.clear()
                self._digests[key] = digest
        return StageFile(path.relative_to(root).as_posix(), stat.st_size, digest, stat.st_mtime)


def iter_file(path: Path) -> Iterable[bytes]:
    """The file's bytes in chunks of 1 MiB."""
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            yield chunk


def _hidden(path: Path) -> bool:
    return path.name.startswith(_INCOMING)
