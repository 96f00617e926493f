"""What is done to a model's layers before it trains: fused adapters, compiled blocks, and how many are computed twice.

A checkpointed layer keeps only its input and computes the rest again in the backward pass. For adapters that is half as
much time again, so only as many layers do it as memory demands, and the first ones: the backward pass reaches them when
the last layers have given their memory back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from training import hardware
from training.config import DeepSpeed, TrainingConfig
from training.model import lora_fused
from training.planner import Rows, Way

_ALL = 1 << 20


@dataclass(frozen=True)
class Blocks:
    """What was done, for the log."""

    layers: int
    checkpointed: int
    compiled: bool
    fused: int

    def __str__(self) -> str:
        parts = [f"{self.checkpointed} of {self.layers} layers checkpointed"]
        parts += ["compiled"] if self.compiled else []
        parts += [f"{self.fused} fused projections"] if self.fused else []
        return ", ".join(parts)


def prepare(model: Any, *, stage: int, checkpointed: int, compiled: bool) -> Blocks:
    """Change the layers of a model that will train under ZeRO `stage`.

    At stage 3 a weight is there only while its own module is called, so adapters stay as PEFT made them, and graphs of
    a whole block would break at every module.
    """
    layers = decoder_layers(model)
    whole = stage < 3
    fused = lora_fused.install(model) if whole else 0
    for number, layer in enumerate(layers):
        fast: Callable[..., Any] = layer.forward
        if compiled and whole:
            fast = torch.compile(fast, dynamic=False)
        if number < checkpointed:
            fast = partial(checkpoint, fast, use_reentrant=False, preserve_rng_state=_draws(layer))
        if fast is not layer.forward:
            layer.forward = lora_fused.while_training(layer, layer.forward, fast)
    return Blocks(len(layers), min(checkpointed, len(layers)), compiled and whole, fused)


def layers_to_checkpoint(base: Path, config: TrainingConfig, way: Way, rows: Rows, tokens: int) -> int:
    """What `training.checkpointLayers` means for micro-batches of `tokens` on this rank's GPU; `auto` on a CPU: none.

    `way` is the ZeRO stage with what lies in host memory.
    """
    wanted, on_gpu = config.training.checkpoint_layers, torch.cuda.is_available()
    if wanted == "none" or (wanted == "auto" and not on_gpu):
        return 0
    if wanted != "auto":
        return _ALL if wanted == "all" else int(wanted)
    zero = DeepSpeed.model_validate(dict(zip(("zero", "offload"), way, strict=True)))
    training = config.training.model_copy(update={"micro_batch_tokens": tokens})
    found = hardware.planned(config.model_copy(update={"deepspeed": zero, "training": training}), base, rows)
    return found.checkpoint_layers if found is not None else _ALL


def decoder_layers(model: Any) -> list[Any]:
    """The model's layers, also through PEFT's wrapping."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return list(inner.get_decoder().layers)


def _draws(layer: Any) -> bool:
    """Whether the layer draws random numbers, which its second pass must draw again.

    It leaves values out by a module of its own, or hands a share (`attention_dropout` in many models) to a function that does.
    """
    modules = list(layer.modules())
    shares = [value for module in modules for name, value in vars(module).items() if "drop" in name and isinstance(value, float)]
    return any(share > 0 for share in shares) or any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in modules)
