"""The command line as a person calls it, against real files and a real embedded account."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "controller.cli.main"]

PROJECT = """\
apiVersion: snowcat/v1
kind: Project
project: small
role: worker
warehouse: wh
users: [admin]
resync: 2s
values: {suspend: 600}
accounts: {local: {values: {suspend: 300}}}
"""

OBJECTS = """\
apiVersion: snowcat/v1
kind: Warehouse
metadata: {name: wh}
spec: {autoSuspend: "${suspend}"}
---
apiVersion: snowcat/v1
kind: Database
metadata: {name: db, deletionPolicy: delete}
---
apiVersion: snowcat/v1
kind: Schema
metadata: {name: s, database: db, deletionPolicy: delete}
---
apiVersion: snowcat/v1
kind: Stage
metadata: {name: files, schema: db.s, deletionPolicy: delete}
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Snowcat:
    """Calls the command in a folder, with an environment of its own."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *words: str, stdin: str = "", **more: str) -> Done:
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder,
            env={**self.environment, **more},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in done.stdout + done.stderr or "SNOWCAT_DEBUG" in more, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The command in the background, its output in one stream."""
        return subprocess.Popen(
            [*COMMAND, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )


def environment(home: Path) -> dict[str, str]:
    """Nothing of this machine's own Snowflake settings; state below `home`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SNOWFLAKE_", "SNOWCAT_", "XDG_"))}
    return {
        **kept,
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "SNOWFLAKE_HOME": str(home / ".snowflake"),
        "SNOWCAT_LOCAL_TIME_SCALE": "0.02",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "200",
    }


class Output:
    """Reads what a background command prints until something is said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._stream = process.stdout.fileno()
        os.set_blocking(self._stream, False)
        self._bytes = b""
        self._told = 0

    @property
    def text(self) -> str:
        """All that was printed so far."""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self._stream, 65536):
                self._bytes += more
        return self._bytes.decode(errors="replace")

    def until(self, says: Callable[[str], bool] | str, seconds: float = 90.0) -> str:
        """All that was printed since the last call, up to where it is said."""
        wanted = (lambda text: says in text) if isinstance(says, str) else says
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            fresh = self.text[self._told :]
            if wanted(fresh):
                self._told += len(fresh)
                return fresh
            time.sleep(0.02)
        raise AssertionError(f"never said {says!r}; said: {self.text[self._told :]}")
