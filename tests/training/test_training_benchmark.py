"""The benchmark's own work: every contestant is there, figures are taken from the timed steps only, and one really runs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    sys.path.append(str(BENCHMARKS))
    return import_module("fine_tuning")


def run(speed: float, memory: int = 100) -> dict[str, Any]:
    """Three steps of which the first is warm-up, and ten times slower."""
    return {
        "seconds": [10 / speed, 1 / speed, 1 / speed],
        "tokens": [7, 1, 1],
        "trained": [1, 1, 1],
        "losses": [3.0, 2.0, 1.0],
        "memoryBytes": memory,
        "settings": {},
    }


def test_figures_leave_the_warm_up_out_and_take_the_middle_of_repeats(benchmark: ModuleType) -> None:
    workload = benchmark.Workload("tiny", "lab", tokens=64, warmup=1, steps=2, documents=4, scale=4)
    found = benchmark.figures(workload, [run(100), run(300), run(200, memory=150)])
    assert found["tokensPerSecond"] == 200
    assert found["repeats"] == [100, 300, 200]
    assert found["memoryBytes"] == 150
    assert found["stepMilliseconds"]["p50"] in (5.0, 3.3)


def test_what_did_not_run_says_why_and_counts_in_no_ratio(benchmark: ModuleType) -> None:
    workload = benchmark.Workload("tiny", "lab", tokens=64, warmup=1, steps=2, documents=4, scale=4)
    contest = {
        "hf": benchmark.figures(workload, [run(100)]),
        "trl": benchmark.figures(workload, [{"skipped": "No module named 'trl'"}]),
        "ours": benchmark.figures(workload, [run(250, memory=50)]),
        "ours-single": benchmark.figures(workload, [run(200)]),
    }
    assert benchmark.ratios(contest) == {
        "ours / hf": 2.5,
        "memory of ours / hf": 0.5,
        "ours / ours-single": 1.25,
        "memory of ours / ours-single": 0.5,
    }


def test_a_contest_on_this_machine(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    command = [sys.executable, str(BENCHMARKS / "fine_tuning.py"), "--size", "tiny", "--parts", "contest", "--only", "loop"]
    subprocess.run([*command, "--steps", "2", "--warmup", "1", "--repeats", "1", "--results", str(target)], check=True, capture_output=True)
    results = json.loads(target.read_text())
    assert {"version", "date", "device", "versions", "load", "workload", "contest", "ratios"} == results.keys()
    loop = results["contest"]["loop"]
    assert loop["tokensPerSecond"] > loop["trainedTokensPerSecond"] > 0
    assert len(loop["losses"]) == 3
