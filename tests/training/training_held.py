"""Base and tuned model scored by two ranks that may not hold them whole; what `training_spread.py` runs beside its trainings."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

METHODS: dict[str, dict[str, Any]] = {"lora": {"lora": {"rank": 4}}, "dora": {"lora": {"rank": 4, "dora": True}}, "full": {"full": True}}
PIECE = 50_000  # bytes of a file


class Most:
    """The most numbers of a model that this rank held, whole or as its part, when one of its modules was called."""

    def __init__(self) -> None:
        self.numbers = 0

    def watch(self, model: Any) -> None:
        """Every module's call from now on."""
        parameters = list(model.parameters())

        def look(module: Any, inputs: Any) -> None:
            held = sum(p.numel() + (p.ds_tensor.numel() if hasattr(p, "ds_tensor") else 0) for p in parameters)
            self.numbers = max(self.numbers, held)

        for module in model.modules():
            module.register_forward_pre_hook(look)


def write_folder(folder: Path) -> None:
    """base/, a model whose answers have different lengths, and rows.arrow: seven to learn from, five to score."""
    import torch
    from training_tiny import tiny_rows, tiny_tokenizer, write_rows
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.config import Data, Prompt
    from training.data import rows

    tokenizer = tiny_tokenizer()
    tokens = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "max_position_embeddings": 512}
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(11)
    model = LlamaForCausalLM(LlamaConfig(**shape, **tokens, initializer_range=0.4))
    with torch.no_grad():
        model.lm_head.weight[2] *= 1.5  # the end token, so that some answers end early
    model.save_pretrained(str(folder / "base"))
    tokenizer.save_pretrained(str(folder / "base"))
    given = tiny_rows(12)
    for number, row in enumerate(given):
        row["_SPLIT"] = "train" if number > 4 else "eval"
    lines = write_rows(folder / "rows.jsonl", given)
    rows.write_rows(rows.read_file(lines), Data(table="T"), Prompt(), folder / "rows.arrow")


def scores(folder: Path, method: str, limit: int) -> dict[str, Any]:
    """What a run of two ranks finds and leaves that may take `limit` bytes of the host's memory."""
    import torch

    from training import engine, hardware
    from training.config import TrainingConfig
    from training.data.dataset import prepare
    from training.files import Folders
    from training.loop import StopFlag
    from training.planner.memory import Held
    from training.scoring.models import Models, held_here
    from training.tuning import Tuning

    os.environ[hardware.HOST_MEMORY] = str(limit)
    work = folder / f"{method}-{limit}"
    work.mkdir(exist_ok=True)
    config = TrainingConfig.model_validate(
        {
            "run": {"id": "r", "job": "j"},
            "base": {"path": str(folder / "base")},
            "data": {"path": "rows"},
            "method": METHODS[method],
            "training": {"dtype": "float32", "learningRate": 1e-2, "maxSteps": 3},
            "evaluation": {"rows": 5, "maxNewTokens": 12, "batchRows": 2, "metrics": ["rouge_l", "perplexity"]},
            "deepspeed": {"zero": 3},
            "output": {"path": "/out"},
        }
    )
    folders = Folders(folder / "base", folder / "rows.arrow", work, folder / f"{method}-{limit}-out")
    data, choice, most = prepare(config, folders), engine.ZeroChoice(3, "for a test"), Most()
    held = held_here(config, folders.base, torch.float32, 3)
    models = Models(config, folders, choice, torch.float32, held, data.tokens)

    def scored(model: Any) -> Any:
        most.watch(model)
        found = data.held_out.score(model, "tuned", lambda done: None, sharded=held is Held.SPREAD)
        return [found.means, [prediction.answer for prediction in found.predictions]]

    with models.base() as model:
        whole = sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters())
        largest = max(getattr(p, "ds_numel", p.numel()) for p in model.parameters())
        layer = sum(getattr(p, "ds_numel", p.numel()) for p in model.model.layers[0].parameters())
        base = scored(model)
        few = replace(data.held_out, rows=data.held_out.rows[:1]).score(model, "tuned", lambda done: None, sharded=held is Held.SPREAD)
    tuning = Tuning(config, folders, choice, torch.float32, StopFlag(), lambda line: None, models.take)
    trained = tuning.run(data.train, data.held_out, data.tokens, 0.0)
    with models.tuned(trained.weights) as model:
        tuned = scored(model)
    numbers = hardware.least(-most.numbers)
    return {
        "held": held.value,
        "base": base,
        "few": few.predictions[0].answer,
        "tuned": tuned,
        "most": -numbers,
        "whole": whole,
        "layer": layer,
        "largest": largest,
        "artefacts": str(work / "artefacts"),
    }


def all_scores(folder: Path) -> dict[str, Any]:
    return {method: [scores(folder, method, limit) for limit in (1 << 40, 100_000)] for method in METHODS}


def written_in_pieces(folder: Path) -> None:
    """The base, spread and written again in files of `PIECE` bytes."""
    import torch
    import torch.distributed as dist

    from training import engine
    from training.config import TrainingConfig
    from training.model.loading import load_model
    from training.model.spread import write_merged

    document = {"run": {"id": "r", "job": "j"}, "base": {"path": "/b"}, "data": {"table": "T"}, "output": {"path": "/o"}}
    config = TrainingConfig.model_validate(document | {"deepspeed": {"zero": 3}, "training": {"dtype": "float32"}})
    with engine.spreading(config, 3, 1):
        model = load_model(folder / "base", torch.float32)
    write_merged(model, folder / "pieces" if dist.get_rank() == 0 else None, torch.float16, PIECE)
