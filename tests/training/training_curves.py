"""Several short trainings by some ranks: `training_curves.py WORLD…`, prints for each world the losses of each ZeRO stage as JSON and
the last gradient's norm.

All stages run in the same ranks, one after the other, and the ranks are forked: importing DeepSpeed takes longer than training.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from training_forks import in_ranks, warm
from training_packs import pack

CASES = {
    "zero 0": (0, "none"),
    "zero 1": (1, "none"),
    "zero 1 again": (1, "none"),
    "zero 2": (2, "none"),
    "zero 2, offload": (2, "optimizer"),
    "zero 3": (3, "none"),
    "zero 3, offload": (3, "parameters"),
}
STEPS = 6


def curve(stage: int, world: int, offload: Any) -> list[float]:
    """Losses of a packed LoRA training, whose plan is that of two ranks at any number of them."""
    import torch
    import torch.distributed as dist
    from transformers import LlamaConfig, LlamaForCausalLM

    from training import engine
    from training.config import TrainingConfig
    from training.data.batches import plan_batches
    from training.data.packing import micro_batch
    from training.loop import train_step
    from training.model import attention, blocks
    from training.model.forward import install
    from training.model.loading import prepare

    data = pack()
    document: dict[str, Any] = {"run": {"id": "r", "job": "j"}, "base": {"path": "/b"}, "data": {"table": "T"}, "output": {"path": "/o"}}
    document["training"] = {"maxSteps": STEPS, "microBatchTokens": 250, "tokensPerStep": 900, "dtype": "float32", "learningRate": 2e-2}
    config = TrainingConfig.model_validate(document)
    first = plan_batches(data.lengths, config.training, 2, on_gpu=False)
    plan = plan_batches(data.lengths, config.training, world, on_gpu=False, like=(first.bins_per_step, first.capacity))
    torch.manual_seed(5)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    base = install(LlamaForCausalLM(LlamaConfig(**shape, vocab_size=300)))
    base.config._attn_implementation = attention.choose("sdpa", torch.float32)
    model = prepare(base, config.method)
    blocks.prepare(model, stage=stage, checkpointed=1, compiled=False)
    trainer = engine.start(model, config, stage, plan.accumulation, offload)
    losses = []
    for step in range(STEPS):
        ranks = plan.step(step)
        trained = sum(len(data.rows[row].learned("answer")) for batches in ranks for rows in batches for row in rows)
        batches = [micro_batch(data, rows, 2, "answer", width=plan.capacity) for rows in ranks[dist.get_rank()]]
        total = train_step(trainer, batches, plan.accumulation * world / trained)
        dist.all_reduce(total)
        losses.append(float(total) / trained)
    return [*losses, float(trainer.get_global_grad_norm())]


def curves(world: int) -> dict[str, list[float]]:
    return {name: curve(stage, world, offload) for name, (stage, offload) in CASES.items()}


if __name__ == "__main__":
    warm()
    found = [in_ranks(world, lambda world=world: curves(world)) for world in map(int, sys.argv[1:])]
    print("CURVES " + json.dumps(found), flush=True)
