"""What DeepSpeed costs at one rank: the loop without it and the loop with it, in two processes that take turns step by step.

A busy or throttled machine is slow for minutes and quick for minutes, so figures of two runs that follow each other differ by more than
what is looked for. Here each step with DeepSpeed stands beside the same step without it, a second apart, and the order changes from
round to round. Their ratio is taken of each such pair.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning_workload import MARK, Workload

PAIRS = {
    "zero0": "loop",
    "zero1": "loop",
    "zero2": "loop",
    "zero3": "loop-plain",
    **{f"zero{stage}-full": "loop-full" for stage in range(3)},
}
"""With DeepSpeed, and the same without: stage 3 runs layers as PEFT made them; `full` trains all weights."""
BOUND = 0.03


class Runner:
    """One process that does a step when it is told to."""

    def __init__(self, name: str, workload: Workload, environment: Mapping[str, str]) -> None:
        script = str(Path(__file__).parent / "fine_tuning_contestant.py")
        command = [sys.executable, script, name, json.dumps(workload.document()), "turns"]
        self.name = name
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self) -> dict[str, Any]:
        """What it says next. Raises EOFError when it has ended."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(MARK):
                found: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return found
        raise EOFError(f"{self.name} ended with {self.process.wait()}")

    def step(self) -> dict[str, Any]:
        """One step: its seconds and its loss."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Turn:
    """The same step in both processes: seconds and losses, without DeepSpeed and with it."""

    seconds: tuple[float, float]
    losses: tuple[float, float]

    @property
    def cost(self) -> float:
        """Of the step with DeepSpeed, what it takes more, as a share of the other."""
        return self.seconds[1] / self.seconds[0] - 1


def turns(name: str, workload: Workload, environment: Mapping[str, str]) -> tuple[list[Turn], dict[str, Any]]:
    """All rounds of one pair, and what the process with DeepSpeed said when it was warm."""
    runners = [Runner(PAIRS[name], workload, environment), Runner(name, workload, environment)]
    try:
        ready = [runner.answer() for runner in runners]
        return list(_rounds(runners, workload.steps)), ready[1]
    finally:
        for runner in runners:
            runner.end()


def _rounds(runners: list[Runner], count: int) -> Iterator[Turn]:
    for number in range(count):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        found = {place: runners[place].step() for place in order}
        yield Turn((found[0]["seconds"], found[1]["seconds"]), (found[0]["loss"], found[1]["loss"]))


def figures(name: str, found: list[Turn], ready: Mapping[str, Any]) -> dict[str, Any]:
    """The middle of all pairs, the range that half of them lie in, and the range that the true middle lies in with 95 % certainty."""
    costs = sorted(turn.cost for turn in found)
    low, high = interval(costs)
    return {
        "against": PAIRS[name],
        "pairs": len(costs),
        "cost": round(statistics.median(costs), 4),
        "quartiles": [round(costs[int(share * (len(costs) - 1))], 4) for share in (0.25, 0.75)],
        "interval": [round(low, 4), round(high, 4)],
        "verdict": f"under {BOUND:.0%}" if high < BOUND else f"over {BOUND:.0%}" if low > BOUND else "not decided",
        "stepMilliseconds": [round(1000 * statistics.median(turn.seconds[place] for turn in found), 1) for place in (0, 1)],
        "lossDifference": max(abs(turn.losses[1] / turn.losses[0] - 1) for turn in found),
        "memoryBytes": ready["memoryBytes"],
    }


def interval(ordered: list[float]) -> tuple[float, float]:
    """Where the median of what was drawn from lies with 95 % certainty: by rank, so nothing is assumed of how the values are spread."""
    count = len(ordered)
    outside, rank = 0.5**count, 0
    while outside + math.comb(count, rank + 1) * 0.5**count < 0.025:
        rank += 1
        outside += math.comb(count, rank) * 0.5**count
    return ordered[rank], ordered[count - 1 - rank]
