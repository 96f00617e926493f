"""An OCI image of one layer, made of files without an engine. The same input gives the same bytes, so a push twice sends nothing twice.

Source: github.com/opencontainers/image-spec, version 1.1.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.kinds.images.files import ImageConfig, ImageFile, ImagePlan

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Blob:
    """A piece of an image that lies in a file. `digest` is `sha256:…`, `size` counts bytes."""

    path: Path
    media_type: str
    digest: str
    size: int

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class OciImage:
    """What is pushed: blobs first, then the manifest's bytes."""

    blobs: tuple[Blob, ...]
    manifest: bytes

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.manifest).hexdigest()


def build(plan: ImagePlan, folder: Path) -> OciImage:
    """Write the layer and the configuration into `folder`. Raises OSError when a source file is gone or the disk is full."""
    layer, diff_id = _layer(plan.files, folder / "layer.tar.gz")
    config_path = folder / "config.json"
    config_path.write_bytes(_json(_config(plan, diff_id)))
    config = _blob(config_path, CONFIG_TYPE)
    manifest = _json({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config.descriptor, "layers": [layer.descriptor]})
    return OciImage((layer, config), manifest)


def _layer(files: Mapping[str, ImageFile], path: Path) -> tuple[Blob, str]:
    """The layer as a compressed file, and the digest of its uncompressed form (the `diff_id`)."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed:
        counted = _Hashing(packed)
        with tarfile.open(fileobj=counted, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for folder in _folders(files):
                archive.addfile(_header(folder, 0o755, tarfile.DIRTYPE))
            for name in sorted(files):
                _add(archive, name, files[name])
    return _blob(path, LAYER_TYPE), "sha256:" + counted.hash.hexdigest()


def _add(archive: tarfile.TarFile, name: str, file: ImageFile) -> None:
    if file.link is not None:
        header = _header(name, 0o777, tarfile.SYMTYPE)
        header.linkname = file.link
        archive.addfile(header)
        return
    content = file.source.read_bytes()
    header = _header(name, 0o755 if file.executable else 0o644, tarfile.REGTYPE)
    header.size = len(content)
    archive.addfile(header, io.BytesIO(content))


def _header(name: str, mode: int, kind: bytes) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.mode, header.type = mode, kind
    return header  # owner root, time 0: nothing of this machine gets in


def _folders(files: Mapping[str, ImageFile]) -> list[str]:
    found: set[str] = set()
    for name in files:
        parts = name.split("/")[:-1]
        found.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    return sorted(found)


class _Hashing(io.RawIOBase):
    """Passes bytes on to a file and hashes them."""

    def __init__(self, target: gzip.GzipFile) -> None:
        self._target = target
        self.hash = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return self._target.write(data)


def _config(plan: ImagePlan, diff_id: str) -> dict[str, Any]:
    system, _, architecture = plan.platform.partition("/")
    return {
        "architecture": architecture or "amd64",
        "os": system,
        "config": _container(plan.config),
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "COPY of the build context"}],
    }


def _container(config: ImageConfig) -> dict[str, Any]:
    document: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in config.env.items()],
        "WorkingDir": config.working_dir,
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.command),
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.ports},
        "Labels": dict(config.labels),
    }
    return {key: value for key, value in document.items() if value}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _blob(path: Path, media_type: str) -> Blob:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return Blob(path, media_type, "sha256:" + digest.hexdigest(), path.stat().st_size)
