"""A model that only fits spread over the ranks (ZeRO-3), written without ever being whole.

Module by module its weights come together on every rank, adapters are folded into them, and one rank of each node
keeps a copy in host memory until there is enough for a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from transformers.core_model_loading import revert_weight_conversion

from training.planner.memory import FILE


def write_merged(model: Any, folder: Path | None, stored: torch.dtype, most: int = FILE) -> None:
    """Write a trained model in Hugging Face form, adapters merged, in the number format `stored`.

    All ranks must call this; those with a folder write, `most` bytes to a file. The model's adapters are of no use afterwards.
    """
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    files = _Files(inner, folder, most)
    for name, tensor in _merged(inner, merges=folder is not None):
        files.add(name, tensor, stored)
    files.close(stored)


def _merged(model: Any, *, merges: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """All weights by their names in the base model, each once and whole until the next one is asked for."""
    import deepspeed

    seen: set[int] = set()  # of tied weights the first is told
    for prefix, module in _units("", model):
        adapted = isinstance(module, BaseTunerLayer)
        parameters = [p for p in module.parameters(recurse=adapted) if hasattr(p, "ds_id")]
        with deepspeed.zero.GatheredParameters(parameters, enabled=bool(parameters)):
            if adapted and merges:
                module.merge()
            plain = module.get_base_layer() if adapted else module
            for name, tensor in plain.state_dict(keep_vars=True).items():
                if "." not in name and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{prefix}{name}", tensor.detach()


def _units(prefix: str, module: Any) -> Iterator[tuple[str, Any]]:
    """(what its weights' names begin with, module) of all modules; an adapted layer is one, with all that is in it."""
    yield prefix, module
    if not isinstance(module, BaseTunerLayer):
        for name, inner in module.named_children():
            yield from _units(f"{prefix}{name}.", inner)


class _Files:
    """Weights collected in host memory, and written when they are enough for a file; nothing on ranks without a folder."""

    def __init__(self, model: Any, folder: Path | None, most: int) -> None:
        self.model, self.folder, self.most = model, folder, most
        self.waiting: dict[str, torch.Tensor] = {}
        self.bytes = self.total = 0
        self.names: list[list[str]] = []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, tensor: torch.Tensor, stored: torch.dtype) -> None:
        if self.folder is None:
            return
        kept = tensor.to("cpu", stored if tensor.is_floating_point() else tensor.dtype, copy=True).contiguous()
        if self.waiting and self.bytes + kept.nbytes > self.most:
            self._write()
        self.waiting[name] = kept
        self.bytes += kept.nbytes

    def close(self, stored: torch.dtype) -> None:
        """Write the rest, give the files their names, and describe the model beside them."""
        if self.folder is None:
            return
        self._write()
        count = len(self.names)
        places: dict[str, str] = {}
        for number, names in enumerate(self.names, 1):
            file = f"model-{number:05}-of-{count:05}.safetensors" if count > 1 else "model.safetensors"
            (self.folder / f"{number}.part").rename(self.folder / file)
            places.update(dict.fromkeys(names, file))
        if count > 1:
            index = {"metadata": {"total_size": self.total}, "weight_map": places}
            (self.folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        self.model.config.dtype = stored
        self.model.config.architectures = [type(self.model).__name__]
        self.model.config.save_pretrained(str(self.folder))
        self.model.generation_config.save_pretrained(str(self.folder))

    def _write(self) -> None:
        assert self.folder is not None
        tensors = revert_weight_conversion(self.model, self.waiting)  # some models are loaded in another form than they are stored in
        self.names.append(list(tensors))
        save_file(tensors, str(self.folder / f"{len(self.names)}.part"), metadata={"format": "pt"})
        self.total += self.bytes
        self.waiting, self.bytes = {}, 0
