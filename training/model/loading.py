"""Load the base model, put adapters on it, and take the trained weights out again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from training.config import Method
from training.errors import BadInputError, is_out_of_memory
from training.hardware import device
from training.model import adapters, forward
from training.model.folder import check_folder


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
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **quantised,
        )
        model, found = loaded
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError, StrictDataclassError) as error:
        if _may_pass(error):
            raise
        raise BadInputError(f"cannot load the model in {folder}: {error}") from error
    if missing := sorted(found["missing_keys"]):
        # transformers would go on with random numbers in their place
        raise BadInputError(
            f"the model in {folder} is not whole: its files lack {len(missing)} of the weights that its config.json speaks of, "
            f"{missing[0]} for one; take it from the model's source again"
        )
    for module in model.modules() if four_bit else ():
        # on some CPUs a call in evaluation mode packs the weights anew, not quite as they were: a look would change the training
        module.support_avx512bf16_for_cpu = False
    return forward.install((model if four_bit else model.to(place)).eval())


def _may_pass(error: Exception) -> bool:
    """Whether another attempt, or another machine, may load the model: its folder is not to blame."""
    if is_out_of_memory(error):
        return True
    if isinstance(error, OSError):
        return error.errno is not None  # of the system, as from a mount that does not answer; transformers says what is wrong without
    # ranks that a model is spread over load it together: one that dies leaves its neighbours with a RuntimeError
    return isinstance(error, RuntimeError) and bool(is_deepspeed_zero3_enabled())  # type: ignore[no-untyped-call]


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
