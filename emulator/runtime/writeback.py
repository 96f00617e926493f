"""From a stage volume back to the stage: what a container wrote is uploaded once nobody holds it open for writing.

The container's changes lie in one directory (`changes`): the upper layer of an overlay, or the whole copy where overlays are not
possible. It is scanned twice a second and once more when the container has ended. Where the kernel's guard is not available,
renames and appends are found here, after the fact.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class StageTarget(Protocol):
    """The stage as write-back sees it; paths are relative to the mounted folder."""

    def put(self, path: str, source: Path) -> None: ...

    def remove(self, path: str, keep: Collection[str] = ()) -> None:
        """Delete a file, or all files below a folder but those in `keep`."""


@dataclass(frozen=True)
class _Seen:
    inode: int
    size: int
    modified: int
    digest: str


class WriteBack:
    """Watches one volume of one container.

    `guarded` says that renames and appends are refused by the kernel already. `report` is told of a violation or a failed upload.
    """

    def __init__(self, changes: Path, target: StageTarget, *, overlay: bool, report: Callable[[str], None], guarded: bool) -> None:
        self._changes = changes
        self._target = target
        self._overlay = overlay
        self._report = report
        self.guarded = guarded
        self._synced: dict[str, _Seen] = {}
        self._refused: dict[str, tuple[int, int]] = {}
        self._whiteouts: set[str] = set()
        if not overlay:
            for path, entry in self._files():
                self._synced[path] = _Seen(entry.st_ino, entry.st_size, entry.st_mtime_ns, "")

    def scan(self, pid: int | None) -> None:
        """One pass. `pid` is the container's first process while it runs, None for the last pass."""
        present: dict[str, os.stat_result] = {}
        removed: list[str] = []
        for path, entry in self._files():
            if stat.S_ISCHR(entry.st_mode) and entry.st_rdev == 0:
                removed.append(path)
            elif stat.S_ISREG(entry.st_mode):
                present[path] = entry
        changed = {path: entry for path, entry in present.items() if self._is_new(path, entry)}
        busy = _open_for_writing(pid) if changed and pid else set()
        vanished = [path for path in self._synced if path not in present and path not in removed]
        for path, entry in changed.items():
            if entry.st_ino not in busy:
                self._sync(path, entry, vanished)
        for path in vanished:
            self._remove(path)
        for path in removed:
            if path not in self._whiteouts:
                self._whiteouts.add(path)
                self._remove(path)
        for path in self._replaced_folders() - self._whiteouts:
            self._whiteouts.add(path)
            self._remove(path, keep=present)

    def _replaced_folders(self) -> set[str]:
        """Folders that were removed and made again: an overlay marks them, as nothing of the old one shows through."""
        found = set()
        for folder, names, _ in os.walk(self._changes) if self._overlay else ():
            for name in names:
                try:
                    opaque = os.getxattr(Path(folder) / name, "user.overlay.opaque")
                except OSError:
                    continue
                if opaque == b"y":
                    found.add(str((Path(folder) / name).relative_to(self._changes)))
        return found

    def _files(self) -> list[tuple[str, os.stat_result]]:
        found = []
        for folder, _, names in os.walk(self._changes):
            for name in names:
                full = Path(folder) / name
                try:
                    found.append((str(full.relative_to(self._changes)), full.lstat()))
                except FileNotFoundError:
                    continue
        return found

    def _is_new(self, path: str, entry: os.stat_result) -> bool:
        if self._refused.get(path) == (entry.st_size, entry.st_mtime_ns):
            return False
        seen = self._synced.get(path)
        return seen is None or (seen.inode, seen.size, seen.modified) != (entry.st_ino, entry.st_size, entry.st_mtime_ns)

    def _sync(self, path: str, entry: os.stat_result, vanished: list[str]) -> None:
        full = self._changes / path
        seen = self._synced.get(path)
        if not self.guarded:
            violation = self._violation(path, entry, seen, vanished)
            if violation:
                self._refused[path] = (entry.st_size, entry.st_mtime_ns)
                self._report(violation)
                return
        try:
            digest = "" if self.guarded else _digest(full, entry.st_size)
            self._target.put(path, full)
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001 - whatever the stage says (full, dropped) is for the container's log
            self._refused[path] = (entry.st_size, entry.st_mtime_ns)
            self._report(f"upload of {path} failed: {error}")
            return
        self._whiteouts.discard(path)
        self._synced[path] = _Seen(entry.st_ino, entry.st_size, entry.st_mtime_ns, digest)

    def _violation(self, path: str, entry: os.stat_result, seen: _Seen | None, vanished: list[str]) -> str | None:
        for old in vanished:
            if self._synced[old].inode == entry.st_ino:
                return f"rename of {old} to {path} is not supported on a stage volume"
        grown = seen is not None and bool(seen.digest) and 0 < seen.size < entry.st_size
        if grown and seen and _digest(self._changes / path, seen.size) == seen.digest:
            return f"append to {path} is not supported on a stage volume"
        return None

    def _remove(self, path: str, keep: Collection[str] = ()) -> None:
        self._synced.pop(path, None)
        try:
            self._target.remove(path, keep)
        except Exception as error:  # noqa: BLE001 - as above
            self._report(f"removal of {path} failed: {error}")


def _digest(path: Path, size: int) -> str:
    """Of the first `size` bytes."""
    checksum = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(size, 1 << 20))):
            checksum.update(chunk)
            size -= len(chunk)
    return checksum.hexdigest()


def _open_for_writing(pid: int) -> set[int]:
    """Inode numbers that a process below `pid` has open for writing. Empty where /proc does not tell."""
    found: set[int] = set()
    for process in _family(pid):
        folder = f"/proc/{process}/fd"
        try:
            descriptors = os.listdir(folder)  # noqa: PTH208 - names only
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                target = Path(f"{folder}/{descriptor}").stat()
                if not stat.S_ISREG(target.st_mode):
                    continue
                text = Path(f"/proc/{process}/fdinfo/{descriptor}").read_text()
            except OSError:
                continue
            flags = next((line.split()[1] for line in text.splitlines() if line.startswith("flags:")), "0")
            if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                found.add(target.st_ino)
    return found


def _family(pid: int) -> set[int]:
    """`pid` and its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found
