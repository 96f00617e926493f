"""What the demo and the tour share: where things are, how the command is called, and a plain connection to the embedded account."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import snowflake.connector

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT / "manifests" / "lab"
SCHEMA = "llm_finetune_db.hol"


@dataclass(frozen=True)
class Lab:
    """One project on one embedded account, driven through the command as a user would."""

    manifests: Path
    state: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SNOWCAT_LOCAL_STATE": str(self.state), "PYTHONUNBUFFERED": "1"}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "controller.cli.main", *words]

    def snowcat(self, *words: str) -> int:
        """Run a command with its output on this terminal; its exit code."""
        return subprocess.run(self.command(*words), env=self.environment, cwd=ROOT, check=False).returncode

    def text(self, *words: str) -> str:
        """What a command prints. Raises RuntimeError with its own message when it fails."""
        done = subprocess.run(self.command(*words), env=self.environment, cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"snowcat {' '.join(words)} failed ({done.returncode}): {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def objects(self) -> list[dict[str, Any]]:
        """Every object of the project with its status, as `snowcat get -o json` gives it."""
        found: list[dict[str, Any]] = json.loads(self.text("get", str(self.manifests), "--local", "-o", "json"))
        return found

    def connect(self) -> snowflake.connector.SnowflakeConnection:
        """The unmodified connector, over the wire, as the project's role."""
        account = json.loads((self.state / "account.json").read_text(encoding="utf-8"))
        return snowflake.connector.connect(
            **{key: account[key] for key in ("host", "port", "protocol", "account", "user", "password")},
            role="VENKSADMIN",
            warehouse="LLM_FINETUNE_WH",
        )


def rows(connection: snowflake.connector.SnowflakeConnection, sql: str, *values: object) -> list[dict[str, Any]]:
    """Rows of one statement as dictionaries with lower-case keys."""
    with connection.cursor(snowflake.connector.DictCursor) as cursor:
        cursor.execute(sql, values or None)
        return [{key.lower(): value for key, value in row.items()} for row in cursor.fetchall()]


def quick_manifests(folder: Path, *, steps: int = 8, evaluated: int = 4) -> None:
    """A copy of the lab with a shorter fine-tune and no gate, for where the loop is shown and not the scores."""
    shutil.copytree(MANIFESTS, folder)
    edit(folder / "snowcat.yaml", r"(?m)^(      training: \{)maxSteps: \d+", rf"\g<1>maxSteps: {steps}")
    edit(folder / "snowcat.yaml", r"(?m)^      evaluated: \d+", f"      evaluated: {evaluated}")
    edit(folder / "snowcat.yaml", r"(?m)^      promote_at: [\d.]+", "      promote_at: 0")


def edit(file: Path, pattern: str, replacement: str) -> None:
    """Change the first match in a file. Raises ValueError when there is none."""
    text, count = re.subn(pattern, replacement, file.read_text(encoding="utf-8"), count=1)
    if count != 1:
        raise ValueError(f"{file} holds no {pattern}")
    file.write_text(text, encoding="utf-8")


def duration(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s" if seconds >= 60 else f"{seconds:.0f} s"


class Clock:
    """Seconds since the start, for the lines that the demo prints."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __str__(self) -> str:
        return duration(time.monotonic() - self._start)
