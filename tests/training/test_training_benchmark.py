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


@pytest.mark.parametrize(
    ("costs", "verdict", "reason"),
    [
        ([0.01, 0.0, 0.02, -0.01, 0.01, 0.0, 0.01, 0.02], "under 3%", "all of them are"),
        ([0.06, 0.05, 0.04, 0.05, 0.06, 0.05, 0.04, 0.05], "over 3%", "all of them are"),
        ([0.01, 0.05, 0.01, 0.05, 0.01, 0.05, 0.01, 0.05], "not decided", "the bound lies within what they say"),
        ([0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.9], "under 3%", "one pair was disturbed"),
    ],
)
def test_the_cost_of_deepspeed_is_that_of_the_middle_pair(benchmark: ModuleType, costs: list[float], verdict: str, reason: str) -> None:
    pairs = import_module("fine_tuning_turns")
    # one half of the pairs was taken while the machine was ten times slower
    found = [pairs.Turn((scale, scale * (1 + cost)), (2.0, 2.0)) for scale, cost in zip([0.5, 5.0] * 20, costs * 5, strict=True)]
    figures = pairs.figures("zero1", found, {"memoryBytes": 1})
    assert figures["verdict"] == verdict, reason
    low, high = figures["interval"]
    assert low <= figures["cost"] <= high and figures["lossDifference"] == 0


def test_the_interval_holds_the_middle_as_often_as_it_says(benchmark: ModuleType) -> None:
    """Counted by hand: of 8 values the median lies outside the 1st to 8th in 2 of 256 cases, outside the 2nd to 7th in 18."""
    interval = import_module("fine_tuning_turns").interval
    assert interval([float(number) for number in range(8)]) == (0.0, 7.0), "18 of 256 are 7 %"
    assert interval([float(number) for number in range(40)]) == (13.0, 26.0), "the 14th to the 27th: 96 %"


def test_deepspeed_and_the_loop_without_it_take_turns(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    target.write_text(json.dumps({"contest": {"ours": {"skipped": "of another day"}}}))
    command = [sys.executable, str(BENCHMARKS / "fine_tuning.py"), "--size", "tiny", "--parts", "deepspeed", "--only", "zero1"]
    subprocess.run([*command, "--pairs", "3", "--warmup", "1", "--results", str(target)], check=True, capture_output=True)
    results = json.loads(target.read_text())
    assert results["contest"] == {"ours": {"skipped": "of another day"}}, "what other parts found stays"
    assert results["taken"].keys() == {"deepspeed"}
    found = results["deepspeed"]["zero1"]
    assert found["pairs"] == 3 and found["lossDifference"] < 1e-4, "the same training"
    assert all(milliseconds > 0 for milliseconds in found["stepMilliseconds"])


def test_a_contest_on_this_machine(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    command = [sys.executable, str(BENCHMARKS / "fine_tuning.py"), "--size", "tiny", "--parts", "contest", "--only", "loop"]
    subprocess.run([*command, "--steps", "2", "--warmup", "1", "--repeats", "1", "--results", str(target)], check=True, capture_output=True)
    results = json.loads(target.read_text())
    assert {"version", "date", "device", "versions", "load", "workload", "taken", "contest", "ratios"} == results.keys()
    loop = results["contest"]["loop"]
    assert loop["tokensPerSecond"] > loop["trainedTokensPerSecond"] > 0
    assert len(loop["losses"]) == 3
