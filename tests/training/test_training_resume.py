"""Kills at random moments, other numbers of ranks, full stages: what a resumed run must equal."""

from __future__ import annotations

import json
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from training_tiny import Ranks, tiny_config, tiny_rows, write_rows

from training.results.outcome import take

STEPS = 10


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", tiny_rows())


def resumable(output: Path, base: Path, rows: Path, attempt: int, **parts: Any) -> dict[str, Any]:
    """A short run with dropout, evaluations in between and a checkpoint after every other step."""
    run = {"id": "run1", "job": "tiny", "attempt": attempt}
    config = tiny_config(output, base, rows, run=run, checkpoint={"everySteps": 2, "everyMinutes": 60})
    config["method"] = {"lora": {"rank": 4, "dropout": 0.1}}
    config["training"]["maxSteps"] = STEPS
    config["evaluation"] = {"rows": 2, "maxNewTokens": 2, "everySteps": 4}
    for name, part in parts.items():
        config[name] = {**part} if name == "method" else {**config.get(name, {}), **part}
    return config


def run(folder: Path, config: dict[str, Any], world: int) -> Ranks:
    ranks = Ranks(folder, config, world)
    assert ranks.wait() == [0] * world, ranks.log.read_text()
    return ranks


def finished(ranks: Ranks) -> list[float]:
    """The losses of all steps of a run that has ended well, over all its attempts."""
    left = take(ranks.work)
    assert left is not None
    return [step.loss for step in left[1].steps]


def metrics(output: Path) -> dict[str, Any]:
    """What run.json says of both models."""
    found: dict[str, Any] = json.loads((output / "run.json").read_text(encoding="utf-8"))["metrics"]
    return found


def kill_after(ranks: Ranks, output: Path, step: int, pause: float) -> None:
    """kill -9 of all ranks, `pause` seconds after checkpoint `step` was begun to be written."""
    for _ in range(6000):
        if (output / "checkpoints" / str(step)).exists():
            break
        if ranks.processes[0].poll() is not None:
            return
        time.sleep(0.005)
    time.sleep(pause)
    for process in ranks.processes:
        process.send_signal(signal.SIGKILL)
    ranks.wait()


@dataclass(frozen=True)
class Case:
    """How a run is set up, and with how many ranks it is begun and taken up again."""

    method: str
    zero: int
    world: int
    after: int
    packing: bool

    @property
    def parts(self) -> dict[str, Any]:
        method: dict[str, Any] = {"full": True} if self.method == "full" else {"lora": {"rank": 4, "dropout": 0.1 if self.same else 0.0}}
        return {"deepspeed": {"zero": self.zero}, "training": {"packing": self.packing}, "method": method}

    @property
    def same(self) -> bool:
        return self.world == self.after


SLICE = [
    Case("lora", 1, 2, 2, packing=True),
    Case("lora", 2, 2, 1, packing=True),  # adapters go on with any number of ranks, which alone would pack the rows in another way
]
MATRIX = [
    Case(method, zero, world, after, packing)
    for method in ("full", "lora")
    for zero in (3, 2, 1, 0)
    for world in (2, 1)
    for after in (2, 1)
    for packing in (True, False)
]


def killed_and_resumed(tmp_path: Path, base: Path, rows: Path, chance: random.Random, case: Case) -> None:
    unbroken = run(tmp_path / "unbroken", resumable(tmp_path / "whole", base, rows, 1, **case.parts), case.world)
    output = tmp_path / "out"
    first = Ranks(tmp_path / "work1", resumable(output, base, rows, 1, **case.parts), case.world)
    # a kill may fall into the middle of a save or of its copy to the output folder
    kill_after(first, output, chance.choice([2, 4, 6, 8]), chance.choice([0.0, 0.002, 0.01, 0.05, 0.2]))
    second = run(tmp_path / "work2", resumable(output, base, rows, 2, **case.parts), case.after)
    said = [line.get("message") or "" for line in second.progress()]
    assert any("the base model was scored by an earlier attempt" in text for text in said)
    assert not any("the base model answers" in text for text in said), "nothing is scored twice"
    assert metrics(output)["base"] == metrics(tmp_path / "whole")["base"]
    if case.same:
        assert metrics(output) == metrics(tmp_path / "whole")
        assert finished(second) == finished(unbroken), "bit by bit"
    else:
        assert finished(second) == pytest.approx(finished(unbroken), abs=2e-5), "but for the order in which numbers are added"


@pytest.mark.parametrize("case", SLICE, ids=str)
def test_a_killed_run_goes_on_with_equal_losses(tmp_path: Path, tiny_base: Path, rows: Path, case: Case) -> None:
    killed_and_resumed(tmp_path, tiny_base, rows, random.Random(str(case)), case)


def test_a_run_killed_anywhere_goes_on_with_any_method_stage_and_number_of_ranks(
    tmp_path: Path, tiny_base: Path, rows: Path, seed: int
) -> None:
    chance = random.Random(seed)
    killed_and_resumed(tmp_path, tiny_base, rows, chance, MATRIX[0] if seed == 0 else chance.choice(MATRIX))
