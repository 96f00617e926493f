"""Short trainings on two ranks: `training_spread.py FOLDER`; prints of each its losses and what loading left on rank 0.

Then base and tuned model are scored, see `training_held`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from training_forks import in_ranks, warm
from training_held import all_scores, write_folder, written_in_pieces
from training_packs import pack

METHODS: dict[str, dict[str, Any]] = {"lora": {"lora": {}}, "dora": {"lora": {"dora": True}}, "full": {"full": True}}
STEPS = 4


def write_base(folder: Path) -> None:
    """The model that all of them train; head and embedding are one matrix, as in many small models."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    torch.manual_seed(5)
    LlamaForCausalLM(LlamaConfig(**shape, vocab_size=300, tie_word_embeddings=True)).save_pretrained(str(folder))


def curve(base: Path, method: dict[str, Any], stage: int) -> tuple[list[float], int]:
    """(losses of a packed training, how many of the base's numbers this rank held once it was loaded)."""
    import torch
    import torch.distributed as dist

    from training import engine
    from training.config import TrainingConfig
    from training.data.packing import micro_batch
    from training.loop import train_step
    from training.model import attention, blocks
    from training.model.loading import load_model, prepare

    document = {"run": {"id": "r", "job": "j"}, "base": {"path": "/b"}, "data": {"table": "T"}, "output": {"path": "/o"}}
    rate = 1e-3 if "full" in method else 2e-2
    config = TrainingConfig.model_validate({**document, "method": method, "training": {"dtype": "float32", "learningRate": rate}})
    data, world = pack(), dist.get_world_size()
    with engine.spreading(config, stage, 1):
        loaded = load_model(base, torch.float32, attention=attention.choose("sdpa", torch.float32))
        held = sum(parameter.ds_tensor.numel() if stage == 3 else parameter.numel() for parameter in loaded.parameters())
        torch.manual_seed(5)
        model = prepare(loaded, config.method)
    blocks.prepare(model, stage=stage, checkpointed=1, compiled=False)
    trainer = engine.start(model, config, stage, 1)
    trained = sum(len(row.learned("answer")) for row in data.rows)
    losses = []
    for _ in range(STEPS):
        mine = micro_batch(data, range(dist.get_rank(), len(data.rows), world), 2, "answer")
        total = train_step(trainer, [mine], world / trained)
        dist.all_reduce(total)
        losses.append(float(total) / trained)
    return losses, held


def curves(base: Path) -> dict[str, tuple[list[float], int]]:
    return {f"{name}, zero {stage}": curve(base, method, stage) for name, method in METHODS.items() for stage in (0, 3)}


def everything(folder: Path) -> dict[str, Any]:
    found = {"curves": curves(folder / "tied")}
    written_in_pieces(folder)
    return found | {"scores": all_scores(folder)}


if __name__ == "__main__":
    warm()
    where = Path(sys.argv[1])
    write_base(where / "tied")
    write_folder(where)
    print("FOUND " + json.dumps(in_ranks(2, lambda: everything(where))), flush=True)
