"""Who this process is, in words that another process can check: so that on one machine nobody waits for a holder that was killed.

A pid alone does not do: pids are used again, a host name may be that of many containers, and a container counts its own pids. So a process
is named by the machine's boot and pid namespace, its pid, and when it started. Where that cannot be told, nobody is ever taken for gone.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from controller.reconcile.state import State

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_DAEMON = "daemon"
_ENDED = frozenset("ZXx")  # states of a process that runs no more, though nobody has collected it yet


@dataclass(frozen=True)
class Holder:
    """A process that may hold a lease. `machine` and `started` are '' where they cannot be told; `nonce` tells apart what they do not."""

    host: str
    pid: int
    nonce: str
    machine: str = ""
    started: str = ""

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}/{self.nonce}"

    @property
    def words(self) -> str:
        return f"{self.host} (pid {self.pid})"


def this_process() -> Holder:
    """A new holder for this process."""
    host = _UNSAFE.sub("-", socket.gethostname())[:60] or "unknown"
    return Holder(host, os.getpid(), secrets.token_hex(2), _machine(), _started(os.getpid()) or "")


def gone(holder: Holder) -> bool:
    """Whether that process has certainly ended. False when it cannot be told from here."""
    if not holder.machine or not holder.started or holder.machine != _machine():
        return False
    return _started(holder.pid) != holder.started


@cache
def _machine() -> str:
    """What all processes that see the same pids share, and nobody else; '' when it cannot be told."""
    try:
        if sys.platform == "linux":
            told = Path("/proc/sys/kernel/random/boot_id").read_text() + str(Path("/proc/self/ns/pid").readlink())
        elif sys.platform == "darwin":
            told = subprocess.run(["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=True).stdout
        else:
            return ""
    except (OSError, subprocess.SubprocessError):
        return ""
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _started(pid: int) -> str | None:
    """When a process started, in the system's own terms; None when it runs no more."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the command before it may hold blanks
        except OSError:
            return None
        return None if fields[0] in _ENDED else fields[19]
    done = subprocess.run(["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, began = done.stdout.strip().partition(" ")
    return None if not state or state[0] in _ENDED else _UNSAFE.sub("-", began.strip())


def introduce(state: State, holder: Holder | None) -> None:
    """Note in a project's state file which daemon reads the requests there; None when it ends."""
    state.remember(_DAEMON, asdict(holder) if holder is not None else None)


def daemon(state: State) -> Holder | None:
    """The daemon that reads the requests in a state file; None when there is none."""
    known = state.recall(_DAEMON)
    holder = Holder(**known) if known else None
    return holder if holder is not None and not gone(holder) else None
