"""The same training has the same losses at every ZeRO stage and any number of ranks, packed and partly checkpointed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
OUTPUT: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


def curves(world: int) -> dict[str, list[float]]:
    """Run all ranks; the losses that rank 0 tells."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "training_curves.py")]
    ranks = [subprocess.Popen([*command, str(rank), str(world), str(port)], env=environment, **OUTPUT) for rank in range(world)]
    try:
        said = [rank.communicate(timeout=200)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    line = next((line for line in said[0].splitlines() if line.startswith("CURVES ")), None)
    assert line is not None, "\n".join(said)[-4000:]
    found: dict[str, list[float]] = json.loads(line.removeprefix("CURVES "))
    return found


def test_losses_over_stages_and_ranks() -> None:
    alone, together = curves(1), curves(2)
    expected = alone["zero 1"]
    assert expected[-1] < 0.99 * expected[0], "it learns"
    assert alone["zero 1 again"] == expected, "the same seed gives the same run, to the last bit"
    assert together["zero 1 again"] == together["zero 1"]
    for found in (alone, together):
        for name, losses in found.items():
            assert losses == pytest.approx(expected, rel=1e-4), name
