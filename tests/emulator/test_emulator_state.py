"""A state folder that cannot be used: one line that says so, exit code 1, and nothing in the folder is changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def start(state: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emulator", "--state", str(state)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("files", "wanted", "reason"),
    [
        ({"catalogue.sqlite": b""}, "has format none", "an account from before formats were counted"),
        ({"catalogue.sqlite": b"", "format": b"0"}, "has format 0", "another version's"),
        ({"catalogue.sqlite": b"\x00garbage" * 500, "format": b"1"}, "cannot be read", "a broken catalogue"),
        ({"tables.duckdb": b"\x00garbage" * 500, "format": b"1"}, "cannot be read", "broken tables"),
        ({"format": b"\xff\xfe"}, "has format", "not even text"),
    ],
)
def test_a_state_that_cannot_be_used(tmp_path: Path, files: dict[str, bytes], wanted: str, reason: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = start(tmp_path)
    assert done.returncode == 1, reason
    assert wanted in done.stderr, reason
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "account.json").exists()
