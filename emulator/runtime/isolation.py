"""What this machine allows for containers: a private root (namespaces), overlays in it, or only a directory.

Tried once per account start with a container that does nothing. `EMULATOR_NO_NAMESPACES=1` forces the directory.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator.runtime.logs import ContainerLog
from emulator.runtime.process import ContainerProcess

_HOST_DIRECTORIES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/dev", "/sys")
_FILE_SETTINGS = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CONFIG_FILE")


@dataclass(frozen=True)
class Isolation:
    """`private`: containers get a root of their own. `overlay`: stage volumes are overlays in it, nothing is copied."""

    private: bool
    overlay: bool


def detect(scratch: Path) -> Isolation:
    """The best that works in `scratch` (a folder on the file system that will hold the containers)."""
    if os.environ.get("EMULATOR_NO_NAMESPACES") == "1" or not sys.platform.startswith("linux"):
        return Isolation(private=False, overlay=False)
    for overlay in (True, False):
        if _works(scratch / f"probe-{uuid.uuid4().hex[:8]}", overlay):
            return Isolation(private=True, overlay=overlay)
    return Isolation(private=False, overlay=False)


def _works(folder: Path, overlay: bool) -> bool:
    for name in ("root", "lower", "upper", "work"):
        (folder / name).mkdir(parents=True)
    overlays = [{"lower": str(folder / "lower"), "upper": str(folder / "upper"), "work": str(folder / "work"), "target": "/probe"}]
    config = {
        **host_binds(folder / "root"),
        "private": True,
        "guarded": [],
        "overlays": overlays if overlay else [],
        "directory": "/",
        "environment": {"PATH": "/usr/bin:/bin"},
        "argv": ["true"],
    }
    try:
        process = ContainerProcess(config, ContainerLog(folder / "log"), lambda _: None)
        if not process.wait(20.0):
            process.kill()
            return False
        return process.poll() == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def host_binds(root: Path) -> dict[str, Any]:
    """What of the host a private root shows, read-only: programs, libraries, devices and the running Python."""
    binds: list[dict[str, Any]] = []
    links: list[dict[str, str]] = []
    for text in _HOST_DIRECTORIES:
        path = Path(text)
        if path.is_symlink():
            links.append({"path": text, "to": str(path.readlink())})
        elif path.is_dir():
            binds.append({"source": text, "target": text, "readOnly": text not in ("/dev", "/sys")})
    extra = [sys.prefix, sys.base_prefix, "/run/systemd/resolve"]
    extra += [os.environ[name] for name in _FILE_SETTINGS if os.environ.get(name, "").startswith("/")]
    for text in dict.fromkeys(extra):
        if Path(text).exists() and not any(text.startswith(place + "/") for place in _HOST_DIRECTORIES):
            binds.append({"source": text, "target": text, "readOnly": True})
    return {"root": str(root), "binds": binds, "links": links}
