"""Files with sizes and hashes, and copies that a stage mount can take.

A stage mount accepts whole files written from start to end; it has no append, rename or random write. So everything is
made on a local disk and copied, and a document that lists all files with their hashes is copied last. A folder without
that document does not exist for its readers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

RUN_MANIFEST = "run.json"  # written last into a run's folder
ARTEFACTS = "artefacts"  # below the work folder: what a run is to leave, before it is copied out
CHUNK = 1 << 20


@dataclass(frozen=True)
class Folders:
    """Where a run works: the base model, the rows as JSON lines, a local scratch folder, the output folder."""

    base: Path
    rows: Path
    work: Path
    output: Path


@dataclass(frozen=True)
class FileEntry:
    """One file below a folder; `path` is relative, with forward slashes."""

    path: str
    bytes: int
    sha256: str

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def describe(folder: Path) -> list[FileEntry]:
    """All files below `folder`, sorted by path."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [FileEntry(path.relative_to(folder).as_posix(), path.stat().st_size, sha256(path)) for path in found]


def sha256(path: Path) -> str:
    """Hash of a file's content, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def problems(folder: Path, files: Iterable[FileEntry], *, hashes: bool) -> list[str]:
    """What is wrong with `folder` compared with the list: missing files, sizes, and hashes if asked for."""
    found: list[str] = []
    for entry in files:
        path = folder / entry.path
        if not path.is_file():
            found.append(f"{entry.path} is missing")
        elif path.stat().st_size != entry.bytes:
            found.append(f"{entry.path} has {path.stat().st_size} bytes instead of {entry.bytes}")
        elif hashes and sha256(path) != entry.sha256:
            found.append(f"{entry.path} has another content than listed (sha256)")
    return found


def copy_files(source: Path, target: Path, files: Iterable[FileEntry]) -> None:
    """Copy the listed files one after the other, each written from start to end."""
    for entry in files:
        destination = target / entry.path
        destination.parent.mkdir(parents=True, exist_ok=True)
        with (source / entry.path).open("rb") as reader, destination.open("wb") as writer:
            shutil.copyfileobj(reader, writer, CHUNK)


def copy_anew(source: Path, target: Path, files: Sequence[FileEntry], manifest: str) -> None:
    """Copy the listed files to where `manifest` is to list them; that of an earlier try goes first, or it would vouch for a mixture.

    Raises OSError, also where a copy does not show with its size. A stage mount may upload later than it says so: whoever reads the folder
    compares it with the list again.
    """
    (target / manifest).unlink(missing_ok=True)
    copy_files(source, target, files)
    if wrong := problems(target, files, hashes=False):
        raise OSError("; ".join(wrong))


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_entries(document: dict[str, Any]) -> list[FileEntry]:
    """The `files` list of a document. Raises ValueError for a path that leads out of its folder."""
    found = [FileEntry(str(f["path"]), int(f["bytes"]), str(f["sha256"])) for f in document["files"]]
    for entry in found:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in entry.path:
            raise ValueError(f"{entry.path!r} is no path below the folder")
    return found
