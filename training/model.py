"""Load the base model, put adapters on it, and take the trained weights out again.

Only safetensors are read: a pickle can run code. The model's own file decides what is stored; what is computed in is
chosen here, bfloat16 only where the hardware multiplies in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from training import adapters, forward
from training.config import Dtype, Method
from training.errors import BadInputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BF16_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


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


def computes_in_bfloat16() -> bool:
    """Whether bfloat16 is faster than float32 here: a GPU that has it, or a CPU with AVX512-BF16 or AMX."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not BF16_CPU_FLAGS.isdisjoint(flags.split())


def choose_dtype(wanted: Dtype) -> torch.dtype:
    """The number format to compute in."""
    if wanted == "auto":
        return torch.bfloat16 if computes_in_bfloat16() else torch.float32
    return DTYPES[wanted]


def device() -> torch.device:
    """The GPU of this rank when there is one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def check_folder(folder: Path) -> None:
    """Raise BadInputError unless the folder holds a model in safetensors form."""
    if not (folder / "config.json").is_file():
        raise BadInputError(f"no model in {folder}: config.json is missing")
    if not any(folder.glob("*.safetensors")):
        others = sorted(path.name for path in folder.glob("*.bin")) or sorted(path.name for path in folder.glob("*.pt"))
        found = f"only {', '.join(others)} (pickles are refused, they can run code)" if others else "no weights"
        raise BadInputError(f"{folder} has {found}; model.safetensors is needed")


def load_model(
    folder: Path, dtype: torch.dtype, *, attention: str = "sdpa", four_bit: bool = False, place: torch.device | None = None
) -> Any:
    """A causal language model from a local folder, in evaluation mode, on this rank's device or the given one.

    With `four_bit` its linear layers are kept as nf4 (double quantised) and multiplied in `dtype`; the head stays whole.
    """
    check_folder(folder)
    place = place or device()
    quantised = {"quantization_config": _four_bit(dtype), "device_map": {"": place}} if four_bit else {}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            **quantised,
        )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BadInputError(f"cannot load the model in {folder}: {error}") from error
    for module in model.modules() if four_bit else ():
        # on some CPUs a call in evaluation mode packs the weights anew, not quite as they were: a look would change the training
        module.support_avx512bf16_for_cpu = False
    return forward.install((model if four_bit else model.to(place)).eval())


def fits_whole(folder: Path, dtype: torch.dtype) -> bool:
    """Whether all weights in `dtype` leave a fifth of this GPU's free memory; without a GPU there is nothing to ask."""
    if not torch.cuda.is_available():
        return True
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return stored * dtype.itemsize / stored_dtype(folder).itemsize < 0.8 * torch.cuda.mem_get_info()[0]


def _four_bit(dtype: torch.dtype) -> BitsAndBytesConfig:
    if find_spec("bitsandbytes") is None:
        raise BadInputError("method: qlora needs bitsandbytes, which is not installed here; add it to the image, or take method: lora")
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=dtype,  # ZeRO-3 spreads only what has the type of the other weights
    )


def stored_dtype(folder: Path) -> torch.dtype:
    """The number format that the folder's config.json names; float32 when it names none."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return DTYPES.get(str(config.get("dtype") or config.get("torch_dtype")), torch.float32)


def context_length(folder: Path) -> int:
    """Tokens that the model in the folder was made for."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings") or 2048)


def prepare(model: Any, method: Method) -> Any:
    """Make the model trainable by the method: adapters on frozen weights, or all weights."""
    if method.adapter is None:
        return model.train()
    field = f"method.{'lora' if method.qlora is None else 'qlora'}.targets"
    return adapters.put_on(model, method.adapter, field).train()


def parameter_counts(model: Any) -> tuple[int, int]:
    """(trained, all) parameters; ZeRO-3 keeps the true size beside its shards, nf4 the true shape."""

    def size(parameter: Any) -> int:
        state = getattr(parameter, "quant_state", None)
        return math.prod(state.shape) if state is not None else int(getattr(parameter, "ds_numel", parameter.numel()))

    sizes = [(size(p), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


def tuned_model(
    folder: Path,
    method: Method,
    trained: Mapping[str, torch.Tensor],
    dtype: torch.dtype,
    *,
    four_bit: bool = False,
    place: torch.device | None = None,
) -> Any:
    """The base model with the trained weights put in; with adapters still a PeftModel.

    It starts from the file again, so it holds exactly what will be served, whatever shape the training engine kept
    its weights in: adapters that were trained on a base in 4 bits are put on the whole one, and merge into that.
    """
    model = prepare(load_model(folder, dtype, four_bit=four_bit, place=place), method)
    unknown = set(trained) - {name for name, p in model.named_parameters() if p.requires_grad}
    if unknown:
        raise ValueError(f"trained weights that the model does not have: {sorted(unknown)[:3]}")
    model.load_state_dict(dict(trained), strict=False)
    return model.eval()


def merge(model: Any) -> Any:
    """Fold the adapters into the weights; a model without adapters comes back as it is."""
    return model.merge_and_unload().eval() if isinstance(model, PeftModel) else model
