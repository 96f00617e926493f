"""The state of an engine, saved by some ranks under one ZeRO stage, taken up by others under another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training_tiny import REPOSITORY

CASES: list[tuple[dict[str, Any], float, str]] = [
    (
        {"method": "lora", "dtype": "float32", "stage": 1, "world": 2, "others": [[1, 2], [0, 1], [2, 3], [3, 2]]},
        1e-6,
        "adapters are stored whole: any number of ranks, any stage",
    ),
    (
        {"method": "lora", "dtype": "float32", "stage": 3, "world": 2, "others": [[1, 1], [3, 3]]},
        1e-6,
        "also out of the parts that stage 3 makes of them",
    ),
    (
        {"method": "lora", "dtype": "bfloat16", "stage": 1, "world": 2, "others": [[1, 2], [0, 1], [2, 1]]},
        2e-3,
        "float32 masters are stored, not the bfloat16 weights",
    ),
    (
        {"method": "full", "dtype": "float32", "stage": 1, "world": 2, "others": [[1, 2], [1, 1]]},
        1e-6,
        "parts of all weights: as they are, or by DeepSpeed's universal checkpoint",
    ),
    ({"method": "full", "dtype": "float32", "stage": 2, "world": 2, "others": [[2, 3], [0, 1]]}, 1e-6, "the same for stage 2"),
    ({"method": "full", "dtype": "float32", "stage": 3, "world": 2, "others": [[3, 2], [3, 1], [2, 3]]}, 1e-6, "and for stage 3"),
    (
        {"method": "full", "dtype": "float32", "stage": 0, "world": 1, "others": [[0, 1], [1, 2], [3, 1]]},
        1e-6,
        "without ZeRO, which one rank takes by itself; another number of ranks takes a stage",
    ),
    ({"method": "full", "dtype": "bfloat16", "stage": 0, "world": 1, "others": [[0, 1], [2, 2]]}, 2e-2, "the same with masters in float32"),
    (
        {"method": "full", "dtype": "float32", "stage": 3, "world": 2, "offload": "optimizer", "others": [[3, 2], [3, 1]]},
        1e-6,
        "with the optimizer's state in host memory",
    ),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> list[dict[str, Any]]:
    """All cases in one process: the libraries are imported once."""
    script = Path(__file__).with_name("training_states.py")
    ended = subprocess.run(
        [sys.executable, str(script), str(tiny_base), str(tmp_path_factory.mktemp("states")), json.dumps([case for case, _, _ in CASES])],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
    assert ended.returncode == 0 and lines, ended.stdout[-2000:] + ended.stderr[-4000:]
    found: list[dict[str, Any]] = json.loads(lines[0].removeprefix("RESULT "))
    return found


@pytest.mark.parametrize("number", range(len(CASES)), ids=[reason for _, _, reason in CASES])
def test_the_losses_after_a_save_are_the_same_for_all_who_go_on(results: list[dict[str, Any]], number: int) -> None:
    case, tolerance, reason = CASES[number]
    found = results[number]
    assert found["updates"] == 6
    assert found["held"] > 0 and found["left"] == 0, "parts of memory, before and after a release"
    for (stage, world), losses in zip(case["others"], found["others"], strict=True):
        same = (stage, world) == (case["stage"], case["world"])
        assert losses == pytest.approx(found["losses"], abs=0.0 if same else tolerance), f"{reason}: ZeRO {stage}, {world} ranks"
