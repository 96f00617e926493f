"""Files of the repository that are kept on a stage: which ones, a hash over them, and the upload.

Only the repository's side is watched: a file removed from the stage by hand is put back when one of the files changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.api.names import QualifiedName
from controller.api.stage import StageFiles
from controller.kinds.base import Effect, EffectContext, Stalled

_WILD = frozenset("*?[")


@dataclass(frozen=True)
class Upload:
    """One local file and the folder of the stage that it goes to ('' is the root)."""

    file: Path
    folder: str

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.file.name}" if self.folder else self.file.name


@dataclass(frozen=True)
class UploadSet:
    """All files of a stage, and a fingerprint over their paths and contents ('' when there are none)."""

    uploads: tuple[Upload, ...] = ()
    fingerprint: str = ""


def find_uploads(wanted: Iterable[StageFiles], base: Path, project: Path) -> tuple[Upload, ...]:
    """The files that a manifest names, relative to its folder `base`; a folder stands for all files below it.

    Raises:
        Stalled: a pattern matches nothing, two files want the same place, or one is a link that leaves the `project`'s folder.
    """
    found: dict[str, Upload] = {}
    for entry in wanted:
        root, files = _matches(entry.from_, base)
        if not files:
            raise Stalled(f"files: {entry.from_} matches no file below {base}")
        for file in files:
            if not file.resolve().is_relative_to(project.resolve()):
                hint = f"a stage keeps files of the project: move it below {project}"
                raise Stalled(f"files: {file} is {file.resolve()}, which is not in the project's folder; {hint}")
            inner = file.parent.relative_to(root).as_posix()
            upload = Upload(file, "/".join(part for part in (entry.to.strip("/"), "" if inner == "." else inner) if part))
            other = found.setdefault(upload.path, upload)
            if other.file != file:
                raise Stalled(f"files: {other.file} and {file} both go to {upload.path} of the stage")
    return tuple(found[path] for path in sorted(found))


def fingerprint(uploads: Sequence[Upload], content_hash: str) -> str:
    """12 hex digits over the places on the stage and the hash of the contents."""
    places = "\n".join(upload.path for upload in uploads)
    return hashlib.sha256(f"{places}\n{content_hash}".encode()).hexdigest()[:12] if uploads else ""


def _matches(pattern: str, base: Path) -> tuple[Path, list[Path]]:
    """The folder from which the tree is kept, and the files."""
    parts = Path(pattern).parts
    fixed = next((index for index, part in enumerate(parts) if _WILD & set(part)), len(parts))
    root = base.joinpath(*parts[:fixed])
    if fixed < len(parts):
        return root, sorted(path for path in root.glob(str(Path(*parts[fixed:]))) if path.is_file())
    if root.is_dir():
        return root, sorted(path for path in root.rglob("*") if path.is_file())
    return root.parent, [root] if root.is_file() else []


@dataclass(frozen=True)
class UploadFiles(Effect):
    """Copies files to a stage, replacing those that are there."""

    stage: QualifiedName
    uploads: tuple[Upload, ...]

    def __str__(self) -> str:
        count = len(self.uploads)
        return f"upload {count} file{'s' if count != 1 else ''} to @{self.stage.sql}"

    def run(self, context: EffectContext) -> None:
        for number, upload in enumerate(self.uploads, 1):
            context.progress(f"uploading {upload.path} ({number} of {len(self.uploads)})")
            try:
                context.session.put_file(upload.file, self.stage, upload.folder)
            except FileNotFoundError:
                raise Stalled(f"{upload.file} went away before it was uploaded") from None
