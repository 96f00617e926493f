"""Low-rank adapters: which layers get one, and what a name in the manifest may not silently miss.

An adapter is two thin matrices beside a frozen one: y = W x + (alpha / rank) · B A x. B starts at zero, so training
starts at the base model. With DoRA the sum's rows are also scaled, by lengths that are trained by themselves.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from training.config import Lora
from training.errors import BadInputError


def linear_layers(model: Any) -> list[str]:
    """Names of all linear layers but the head, in any architecture; the head is asked of the model."""
    head = model.get_output_embeddings()
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head]


def targets(model: Any, lora: Lora, field: str = "method.lora.targets") -> list[str]:
    """Full names of the modules that get an adapter. Raises BadInputError for a name that matches none, and for a tied head.

    `field` is what the manifest calls them.
    """
    linear = linear_layers(model)
    if lora.targets == "all-linear":
        return linear
    known = [name for name, module in model.named_modules() if name and not list(module.children())]
    found: list[str] = []
    for target in lora.targets:
        matching = [name for name in known if name == target or name.endswith(f".{target}")]
        if not matching:
            endings = sorted({name.rpartition(".")[2] for name in linear})
            raise BadInputError(f"{field}: the model has no module {target!r}; its linear layers are {', '.join(endings)}")
        found += matching
    head, inputs = model.get_output_embeddings(), model.get_input_embeddings()
    if getattr(model.config, "tie_word_embeddings", False) and any(model.get_submodule(name) in (head, inputs) for name in found):
        raise BadInputError(
            f"{field}: head and embedding of this model are one matrix (tied); an adapter on one of them could not be merged "
            "without changing the other: leave it out, or train all weights (method: full)"
        )
    return list(dict.fromkeys(found))


def put_on(model: Any, lora: Lora, field: str = "method.lora.targets") -> Any:
    """The model with fresh adapters; all else is frozen.

    Adapters take the dtype of the weights (DeepSpeed keeps a float32 master copy when that is bfloat16): with float32
    adapters every layer would cast its input, which cost a fifth of the speed when measured on a CPU.
    """
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_shortest(model, targets(model, lora, field)),
        use_dora=lora.dora,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise BadInputError(f"{field} does not fit the model: {error}") from error


def _shortest(model: Any, names: list[str]) -> list[str]:
    """Names without their path where that means the same layers: a saved adapter then lists seven names, not hundreds."""
    short = sorted({name.rpartition(".")[2] for name in names})
    meant = {name for name, _ in model.named_modules() if name.rpartition(".")[2] in short}
    return short if meant == set(names) else names
