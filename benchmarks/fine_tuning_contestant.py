"""One contestant in a process of its own: `fine_tuning_contestant.py NAME WORKLOAD-JSON`. The last line it prints is its result.

With `turns` after that it does a step whenever it is told to, see `fine_tuning_turns.py`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # where a GPU is lent, nothing is installed

import torch
from fine_tuning_workload import MARK, Workload

if TYPE_CHECKING:
    from fine_tuning_ours import Setting

OTHERS = ("hf", "hf-keep", "lab", "trl", "trl-keep", "trl-our-attention")


def _others(name: str) -> Callable[[Workload], dict[str, Any]]:
    from fine_tuning_others import Recipe, hf_trainer, trl

    if name in ("hf", "hf-keep"):
        return lambda workload: hf_trainer(workload, Recipe(rows=8, checkpointing=name == "hf"))
    if name == "lab":
        recipe = Recipe(rank=8, targets=("q_proj", "v_proj"), eight_bit=True, checkpointing=False)
        return lambda workload: hf_trainer(workload, Recipe(**{**recipe.__dict__, "chunk": 2048 // workload.scale}))
    recipe = Recipe(checkpointing=name != "trl-keep", our_attention=name == "trl-our-attention")
    return lambda workload: trl(workload, recipe)


def contestant(name: str) -> Callable[[Workload], dict[str, Any]]:
    """The function of a contestant. Raises KeyError for a name that is none."""
    if name in OTHERS:
        return _others(name)
    from fine_tuning_ours import run

    return lambda workload: run(workload, setting(name))


def setting(name: str) -> Setting:
    """Of one of ours. Raises KeyError for a name that is none."""
    from fine_tuning_ours import Setting

    return {
        "ours-checkpoint": Setting(layers="all"),
        "ours": Setting(),
        "ours-plain-adapters": Setting(fused=False),
        "ours-compiled": Setting(compiled=True),
        "ours-single": Setting(packing=False),
        "ours-sdpa": Setting(attention="sdpa"),
        "loop": Setting(stage=None),
        "loop-plain": Setting(stage=None, fused=False),
        "loop-full": Setting(stage=None, full=True),
        **{f"zero{stage}-full": Setting(stage=stage, full=True) for stage in range(3)},
        **{f"zero{stage}": Setting(stage=stage, fused=stage < 3) for stage in range(4)},
    }[name]


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")) if not torch.cuda.is_available() else 8)
    asked = Workload(**json.loads(sys.argv[2]))
    if sys.argv[3:] == ["turns"]:
        from fine_tuning_ours import take_turns

        take_turns(asked, setting(sys.argv[1]))
    else:
        print(MARK + json.dumps(contestant(sys.argv[1])(asked), default=str), flush=True)
