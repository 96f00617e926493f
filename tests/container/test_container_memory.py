"""A process that the kernel ends for want of memory: told from a lost node, with the limit and with what to change."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from container import memory
from container.memory import MOUNT, Group, node_memory

REPOSITORY = Path(__file__).parents[2]
LIMIT = 160 << 20  # of which the launcher takes half: torch, which torchrun imports, has no room beside it
LAUNCH = """
import sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text("0")
from container.launch import Ranks
from container.nodes import Nodes
from training.errors import TrainingError
try:
    Ranks().run(Nodes(0, ("",)), 1, ["config.json"], Path(sys.argv[2]))
except TrainingError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(
    ("membership", "folder", "names", "contents", "kills", "limit", "reason"),
    [
        ("0::/a/b", "a/b", 2, ("low 0\noom 3\noom_kill 2\noom_group_kill 1", "1073741824"), 2, 1 << 30, "version 2"),
        ("0::/a/b", "a/b", 2, ("oom 0\noom_kill 0", "max"), 0, None, "version 2, no limit"),
        ("0::/../../kubepods/x", "", 2, ("oom_kill 1", "4096"), 1, 4096, "the container sees its own group as the root"),
        ("5:cpu,cpuacct:/x\n4:memory:/x\n0::/", "memory/x", 1, ("under_oom 0\noom_kill 4", "8192"), 4, 8192, "version 1"),
        ("4:memory:/docker/1", "memory", 1, ("oom_kill 1", "9223372036854771712"), 1, None, "version 1 in a container, no limit"),
        ("0::/", "", 0, (), 0, None, "no group is shown"),
        ("", "", 0, (), 0, None, "no groups at all"),
    ],
)
def test_ends_are_counted_by_the_kernel(
    tmp_path: Path, membership: str, folder: str, names: int, contents: tuple[str, ...], kills: int, limit: int | None, reason: str
) -> None:
    (tmp_path / "cgroup").write_text(membership + "\n" if membership else "")
    mount = tmp_path / "mount"
    (mount / folder).mkdir(parents=True)
    files = {0: (), 1: ("memory.oom_control", "memory.limit_in_bytes"), 2: ("memory.events", "memory.max")}[names]
    for name, text in zip(files, contents, strict=True):
        (mount / folder / name).write_text(text + "\n")
    found = Group.own(tmp_path / "cgroup", mount)
    assert (found.kills(), found.limit()) == (kills, limit), reason


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert Group.own(tmp_path / "nothing") == Group()


@pytest.mark.parametrize(
    ("limit", "processes", "words"),
    [
        (None, 1, ("of the node,", "take an instance family with more memory, set")),
        (3 << 30, 4, ("the 3.0 GiB that the container may take", "raise resources.limits.memory, start fewer than 4 processes on it")),
        (node_memory() * 2, 1, ("of the node,",)),
    ],
)
def test_the_message_says_which_memory_how_much_of_it_and_what_to_change(
    tmp_path: Path, limit: int | None, processes: int, words: tuple[str, ...]
) -> None:
    (tmp_path / "memory.max").write_text("max" if limit is None else str(limit))
    error = memory.error(Group(None, tmp_path / "memory.max"), 2, processes)
    assert error.exit_code == 11
    for word in ("out of host memory on node 2", "deepspeed.offload: none", "training.microBatchTokens", *words):
        assert word in str(error)


@pytest.fixture
def small_group(tmp_path: Path) -> Iterator[Path]:
    """A control group with little memory, where this user may make one."""
    root = MOUNT / "memory" if (MOUNT / "memory").is_dir() else MOUNT
    group = root / f"snowcat-{tmp_path.name}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"this user may make no control group: {error}")
    try:
        limits = group / ("memory.limit_in_bytes" if root != MOUNT else "memory.max")
        if not limits.exists():
            pytest.skip("new control groups here limit no memory")
        limits.write_text(str(LIMIT))
        for name, most in (("memory.swap.max", 0), ("memory.memsw.limit_in_bytes", LIMIT)):
            with contextlib.suppress(OSError):
                (group / name).write_text(str(most))
        yield group
    finally:
        group.rmdir()


def test_what_the_kernel_ends_comes_back_as_11(tmp_path: Path, small_group: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", LAUNCH, str(small_group), str(tmp_path)]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 11, ended.stdout + ended.stderr
    assert "the 0.2 GiB that the container may take, and the kernel ended it" in ended.stdout
