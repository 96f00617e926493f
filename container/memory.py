"""The node's memory as this container may use it, and whether the kernel has ended a process because there was no more of it.

A process that is ended so leaves no word. But its control group counts such ends (`oom_kill`, in version 1 and 2), and the launcher, which
lives on, reads that count: the same would happen again, so the job must not be tried again as if a node had been lost.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from training.errors import OutOfMemoryError

MEMBERSHIP = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")
_FILES = {"": ("memory.events", "memory.max"), "memory": ("memory.oom_control", "memory.limit_in_bytes")}  # version 2, version 1
_GIB = 1 << 30


@dataclass(frozen=True)
class Group:
    """The control group of this process: the file that counts, and the one with the limit. None of them where there is no such group."""

    counts: Path | None = None
    limits: Path | None = None

    @classmethod
    def own(cls, membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> Group:
        """Found by what the kernel says of this process. A container may see its own group as the root of all."""
        try:
            lines = membership.read_text(encoding="ascii").splitlines()
        except OSError:
            return cls()
        for line in lines:
            _, controllers, path = line.split(":", 2)
            controller = "memory" if "memory" in controllers.split(",") else controllers
            if controller in _FILES:
                root = mount / controller
                for folder in (root / path.lstrip("/"), root):
                    counts, limits = (folder / name for name in _FILES[controller])
                    if counts.is_file():
                        return cls(counts, limits)
        return cls()

    def kills(self) -> int:
        """Processes of this group that the kernel has ended for want of memory, up to now."""
        try:
            lines = self.counts.read_text(encoding="ascii").splitlines() if self.counts is not None else []
        except OSError:
            return 0
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def limit(self) -> int | None:
        """Bytes that the group may take; None where that is all that the node has."""
        try:
            found = int(self.limits.read_text(encoding="ascii")) if self.limits is not None else node_memory()
        except (OSError, ValueError):  # `max`
            return None
        return found if found < node_memory() else None


def node_memory() -> int:
    """Bytes of memory that the node has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def error(group: Group, node: int, processes: int) -> OutOfMemoryError:
    """What to tell when processes of node `node`, which has so many ranks, were ended by the kernel."""
    limit = group.limit()
    if limit is None:
        whose, more = f"all {node_memory() / _GIB:.1f} GiB of the node", "take an instance family with more memory"
    else:
        whose, more = f"the {limit / _GIB:.1f} GiB that the container may take", "raise resources.limits.memory"
    fewer = f", start fewer than {processes} processes on it" if processes > 1 else ""
    return OutOfMemoryError(
        f"out of host memory on node {node}: a training process needed more than {whose}, and the kernel ended it; {more}{fewer}, set "
        "deepspeed.offload: none, make training.microBatchTokens, training.maxLength or evaluation.batchRows smaller, or take method: lora"
    )
