"""Snowcats as processes of their own, on one project and one embedded account whose statements a test can hold up and read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedded_account import ROOT, RunningAccount
from fault_client import Faults

PERIOD = 2.0  # seconds of a lease
PATIENCE = 90.0  # seconds; only how long something broken keeps the tests waiting
LEASE = re.compile(r"_LEASE_|SYSTEM\$ABORT_SESSION")
CHANGES = re.compile(r"^\s*(CREATE|ALTER|DROP|GRANT|REVOKE|COMMENT|PUT|REMOVE|EXECUTE|INSERT|COPY)\b", re.IGNORECASE)

PROJECT = """\
apiVersion: snowcat/v1
kind: Project
project: {name}
role: worker_{name}
users: [admin]
resync: 1s
lease: {{seconds: {seconds}}}
"""
BASE = """\
apiVersion: snowcat/v1
kind: Database
metadata: {{name: {name}, deletionPolicy: delete}}
---
apiVersion: snowcat/v1
kind: Schema
metadata: {{name: s, database: {name}, deletionPolicy: delete}}
"""
STAGE = """\
---
apiVersion: snowcat/v1
kind: Stage
metadata: {{name: st{number}, schema: {name}.s, deletionPolicy: delete}}
spec: {{comment: {comment}}}
"""


@dataclass
class Process:
    """A command in the background; its output goes to a file."""

    popen: subprocess.Popen[bytes]
    output: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def until(self, says: str, count: int = 1) -> str:
        """All that was printed, once it says that so often."""
        wait_for(
            lambda: self.text.count(says) >= count, lambda: f"{self.popen.args} did not say {says!r} {count} times: {self.text[-6000:]}"
        )
        return self.text

    def end(self) -> int:
        """Its exit code, when it has ended by itself."""
        return self.popen.wait(timeout=PATIENCE)

    def kill(self) -> None:
        """As by kill -9, also when it stands still."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.popen.wait()


@dataclass
class Shared:
    """A project of its own in the account, and those who work on it."""

    account: RunningAccount
    faults: Faults
    folder: Path
    name: str
    processes: list[Process] = field(default_factory=list)
    anchored: bool = False  # the stage that says which role leads was there when the lease was last looked at
    since: int = 0  # the number of the account's last statement before this project

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.settings()
        (self.folder / "base.yaml").write_text(BASE.format(name=self.name))
        self.since = max((entry["n"] for entry in self.faults.statements()), default=0)

    def settings(self, more: str = "", seconds: float = PERIOD) -> None:
        (self.folder / "snowcat.yaml").write_text(PROJECT.format(name=self.name, seconds=seconds) + more)

    def stages(self, count: int, comment: str = "first") -> None:
        """Want so many stages with that comment."""
        made = (STAGE.format(name=self.name, number=number, comment=comment) for number in range(count))
        text = "".join(made).removeprefix("---\n")
        fresh = self.folder / "stages.tmp"
        fresh.write_text(text)
        fresh.rename(self.folder / "stages.yaml")

    def start(self, *words: str) -> Process:
        output = self.folder.with_name(f"{self.name}-{len(self.processes)}.log")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SNOWFLAKE_", "SNOWCAT_", "XDG_"))}
        home = self.folder.with_name(f"{self.name}-home-{len(self.processes)}")
        environment = {
            **kept,
            "HOME": str(home),
            "XDG_STATE_HOME": str(home),
            "SNOWCAT_LOCAL_STATE": str(self.account.state),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        with output.open("wb") as out:
            popen = subprocess.Popen(
                [sys.executable, "-m", "controller.cli.main", *words, "--local"],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(Process(popen, output))
        return self.processes[-1]

    def daemon(self, *more: str) -> Process:
        return self.start("run", "--log-format", "json", *more)

    def client(self, process: Process) -> str:
        """A pattern for the QUERY_TAG of a process."""
        return f"^snowcat {self.name} [^ /]+/{process.pid}/"

    # -- what the account was sent

    def statements(self, process: Process | None = None) -> list[dict[str, Any]]:
        pattern = re.compile(self.client(process) if process else f"^snowcat {self.name} ")
        return [entry for entry in self.faults.statements(self.since) if pattern.search(entry["client"])]

    def changes(self, process: Process) -> list[dict[str, Any]]:
        """What the process changed, and that had an effect; the lease itself left out."""
        return [
            e
            for e in self.statements(process)
            if CHANGES.search(e["statement"]) and not LEASE.search(e["statement"]) and e["outcome"] == "done"
        ]

    def lease(self) -> list[tuple[str, str]]:
        """Name and comment of the leases that are there."""
        with self.account.connect(role="ACCOUNTADMIN") as connection, connection.cursor() as cursor:
            rows = cursor.execute(f"SHOW STAGES LIKE 'SNOWCAT_{self.name.upper()}_LEASE_%' IN ACCOUNT").fetchall()
            names = [column.name for column in cursor.description]
        found = [(str(row[names.index("name")]), str(row[names.index("comment")])) for row in rows]
        self.anchored = any(name.endswith("_LEASE_ROLE") for name, _ in found)
        return [(name, comment) for name, comment in found if not name.endswith("_LEASE_ROLE")]

    def made(self, comment: str = "") -> int:
        """How many stages of the project there are with that comment."""
        with self.account.connect(role="ACCOUNTADMIN") as connection, connection.cursor() as cursor:
            rows = cursor.execute(f"SHOW STAGES IN SCHEMA {self.name}.S").fetchall()
            names = [column.name for column in cursor.description]
        return sum(str(row[names.index("comment")]).startswith(comment) for row in rows)


def late(earlier: list[dict[str, Any]], later: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Changes of an earlier leader that took effect after a later leader's first change began."""
    first = min((entry["startedAt"] for entry in later), default=float("inf"))
    return [entry for entry in earlier if entry["endedAt"] > first]


def wait_for(so: Callable[[], bool], otherwise: Callable[[], str] | str) -> None:
    until = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < until, otherwise if isinstance(otherwise, str) else otherwise()
        time.sleep(0.05)


def entries(text: str) -> list[dict[str, Any]]:
    """The lines of a JSON log."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
