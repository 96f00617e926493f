"""Save the state of an engine with some ranks, go on with others: a process that imports the libraries once and forks ranks.

`python training_states.py BASE FOLDER CASES`: a JSON list of {method, dtype, stage, world, offload, others: [[stage, world], …]}. Prints
as one JSON list for each case the losses after the save, how much memory its optimizer holds and keeps after a release, and the
losses of each other way to go on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from training_forks import in_ranks, warm

warm()

import torch  # noqa: E402 - the environment is read while they are imported
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402

from training import engine, hardware  # noqa: E402
from training.checkpoint import state  # noqa: E402
from training.config import TrainingConfig  # noqa: E402
from training.model import loading  # noqa: E402

BATCHES = [torch.arange(3 + i, 40 + i).unsqueeze(0) for i in range(6)]


def build(base: Path, case: dict[str, Any], stage: int) -> Any:
    parts = {"deepspeed": {"zero": stage}, "training": {"dtype": case["dtype"]}, "method": case["method"]}
    config = TrainingConfig.model_validate(
        {"run": {"id": "r", "job": "j"}, "base": {"path": str(base)}, "data": {"path": "/d"}, "output": {"path": "/o"}, **parts}
    )
    torch.manual_seed(0)
    model = loading.prepare(loading.load_model(base, hardware.choose_dtype(case["dtype"])), config.method)
    return engine.start(model, config, stage, 1, case.get("offload", "none"))


def steps(trainer: Any, batches: list[torch.Tensor]) -> list[float]:
    found = []
    for ids in batches:  # the same on every rank, so that the mean gradient does not depend on their number
        for group in trainer.optimizer.param_groups:
            group["lr"] = 1e-2
        loss = trainer(input_ids=ids, labels=ids).loss
        trainer.backward(loss)
        trainer.step()
        found.append(float(loss.detach()))
    return found


def storages(trainer: Any) -> list[StorageWeakRef]:
    """The memory of all that its optimizer holds; numbers by themselves do not count."""
    kept = [value for held in vars(trainer.optimizer).values() for value in (held if isinstance(held, list) else [held])]
    tensors = [value for value in [*kept, *state._masters(trainer)] if torch.is_tensor(value) and value.numel() > 1]
    return [StorageWeakRef(tensor.untyped_storage()) for tensor in tensors]


def run(base: Path, folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    adapters = case["method"] != "full"

    def unbroken() -> list[Any]:
        trainer = build(base, case, case["stage"])
        steps(trainer, BATCHES[:3])
        if adapters:
            state.save_adapters(trainer, folder)
        else:
            state.save_all(trainer, folder)
        torch.distributed.barrier()
        found = [steps(trainer, BATCHES[3:]), state.updates(trainer)]
        held = storages(trainer)
        engine.release(trainer)
        return [*found, len(held), sum(not storage.expired() for storage in held)]

    def resumed(stage: int, world: int, updates: int) -> list[float]:
        trainer = build(base, case, stage)
        if adapters:
            state.load_adapters(trainer, folder, 3)
        else:
            state.load_all(trainer, folder, 3, same_layout=(stage, world) == (case["stage"], case["world"]))
        return steps(trainer, BATCHES[3:])

    losses, updates, held, left = in_ranks(case["world"], unbroken)
    return {
        "losses": losses,
        "updates": updates,
        "held": held,
        "left": left,
        "others": [in_ranks(w, lambda s=s, w=w: resumed(s, w, updates)) for s, w in case["others"]],
    }


if __name__ == "__main__":
    results = [run(Path(sys.argv[1]), Path(sys.argv[2]) / str(i), case) for i, case in enumerate(json.loads(sys.argv[3]))]
    print("RESULT " + json.dumps(results))
