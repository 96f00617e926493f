"""The same training has the same losses at every ZeRO stage and any number of ranks, packed and partly checkpointed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def curves(*worlds: int) -> list[dict[str, list[float]]]:
    """The losses that rank 0 of each number of ranks tells, and the norm of its last gradient."""
    ended = subprocess.run(
        [sys.executable, str(HERE / "training_curves.py"), *map(str, worlds)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    line = next((line for line in ended.stdout.splitlines() if line.startswith("CURVES ")), None)
    assert ended.returncode == 0 and line is not None, ended.stdout[-2000:] + ended.stderr[-4000:]
    found: list[dict[str, list[float]]] = json.loads(line.removeprefix("CURVES "))
    return found


def test_losses_over_stages_and_ranks() -> None:
    alone, together = curves(1, 2)
    expected = alone["zero 1"]
    assert expected[-2] < 0.99 * expected[0], "it learns; the last number is the norm of the gradient"
    assert alone["zero 1 again"] == expected, "the same seed gives the same run, to the last bit"
    assert together["zero 1 again"] == together["zero 1"]
    for found in (alone, together):
        for name, losses in found.items():
            assert losses == pytest.approx(expected, rel=1e-4), name
