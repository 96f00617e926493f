"""Manifests and tags of each image repository, as small files next to the blobs.

Layout: `<root>/<DB>/<SCHEMA>/<REPO>/<image>/manifests/<hex>.json` and `…/<image>/tags/<tag>`; an image name may hold slashes,
which are kept as `+` in the folder name (`+` cannot occur in an image name).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from emulator.registry.blobs import BlobStore, is_digest

_NAME = re.compile(r"^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$")
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")


class ManifestInvalid(ValueError):
    """The manifest is no JSON object, has a bad name or tag, or names a blob that was not pushed."""


@dataclass(frozen=True)
class RepositoryKey:
    """Database, schema and repository name as the catalogue stores them (upper case)."""

    database: str
    schema: str
    name: str

    @property
    def path(self) -> str:
        """The lower-case `db/schema/repo` that image references use."""
        return f"{self.database}/{self.schema}/{self.name}".lower()


@dataclass(frozen=True)
class ManifestEntry:
    digest: str
    media_type: str
    created: float  # seconds since the epoch


@dataclass(frozen=True)
class ImageRow:
    """One tag of one image: a row of SHOW IMAGES."""

    image: str
    tag: str
    digest: str
    created: float


class ImageIndex:
    """Which images each repository holds. Safe to use from several threads."""

    def __init__(self, root: Path, blobs: BlobStore) -> None:
        self._root = root
        self._root.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self.blobs = blobs

    def put_manifest(self, repository: RepositoryKey, image: str, reference: str, media_type: str, content: bytes) -> str:
        """Store a manifest and, if `reference` is a tag, point the tag at it; returns the digest."""
        if not _NAME.match(image):
            raise ManifestInvalid(f"image name {image!r} must be lower-case letters, digits and separators")
        if not is_digest(reference) and not _TAG.match(reference):
            raise ManifestInvalid(f"{reference!r} is neither a tag nor a digest")
        self._check_references(content)
        with self._lock:
            digest = self.blobs.put(content)
            if is_digest(reference) and reference != digest:
                raise ManifestInvalid(f"manifest has digest {digest}, not {reference}")
            folder = self._folder(repository, image)
            entry_path = folder / "manifests" / f"{digest.removeprefix('sha256:')}.json"
            if not entry_path.exists():
                _write(entry_path, json.dumps(asdict(ManifestEntry(digest, media_type, time.time()))))
            if not is_digest(reference):
                _write(folder / "tags" / reference, digest)
        return digest

    def manifest(self, repository: RepositoryKey, image: str, reference: str) -> ManifestEntry | None:
        """The manifest behind a tag or digest, or None."""
        if not _NAME.match(image):
            return None
        with self._lock:
            folder = self._folder(repository, image)
            digest = reference
            if not is_digest(reference):
                tag = folder / "tags" / reference
                if not _TAG.match(reference) or not tag.is_file():
                    return None
                digest = tag.read_text()
            entry = folder / "manifests" / f"{digest.removeprefix('sha256:')}.json"
            return ManifestEntry(**json.loads(entry.read_text())) if entry.is_file() else None

    def delete(self, repository: RepositoryKey, image: str, reference: str) -> bool:
        with self._lock:
            folder = self._folder(repository, image)
            if not is_digest(reference):
                tag = folder / "tags" / reference
                if not _TAG.match(reference) or not tag.is_file():
                    return False
                tag.unlink()
                return True
            entry = folder / "manifests" / f"{reference.removeprefix('sha256:')}.json"
            if not entry.is_file():
                return False
            for tag in (folder / "tags").glob("*"):
                if tag.read_text() == reference:
                    tag.unlink()
            entry.unlink()
            return True

    def tags(self, repository: RepositoryKey, image: str) -> list[str] | None:
        """Sorted tags, or None when the image is unknown."""
        folder = self._folder(repository, image)
        if not folder.is_dir():
            return None
        return sorted(path.name for path in (folder / "tags").glob("*") if not path.name.endswith(".new"))

    def rows(self, repository: RepositoryKey) -> list[ImageRow]:
        """One row per tag, sorted by image and tag."""
        rows = []
        for folder in sorted(self._repository(repository).glob("*")):
            image = folder.name.replace("+", "/")
            for tag in self.tags(repository, image) or []:
                entry = self.manifest(repository, image, tag)
                if entry is not None:
                    rows.append(ImageRow(image, tag, entry.digest, entry.created))
        return rows

    def drop_repository(self, repository: RepositoryKey) -> None:
        """Forget every image of a repository, and blobs that nobody names any more."""
        with self._lock:
            shutil.rmtree(self._repository(repository), ignore_errors=True)
            self.collect_garbage()

    def collect_garbage(self) -> int:
        with self._lock:
            referenced: set[str] = set()
            for path in self._root.glob("*/*/*/*/manifests/*.json"):
                digest = "sha256:" + path.stem
                referenced.add(digest)
                if self.blobs.has(digest):
                    referenced.update(_references(json.loads(self.blobs.read(digest))))
            return self.blobs.remove_unreferenced(referenced)

    def _check_references(self, content: bytes) -> None:
        try:
            document = json.loads(content)
        except ValueError as error:
            raise ManifestInvalid(f"manifest is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise ManifestInvalid("manifest is not a JSON object")
        for digest in _references(document):
            if not is_digest(digest) or not self.blobs.has(digest):
                raise ManifestInvalid(f"manifest names {digest}, which was not pushed")

    def _repository(self, repository: RepositoryKey) -> Path:
        return self._root / repository.database / repository.schema / repository.name

    def _folder(self, repository: RepositoryKey, image: str) -> Path:
        return self._repository(repository) / image.replace("/", "+")


def _references(manifest: object) -> list[str]:
    """Digests that a manifest or index names: config, layers and (for an index) manifests."""
    if not isinstance(manifest, dict):
        return []
    descriptors = [manifest.get("config"), *(manifest.get("layers") or []), *(manifest.get("manifests") or [])]
    return [str(d.get("digest")) for d in descriptors if isinstance(d, dict)]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
