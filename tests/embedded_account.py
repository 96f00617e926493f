"""An embedded account of its own for a test: a process, reached over the wire as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import snowflake.connector

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0  # seconds; only how long a broken account keeps the tests waiting


@dataclass(frozen=True)
class RunningAccount:
    """A running embedded account and the folder of its state."""

    state: Path
    details: dict[str, Any]

    def connect(self, **more: Any) -> snowflake.connector.SnowflakeConnection:
        keys = ("host", "port", "protocol", "account", "user", "password")
        return snowflake.connector.connect(**{key: self.details[key] for key in keys}, **more)


def run_account(state: Path, *options: str) -> Iterator[RunningAccount]:
    """Start an account, wait until it says where it is, stop it at the end."""
    log = state.with_suffix(".log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "emulator", "--state", str(state), *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        until = time.monotonic() + PATIENCE
        while not (state / "account.json").exists():
            assert process.poll() is None and time.monotonic() < until, f"the account did not start: {Path(log.name).read_text()}"
            time.sleep(0.05)
        yield RunningAccount(state, json.loads((state / "account.json").read_text()))
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
