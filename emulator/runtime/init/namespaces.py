"""A private root for one container, made of binds, without any right on the machine.

A user namespace gives the right to mount inside a mount namespace of one's own. The root is a plain directory (the image's files);
the host's programs and Python come in as binds, stage volumes as overlays.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from emulator.runtime.init import libc


def enter() -> None:
    """New user, mount and PID namespaces for this process's children. Raises OSError where the kernel refuses."""
    uid, gid = os.geteuid(), os.getegid()
    libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNS | libc.CLONE_NEWPID)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    libc.mount("none", "/", None, libc.MS_REC | libc.MS_PRIVATE)


def build_root(config: dict[str, Any]) -> None:
    """Mount everything below `config["root"]`. Mount points are made as needed."""
    root = str(config["root"])
    libc.mount(root, root, None, libc.MS_BIND | libc.MS_REC)
    for link in config["links"]:
        path = Path(root + link["path"])
        if not path.exists() and not path.is_symlink():
            path.symlink_to(link["to"])
    for bind in config["binds"]:
        _bind(bind["source"], root + bind["target"], bind["readOnly"])
    for overlay in config["overlays"]:
        target = root + overlay["target"]
        Path(target).mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={overlay['lower']},upperdir={overlay['upper']},workdir={overlay['work']},userxattr"
        libc.mount("overlay", target, "overlay", 0, options)


def _bind(source: str, target: str, read_only: bool) -> None:
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch(exist_ok=True)
    libc.mount(source, target, None, libc.MS_BIND | libc.MS_REC)
    if read_only:
        try:
            libc.mount(source, target, None, libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY)
        except PermissionError:
            # The host mounted it with flags that may not be cleared; what the user may write there is unchanged by us.
            return


def switch_root(root: str) -> None:
    """Make `root` the root of this namespace; called by the container's first process, which owns the PID namespace."""
    proc = Path(root) / "proc"
    proc.mkdir(exist_ok=True)
    try:
        libc.mount("proc", str(proc), "proc", 0)
    except OSError:
        libc.mount("/proc", str(proc), None, libc.MS_BIND | libc.MS_REC)
    old = Path(root) / ".old"
    old.mkdir(exist_ok=True)
    os.chdir(root)
    libc.pivot_root(".", ".old")
    os.chdir("/")
    libc.unmount("/.old", libc.MNT_DETACH)
    Path("/.old").rmdir()
