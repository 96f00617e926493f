"""From a pushed image to a directory and its configuration, so that a container can be started from it.

Layers are applied in order with whiteouts. Only files below the target are ever written: a path or link that leaves it is refused.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from emulator.registry.images import ImageIndex, RepositoryKey

_INDEX_TYPES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class ImageUnusable(ValueError):
    """The image exists, but no container can be made of it (wrong platform, broken or unsupported layer)."""


@dataclass(frozen=True)
class ImageConfig:
    """What the image's configuration says about starting it."""

    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    working_directory: str

    @staticmethod
    def of(document: dict[str, Any]) -> ImageConfig:
        config = document.get("config") or {}
        pairs = (item.partition("=") for item in config.get("Env") or [])
        return ImageConfig(
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            environment={key: value for key, _, value in pairs},
            working_directory=config.get("WorkingDir") or "/",
        )


@dataclass(frozen=True)
class UnpackedImage:
    files: Path
    config: ImageConfig


class ImageCache:
    """Unpacked images, one directory per manifest digest, shared and never written by containers."""

    def __init__(self, root: Path, index: ImageIndex) -> None:
        self._root = root
        self._index = index
        root.mkdir(parents=True, exist_ok=True)

    def resolve(self, repository: RepositoryKey, image: str, reference: str) -> str | None:
        """Digest behind a tag (or the digest itself, when present); None when there is no such image."""
        entry = self._index.manifest(repository, image, reference)
        return entry.digest if entry else None

    def unpack(self, digest: str) -> UnpackedImage:
        """The image's files and configuration; unpacks on first use. Raises ImageUnusable."""
        manifest = self._platform_manifest(digest)
        config = ImageConfig.of(self._json(manifest["config"]["digest"]))
        target = self._root / digest.removeprefix("sha256:")
        if not target.is_dir():
            partial = self._root / f"partial-{uuid.uuid4().hex}"
            partial.mkdir()
            try:
                for layer in manifest.get("layers") or []:
                    _apply_layer(self._index.blobs.path(layer["digest"]), partial)
                try:
                    partial.rename(target)
                except OSError:  # another thread was faster with the same content
                    if not target.is_dir():
                        raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return UnpackedImage(target, config)

    def _platform_manifest(self, digest: str) -> dict[str, Any]:
        document = self._json(digest)
        if document.get("mediaType") not in _INDEX_TYPES and "manifests" not in document:
            return document
        for entry in document.get("manifests") or []:
            platform = entry.get("platform") or {}
            if platform.get("os", "linux") == "linux" and platform.get("architecture", "amd64") == "amd64":
                return self._json(entry["digest"])
        raise ImageUnusable(f"image index {digest} has no manifest for linux/amd64")

    def _json(self, digest: str) -> dict[str, Any]:
        if not self._index.blobs.has(digest):
            raise ImageUnusable(f"blob {digest} of the image is missing in the registry")
        document: dict[str, Any] = json.loads(self._index.blobs.read(digest))
        return document


def _apply_layer(blob: Path, root: Path) -> None:
    try:
        with tarfile.open(blob) as archive:
            for member in archive:
                _apply_member(archive, member, root)
    except tarfile.TarError as error:
        raise ImageUnusable(f"layer sha256:{blob.name} cannot be read (tar and tar+gzip are supported): {error}") from None


def _apply_member(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    relative = PurePosixPath(member.name.lstrip("/"))
    if ".." in relative.parts:
        raise ImageUnusable(f"layer holds the path {member.name!r}, which leaves the image")
    parent = _inside(root, root / relative.parent)
    if relative.name == _OPAQUE:
        for child in parent.iterdir() if parent.is_dir() else ():
            _remove(child)
        return
    if relative.name.startswith(_WHITEOUT):
        _remove(parent / relative.name.removeprefix(_WHITEOUT))
        return
    target = parent / relative.name if relative.name else root
    if member.isdir():
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            target.unlink()
        target.mkdir(parents=True, exist_ok=True)
        return
    parent.mkdir(parents=True, exist_ok=True)
    if member.isreg():
        _remove(target)
        source = archive.extractfile(member)
        if source is None:
            raise ImageUnusable(f"layer member {member.name!r} has no content")
        with source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
        target.chmod(0o755 if member.mode & 0o111 else 0o644)
    elif member.issym():
        _remove(target)
        target.symlink_to(member.linkname)
    elif member.islnk():
        _remove(target)
        os.link(_inside(root, root / member.linkname.lstrip("/")), target)
    # Devices and pipes are left out: a container gets the host's /dev.


def _inside(root: Path, path: Path) -> Path:
    """`path` with links followed, refused when it ends outside of `root`."""
    resolved = path.resolve()
    if resolved != root.resolve() and root.resolve() not in resolved.parents:
        raise ImageUnusable(f"layer writes through a link to {resolved}, outside of the image")
    return resolved


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
