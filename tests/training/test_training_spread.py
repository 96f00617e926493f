"""At stage 3 no rank ever holds the whole base, not even while it is loaded, and the training is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from training_spread import METHODS, write_base

HERE = Path(__file__).parent


def test_a_base_is_spread_while_it_is_loaded(tmp_path: Path) -> None:
    write_base(tmp_path)
    ended = subprocess.run(
        [sys.executable, str(HERE / "training_spread.py"), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    line = next((line for line in ended.stdout.splitlines() if line.startswith("FOUND ")), None)
    assert ended.returncode == 0 and line is not None, ended.stdout[-2000:] + ended.stderr[-4000:]
    found = json.loads(line.removeprefix("FOUND "))
    for method in METHODS:
        expected, whole = found[f"{method}, zero 0"]
        losses, held = found[f"{method}, zero 3"]
        assert expected[-1] < 0.99 * expected[0], "it learns"
        assert losses == pytest.approx(expected, rel=1e-4), method
        assert whole / 2 <= held < 0.51 * whole, f"{method}: its half, and padding where a matrix cannot be halved"
