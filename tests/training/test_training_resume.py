"""Kills at random moments, other numbers of ranks, full stages: what a resumed run must equal."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from training_tiny import Ranks, tiny_config, tiny_rows, write_rows

from training.artefacts import take

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


def said(ranks: Ranks) -> list[str]:
    return [str(line["message"]) for line in ranks.progress() if line.get("message")]


SLICE = [(1, 2, {"packing": True}, "lora"), (2, 1, {}, "lora")]
MATRIX = [
    (zero, world, {"packing": packing}, method)
    for method in ("lora", "full")
    for zero in (0, 1, 2, 3)
    for world in (1, 2)
    for packing in (True, False)
]


def killed_and_resumed(
    tmp_path: Path, base: Path, rows: Path, chance: random.Random, zero: int, world: int, training: dict[str, Any], method: str
) -> None:
    parts: dict[str, Any] = {"deepspeed": {"zero": zero}, "training": training}
    if method == "full":
        parts["method"] = {"full": True}
    unbroken = run(tmp_path / "unbroken", resumable(tmp_path / "whole", base, rows, 1, **parts), world)
    output = tmp_path / "out"
    first = Ranks(tmp_path / "work1", resumable(output, base, rows, 1, **parts), world)
    # up to the save itself: a kill may fall into the middle of it
    kill_after(first, output, chance.choice([2, 4, 6, 8]), chance.choice([0.0, 0.002, 0.01, 0.05, 0.2]))
    second = run(tmp_path / "work2", resumable(output, base, rows, 2, **parts), world)
    assert finished(second) == finished(unbroken)


@pytest.mark.parametrize(("zero", "world", "training", "method"), SLICE)
def test_a_killed_run_goes_on_with_equal_losses(
    tmp_path: Path, tiny_base: Path, rows: Path, zero: int, world: int, training: dict[str, Any], method: str
) -> None:
    killed_and_resumed(tmp_path, tiny_base, rows, random.Random(zero), zero, world, training, method)


@pytest.mark.slow
@pytest.mark.parametrize(("zero", "world", "training", "method"), MATRIX)
def test_kills_over_packing_and_zero_stages_and_ranks(
    tmp_path: Path, tiny_base: Path, rows: Path, seed: int, zero: int, world: int, training: dict[str, Any], method: str
) -> None:
    chance = random.Random(f"{seed}:{zero}:{world}:{training}:{method}")
    killed_and_resumed(tmp_path, tiny_base, rows, chance, zero, world, training, method)
