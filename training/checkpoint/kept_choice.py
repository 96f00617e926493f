"""What a run began with, kept in its folder: a probe that was made since then must not change it for a later attempt.

Other GPUs, or another number of ranks, choose the ZeRO stage anew: what fitted there need not fit here. But the size of the micro-batches
says which rows make a step, so it stays once a step was taken; where it is too large the attempt ends before a model is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

from training import hardware
from training.checkpoint.checkpoints import begun_plan
from training.config import TrainingConfig
from training.engine import ZeroChoice
from training.errors import OutOfMemoryError
from training.files import write_json
from training.planner import Rows, in_words

FILE = "zero.json"


def begun_with(choice: ZeroChoice, folder: Path, run: str, say: Callable[[str], None]) -> ZeroChoice:
    """What the first attempt of the run in `folder` chose; `choice` where this is the first. All ranks must call this, rank 0 decides."""
    found = choice
    if dist.get_rank() == 0:
        where = _here(run)
        kept = _read(folder / FILE, where)
        if kept is None:
            try:
                write_json(folder / FILE, {**where, "choice": asdict(choice)})
            except OSError as error:
                say(f"the choice of the ZeRO stage is not kept for a later attempt: {error}")
        found = kept or choice
    told = [found]
    dist.broadcast_object_list(told)
    return told[0]


def as_begun(config: TrainingConfig, base: Path, output: Path, rows: Rows) -> TrainingConfig:
    """The configuration, with the micro-batches that the run in `output` began with on other GPUs. All ranks must call this.

    Raises OutOfMemoryError where no ZeRO stage makes room for them on the GPUs that are here.
    """
    if not torch.cuda.is_available() or config.training.micro_batch_tokens != "auto":
        return config  # what the manifest says holds everywhere
    plan = None
    if dist.get_rank() == 0 and _read(output / FILE, _here(config.run.id)) is None:
        plan = begun_plan(output / "checkpoints", config.run.id)
    told = [plan]
    dist.broadcast_object_list(told)
    tokens = told[0][1] if told[0] is not None else 0
    if not tokens:
        return config
    begun = config.model_copy(update={"training": config.training.model_copy(update={"micro_batch_tokens": tokens})})
    needed, best = hardware.planned(begun, base, rows), hardware.planned(config, base, rows)
    if needed is None or best is None or needed.fits:
        return begun
    smaller = f", or set training.microBatchTokens: {best.micro_batch_tokens}, which begins a new run" if best.fits else ""
    raise OutOfMemoryError(
        f"the run began on other GPUs, with micro-batches of {tokens} tokens; for these ZeRO {in_words(needed.zero, needed.offload)} "
        f"{needed.why}; let it end on GPUs like those that it began with{smaller}"
    )


def _here(run: str) -> dict[str, object]:
    """What a kept choice holds for."""
    return {"version": 2, "run": run, "device": hardware.name(), "ranks": dist.get_world_size()}


def _read(path: Path, where: dict[str, object]) -> ZeroChoice | None:
    """The choice that was made for just this; None for another one, and where a kill has cut the file off."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        same = all(document[name] == value for name, value in where.items())
        return ZeroChoice(**document["choice"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
