"""Start the ranks of this node with torchrun, and make of their end what the controller acts on.

Several nodes form one world by static rendezvous at node 0: nothing joins or leaves while the job lives. When one node
is lost the others fail too, and the next attempt goes on from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from container import memory, nodes, settings
from container.nodes import Nodes
from training.errors import StoppedError, TrainingError
from training.planner.machine import HOST_MEMORY
from training.rank import die_with_parent

_OOM_SCORE = Path("/proc/self/oom_score_adj")  # 1000: of all processes the kernel takes this one first


class RanksError(TrainingError):
    """The ranks ended without saying why; the job may be tried again."""


@dataclass
class Ranks:
    """The running torchrun, and whether the platform has asked to stop."""

    process: subprocess.Popen[bytes] | None = None
    stopping: bool = False

    def install(self) -> None:
        """Catch SIGTERM from now on; the ranks get it too, save and end."""
        signal.signal(signal.SIGTERM, self._stop)

    def run(self, where: Nodes, processes: int, arguments: Sequence[str], work: Path) -> None:
        """Run `training.rank` with these arguments to its end. Raises TrainingError with the exit code."""
        group = memory.Group.own()
        before = group.kills()
        self.process = subprocess.Popen(command(where, processes, arguments), env=environment(where, processes), preexec_fn=_expendable)
        if self.stopping:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait()
        if code == 0:
            return
        unknown = RanksError(f"the training processes of node {where.index} ended with {code}; the reason stands above in this log")
        told = _outcome(work) or unknown
        stopped, crashed = (told.exit_code == kind.exit_code for kind in (StoppedError, RanksError))
        if (stopped and self.stopping) or not (stopped or crashed):
            raise told
        if group.kills() > before:  # the other ranks tell what came of that
            raise memory.error(group, where.index, processes)
        if self.stopping:
            raise StoppedError("stopped before there was anything to save")
        # the signal that stops a job is also torchrun's, for the neighbours of a rank that failed; of several nodes another may be stopping
        raise unknown if stopped and where.count == 1 else told

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)


def _expendable() -> None:
    """In a process that was just started: it and its children end before this one, also where memory runs out."""
    die_with_parent()
    with contextlib.suppress(OSError):
        _OOM_SCORE.write_text("1000", encoding="ascii")


def command(where: Nodes, processes: int, arguments: Sequence[str]) -> list[str]:
    """torchrun for the ranks of this node."""
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    if where.count == 1:
        words += ["--standalone", "--local-addr", "127.0.0.1"]
    else:
        port = nodes.port("rendezvous", nodes.RENDEZVOUS_PORT)
        words += ["--nnodes", str(where.count), "--node-rank", str(where.index), "--local-addr", where.own]
        words += ["--master-addr", where.head, "--master-port", str(port)]
    return [*words, "-m", "training.rank", *arguments]


def environment(where: Nodes, processes: int) -> dict[str, str]:
    """What the ranks see: this process's environment, threads for each, and the network between nodes."""
    found = {**os.environ, "PYTHONUNBUFFERED": "1"}
    found.setdefault("OMP_NUM_THREADS", str(max(1, settings.cores() // processes)))
    if (limit := memory.Group.own().limit()) is not None:
        found.setdefault(HOST_MEMORY, str(limit))
    if where.count > 1 and (name := nodes.interface(where.own)) is not None:
        # else both libraries may choose an interface that the other nodes cannot reach
        found.setdefault("GLOO_SOCKET_IFNAME", name)
        found.setdefault("NCCL_SOCKET_IFNAME", name)
    return found


def gpus() -> int:
    """GPUs of this node."""
    # asked in another process: a CUDA context in this one would hold memory that the ranks need
    ended = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
        capture_output=True,
        text=True,
        check=False,
    )
    return int(ended.stdout) if ended.stdout.strip().isdigit() else 0


def _outcome(work: Path) -> TrainingError | None:
    try:
        document = json.loads((work / "outcome.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    error = TrainingError(document["message"])
    error.exit_code = int(document["exitCode"])
    return error
