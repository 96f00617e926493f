"""The ZeRO stage that a run began with, kept in its folder: a probe that was made since then must not change it for a later attempt.

Other GPUs, or another number of ranks, choose anew: what fitted there need not fit here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch.distributed as dist

from training import hardware
from training.engine import ZeroChoice
from training.files import write_json

FILE = "zero.json"


def begun_with(choice: ZeroChoice, folder: Path, run: str, say: Callable[[str], None]) -> ZeroChoice:
    """What the first attempt of the run in `folder` chose; `choice` where this is the first. All ranks must call this, rank 0 decides."""
    found = choice
    if dist.get_rank() == 0:
        where = {"version": 2, "run": run, "device": hardware.name(), "ranks": dist.get_world_size()}
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


def _read(path: Path, where: dict[str, object]) -> ZeroChoice | None:
    """The choice that was made for just this; None for another one, and where a kill has cut the file off."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        same = all(document[name] == value for name, value in where.items())
        return ZeroChoice(**document["choice"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
