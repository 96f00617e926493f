"""What is in the folder of a base model: where it comes from, how its numbers are stored, and whether it can be used at all.

Only safetensors are read: a pickle can run code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.errors import BadInputError
from training.hardware import DTYPES

STORED = {**DTYPES, "float16": torch.float16}  # Llama 2 is: nothing is computed in it, but a merged model is written as its base was


@dataclass(frozen=True)
class BaseIdentity:
    """Where a base model comes from, as its `model.json` says; empty strings when the folder has none."""

    id: str
    sha256: str

    @classmethod
    def read(cls, folder: Path) -> BaseIdentity:
        """Read `model.json` of a base model folder."""
        path = folder / "model.json"
        if not path.is_file():
            return cls("", "")
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(str(document.get("identity", "")), str(document.get("sha256", "")))


def check_folder(folder: Path) -> None:
    """Raise BadInputError unless the folder holds a model in safetensors form."""
    if not (folder / "config.json").is_file():
        raise BadInputError(f"no model in {folder}: config.json is missing")
    if not any(folder.glob("*.safetensors")):
        others = sorted(path.name for path in folder.glob("*.bin")) or sorted(path.name for path in folder.glob("*.pt"))
        found = f"only {', '.join(others)} (pickles are refused, they can run code)" if others else "no weights"
        raise BadInputError(f"{folder} has {found}; model.safetensors is needed")
    if quantised := _config(folder).get("quantization_config"):
        way = quantised.get("quant_method", "an unknown way") if isinstance(quantised, dict) else quantised
        raise BadInputError(
            f"the model in {folder} has rounded weights ({way}); take the one that it was made of, with method: qlora if need be"
        )


def vocabulary(folder: Path) -> int | None:
    """How many tokens the model has an embedding for, as its config.json says."""
    size = _config(folder).get("vocab_size") if (folder / "config.json").is_file() else None
    return size if isinstance(size, int) else None


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"cannot read {folder / 'config.json'}: {error}") from error
    if not isinstance(found, dict):
        raise BadInputError(f"{folder / 'config.json'} is not the description of a model")
    return found


def stored_dtype(folder: Path) -> torch.dtype:
    """The number format that the folder's config.json names; float32 when it names none."""
    config = _config(folder)
    return STORED.get(str(config.get("dtype") or config.get("torch_dtype")), torch.float32)


def context_length(folder: Path) -> int:
    """Tokens that the model in the folder was made for."""
    length = _config(folder).get("max_position_embeddings") or 2048
    if not isinstance(length, int) or length < 1:
        raise BadInputError(f"{folder / 'config.json'} has no usable max_position_embeddings: {length!r}")
    return length


def attention_dropout(folder: Path) -> float:
    """The share of attention weights that the model leaves out at random while it trains."""
    return float(_config(folder).get("attention_dropout") or 0.0)


def stored_bytes(folder: Path) -> int:
    """Of all weights, as they are stored."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
