"""What a checkpoint holds of an engine: the trained weights and the optimizer's memory of them.

Adapters are small. They are stored whole, parameter by parameter in float32, in one file, so any number of ranks under
any ZeRO stage can go on from it. All weights of a model with their optimizer state are eight times the model's size:
each rank stores its own part, as DeepSpeed does it, and another number of ranks goes on by DeepSpeed's universal
checkpoint, which is the same thing parameter by parameter.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pickle  # only for the name of its error
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file

ADAPTERS = "adapters.safetensors"
_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch's own: it overrules what a caller asks for
MOMENTS = ("exp_avg", "exp_avg_sq")  # what AdamW remembers of a parameter


def save_adapters(engine: Any, folder: Path) -> None:
    """Write the trained parameters and their optimizer state. All ranks must call this; rank 0 writes."""
    lead = dist.get_rank() == 0
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter, own in _trained(engine):
        for part in ("", *MOMENTS):
            value = _whole(engine, parameter, own, part)
            if lead:
                tensors[f"{name}:{part}"] = value.detach().to("cpu", torch.float32, copy=True).contiguous()
    if lead:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / ADAPTERS)


def size_here(engine: Any, *, adapters: bool) -> int:
    """About how many bytes a checkpoint takes on this node's disk: float32 with two moments, and all weights where they are trained."""
    trained = sum(int(getattr(p, "ds_numel", p.numel())) for p in engine.module.parameters() if p.requires_grad)
    if adapters:
        return 12 * trained
    here = int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size()))
    return 16 * trained * here // dist.get_world_size()


def load_adapters(engine: Any, folder: Path, updates: int) -> None:
    """Put back what `save_adapters` wrote after so many updates. All ranks must call this."""
    with safe_open(str(folder / ADAPTERS), "pt") as file:
        _fill(engine, lambda name, part: file.get_tensor(f"{name}:{part}"), updates)


def save_all(engine: Any, folder: Path) -> None:
    """Write every rank's part of all weights and their optimizer state. All ranks must call this."""
    engine.save_checkpoint(str(folder.parent), tag=folder.name, save_latest=False)


def load_all(engine: Any, folder: Path, updates: int, *, same_layout: bool) -> None:
    """Put back what `save_all` wrote after so many updates. All ranks must call this.

    `same_layout`: it was saved by as many ranks under the same ZeRO stage. Else what stage 0 saved is read as it is, and what others
    saved is converted first, on each node by one of its ranks.
    """
    if same_layout:
        with only_weights():
            loaded, _ = engine.load_checkpoint(str(folder.parent), tag=folder.name)
        if loaded is None:
            raise ValueError(f"DeepSpeed cannot read {folder}")
        return
    if not any(folder.glob("*zero_pp_rank*")):
        _fill(engine, _without_zero(engine, folder), updates)
        dist.barrier()
        return
    universal = folder.with_name(f"{folder.name}-universal")
    if leads_node():
        _convert(folder, universal)
    dist.barrier()

    def read(name: str, part: str) -> torch.Tensor:
        stored = torch.load(universal / "zero" / name / f"{part or 'fp32'}.pt", map_location="cpu", weights_only=True)
        value: torch.Tensor = stored["param"] if isinstance(stored, dict) else stored
        return value

    _fill(engine, read, updates)
    dist.barrier()
    if leads_node():
        shutil.rmtree(universal, ignore_errors=True)


def foreign_classes(folder: Path) -> list[str]:
    """What the pickles below `folder` would call beside tensors, plain values and DeepSpeed's own classes; each as `file: name`.

    Raises ValueError for a file that torch did not write in its present form.
    """
    paths, found = sorted(folder.rglob("*.pt")), list[str]()
    own = {f"{known.__module__}.{known.__qualname__}" for known in _deepspeed_classes()} if paths else set()
    for path in paths:
        try:
            named = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        except (RuntimeError, pickle.UnpicklingError) as error:
            raise ValueError(f"{path.name}: {error}") from error
        found += [f"{path.name}: {name}" for name in sorted(set(named) - own)]
    return found


@contextlib.contextmanager
def only_weights() -> Iterator[None]:
    """torch.load runs no code that a file brings along, though DeepSpeed asks for it: others may write where checkpoints lie."""
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        with torch.serialization.safe_globals(list(_deepspeed_classes())):
            yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before


def _deepspeed_classes() -> tuple[type, ...]:
    """All that its files name under any stage in both number formats (0.19)."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return LossScaler, ZeroStageEnum, fragment_address


def updates(engine: Any) -> int:
    """How often AdamW has stepped; it corrects its means by that."""
    return next((int(state["step"]) for state in _adamw(engine).state.values() if "step" in state), 0)


def leads_node() -> bool:
    """Whether this rank does what one rank of each node does: it copies files from and to that node's disk."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def _convert(folder: Path, universal: Path) -> None:
    from deepspeed.checkpoint import ds_to_universal

    # one worker: a process forked beside the threads of a process group may hang
    arguments = argparse.Namespace(
        input_folder=str(folder),
        output_folder=str(universal),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    with only_weights(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ds_to_universal.main(arguments)


def _without_zero(engine: Any, folder: Path) -> Callable[[str, str], torch.Tensor]:
    """Reads what stage 0 saved, which DeepSpeed cannot convert: one file, with AdamW's state in the order of the parameters."""
    with only_weights():
        found = torch.load(folder / "mp_rank_00_model_states.pt", map_location="cpu", weights_only=True)
    places = {name: i for i, name in enumerate(name for name, parameter in engine.module.named_parameters() if parameter.requires_grad)}
    optimizer = found["optimizer"]
    masters = optimizer.get("fp32_groups")  # in bfloat16
    moments = optimizer["optimizer_state_dict" if masters else "state"]

    def read(name: str, part: str) -> torch.Tensor:
        value: torch.Tensor
        if part:
            value = (moments["state"] if masters else moments)[places[name]][part]
        else:
            value = masters[0][places[name]] if masters else found["module"][name]
        return value.detach()

    return read


def _trained(engine: Any) -> Iterator[tuple[str, Any, torch.Tensor]]:
    """(name, parameter, its master where DeepSpeed keeps one for each parameter) in the optimizer's order."""
    named = [(name, p) for name, p in engine.module.named_parameters() if p.requires_grad]
    masters = _masters(engine)
    for i, (name, parameter) in enumerate(named):
        yield name, parameter, masters[i] if len(masters) == len(named) else parameter


def _masters(engine: Any) -> list[torch.Tensor]:
    """The tensors that AdamW steps: flat parts under ZeRO, else one for each parameter."""
    for name in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups"):
        if hasattr(engine.optimizer, name):
            return list(getattr(engine.optimizer, name))
    return [p for group in _adamw(engine).param_groups for p in group["params"]]


def _adamw(engine: Any) -> torch.optim.Optimizer:
    found: torch.optim.Optimizer = getattr(engine.optimizer, "optimizer", engine.optimizer)
    return found


def _whole(engine: Any, parameter: Any, master: torch.Tensor, part: str) -> torch.Tensor:
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    value: torch.Tensor | None
    if engine.zero_optimization_stage() == 0:
        return _adamw(engine).state[master][part] if part else master
    value = safe_get_full_optimizer_state(parameter, part) if part else safe_get_full_fp32_param(parameter)
    if value is None:
        raise ValueError(f"DeepSpeed does not tell the {part or 'value'} of a parameter")
    return value.reshape(_shape(parameter))


def _shape(parameter: Any) -> torch.Size:
    """The true shape: under stage 3 what a rank holds of a parameter is flat."""
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return shape


def _fill(engine: Any, read: Callable[[str, str], torch.Tensor], updates: int) -> None:
    _make_state(engine, updates)
    for name, parameter, master in _trained(engine):
        for part in ("", *MOMENTS):
            shape = _shape(parameter)  # DeepSpeed's universal files may be flat, and padded at their end
            value = read(name, part).flatten()[: shape.numel()].reshape(shape).to(master.device, torch.float32)
            _set(engine, parameter, master, part, value)
            if not part:
                _compute_with(parameter, value)


def _set(engine: Any, parameter: Any, master: torch.Tensor, part: str, value: torch.Tensor) -> None:
    from deepspeed import utils

    stage = engine.zero_optimization_stage()
    if stage == 0:
        with torch.no_grad():
            (_adamw(engine).state[master][part] if part else master).copy_(value)
    elif stage < 3 and part:
        utils.safe_set_full_optimizer_state(parameter, value, part)
    elif stage < 3:
        utils.safe_set_full_fp32_param(parameter, value)
    else:
        # each rank holds as much as any other, so the last one's share may end in padding
        size = parameter.ds_tensor.numel()
        padded = torch.zeros(size * dist.get_world_size(), device=value.device)
        padded[: value.numel()] = value.flatten()
        own = padded.narrow(0, size * dist.get_rank(), size)
        if part:
            utils.safe_set_local_optimizer_state(parameter, own, part)
        else:
            utils.safe_set_local_fp32_param(parameter, own)


def _compute_with(parameter: Any, value: torch.Tensor) -> None:
    """Put the value into the tensor that forward and backward use, in its own number format."""
    import deepspeed

    sharded = hasattr(parameter, "ds_id")
    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0, enabled=sharded), torch.no_grad():
        if not sharded or dist.get_rank() == 0:
            parameter.data.copy_(value)


def _make_state(engine: Any, updates: int) -> None:
    """AdamW makes its state in its first step; after a restart there was none yet."""
    optimizer = _adamw(engine)
    for master in _masters(engine):
        state = optimizer.state[master]
        for part in MOMENTS:
            if part not in state:
                state[part] = torch.zeros_like(master, memory_format=torch.preserve_format)
        # the fused kernel wants it beside the weights, the others in host memory
        state["step"] = torch.tensor(float(updates), device=master.device if optimizer.defaults.get("fused") else None)
    link = getattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state", None)
    if link is not None:
        link()  # DeepSpeed's own accessors look at the state through views that it makes in its first step
