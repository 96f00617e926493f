"""DeepSpeed around a model: the one place that knows its configuration and its habits on a CPU.

Facts found by experiment (DeepSpeed 0.19): with one rank it would look for MPI unless the rendezvous variables are
set; on a CPU it would compile a C++ operator at start-up (a minute, or a crash without a compiler) unless that operator
is marked unavailable; an AdamW of its own would compile another one, so torch's is handed in.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from training import hardware
from training.config import TrainingConfig
from training.errors import BadInputError
from training.hardware import choose_dtype
from training.model.blocks import decoder_layers
from training.planner import Offload, Rows, Way, in_words
from training.planner.memory import BUCKET

BETAS = (0.9, 0.98)
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


@dataclass(frozen=True)
class ZeroChoice:
    """A ZeRO stage, what lies in host memory, and why; `micro_batch_tokens` is what fits with it, where the planner has said so."""

    stage: int
    reason: str
    micro_batch_tokens: int | None = None
    offload: Offload = "none"

    @property
    def way(self) -> Way:
        """Stage and offload, as the planner takes them."""
        return self.stage, self.offload

    def __str__(self) -> str:
        return f"ZeRO {in_words(self.stage, self.offload)}: {self.reason}"


def choose_stage(config: TrainingConfig, base: Path | None = None, rows: Rows | None = None) -> ZeroChoice:
    """Resolve `deepspeed.zero` and `offload`; `auto` on a GPU asks the planner once the base model and the rows are known.

    Raises BadInputError for what this machine cannot do.
    """
    wanted, on_gpu = config.deepspeed.zero, torch.cuda.is_available()
    offload: Offload = "none" if config.deepspeed.offload == "auto" else config.deepspeed.offload
    if offload != "none" and not on_gpu:
        raise BadInputError("deepspeed.offload moves memory from a GPU to the host; here is no GPU: use offload: none")
    if on_gpu and base is not None and rows is not None:
        found = hardware.planned(config, base, rows)
        if found is not None:  # else there are no formulas for such a model: the rules below
            return ZeroChoice(found.zero, "; ".join([found.why, *found.reasons[1:]]), found.micro_batch_tokens, found.offload)
    if wanted != "auto":
        return ZeroChoice(wanted, "as the manifest says", offload=offload)
    if offload == "parameters":
        return ZeroChoice(3, "only stage 3 can keep weights in host memory", offload=offload)
    if config.method.full and offload == "none" and dist.is_initialized() and dist.get_world_size() == 1:
        return ZeroChoice(0, "one rank has nobody to spread with, and ZeRO's copies of weights and gradients cost time")
    if config.method.full and on_gpu:
        return ZeroChoice(2, "all weights are trained: gradients and optimizer state are worth spreading", offload=offload)
    return ZeroChoice(1, "optimizer state is spread; gathering weights or gradients would cost more than it saves", offload=offload)


def prepare_environment() -> None:
    """Set what DeepSpeed reads from the environment, and join the process group.

    Must run before anything imports deepspeed.
    """
    if "RANK" not in os.environ:  # not started by torchrun
        os.environ.update(ALONE, MASTER_PORT=str(_free_port()))
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    import deepspeed.ops

    if not on_gpu:
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not dist.is_initialized():
        deepspeed.init_distributed(dist_backend="nccl" if on_gpu else "gloo", timeout=timedelta(minutes=30), verbose=False)


@contextlib.contextmanager
def spreading(config: TrainingConfig, stage: int, accumulation: int, offload: Offload = "none") -> Iterator[None]:
    """At stage 3 a model that is loaded inside is spread over the ranks matrix by matrix: none of them ever holds it whole.

    Adapters are put on inside too, since DoRA measures the rows of each matrix and must ask for it. A base in 4 bits is left out: it is
    loaded whole, in a quarter of the room, and spread when the training starts.
    """
    if stage < 3 or config.method.qlora is not None:
        yield
        return
    from transformers.integrations.deepspeed import HfDeepSpeedConfig

    told = HfDeepSpeedConfig(deepspeed_config(config, stage, accumulation, offload))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        del told  # transformers looks for it through a weak reference: it spreads what is loaded for as long as this lives


def start(model: Any, config: TrainingConfig, stage: int, accumulation: int, offload: Offload = "none") -> Any:
    """Give the model to DeepSpeed; the engine's `backward` and `step` do the rest.

    `accumulation` is the number of micro-batches per step, the same on all ranks.
    """
    import deepspeed

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=config.training.learning_rate,
        betas=BETAS,
        weight_decay=config.training.weight_decay,
        fused=torch.cuda.is_available(),  # one kernel for all parameters; in host memory it is ten times as fast as the plain one
    )
    document = deepspeed_config(config, stage, accumulation, offload)
    if stage == 3:
        _holding_little(document, model)
    if stage > 0:
        # DeepSpeed makes the bucket as large as it may be, 1 GB, also for the gradients of small adapters
        document["zero_optimization"]["reduce_bucket_size"] = min(BUCKET, _size(parameters))
        return deepspeed.initialize(model=model, optimizer=optimizer, config=document)[0]
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # in bfloat16 DeepSpeed takes a step to make AdamW's state: it must not change the masters
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=document)
    optimizer.state.clear()  # nor count as one
    for group in optimizer.param_groups:
        group["lr"] = config.training.learning_rate
    engine.enable_backward_allreduce = dist.get_world_size() > 1  # alone it would copy all gradients, and copy them back
    if not document["bf16"]["enabled"]:
        _clip_and_tell(optimizer, config.training.clip)
    return engine


def _clip_and_tell(optimizer: torch.optim.Optimizer, clip: float) -> None:
    """Clip before each step, and leave the norm where the engine looks for it: its own clipping in float32 without ZeRO tells none."""

    def before(stepping: Any, *_: Any) -> None:
        parameters = [parameter for group in stepping.param_groups for parameter in group["params"]]
        stepping._global_grad_norm = torch.nn.utils.clip_grad_norm_(parameters, clip)

    optimizer.register_step_pre_hook(before)


def run_only(model: Any, config: TrainingConfig, offload: Offload) -> Any:
    """Give a model that was loaded inside `spreading` to DeepSpeed to be run, not trained."""
    import deepspeed

    engine, *_ = deepspeed.initialize(model=model, config=_holding_little(deepspeed_config(config, 3, 1, offload), model))
    engine.eval()
    return engine


def release(engine: Any) -> None:
    """Give back the memory of an engine that is of no more use.

    DeepSpeed remembers every model that it has seen, and at stage 3 its optimizer with it; so weights and masters are emptied one by one,
    and what that optimizer holds is let go.
    """
    parameters = list(engine.module.parameters())
    engine.destroy()
    optimizer = getattr(engine.optimizer, "optimizer", engine.optimizer)
    if isinstance(optimizer, torch.optim.Optimizer):  # an engine that only ran has none
        parameters += [parameter for group in optimizer.param_groups for parameter in group["params"]]
        optimizer.state.clear()
    vars(engine.optimizer).clear()  # masters, where the groups are empty between two steps, and the flat parts of weights and gradients
    for parameter in parameters:
        parameter.grad = None
        parameter.data = parameter.data.new_empty(0)
        if hasattr(parameter, "ds_tensor"):
            parameter.ds_tensor.data = parameter.ds_tensor.data.new_empty(0)
    hardware.tidy()


def deepspeed_config(config: TrainingConfig, stage: int, accumulation: int, offload: Offload = "none") -> dict[str, Any]:
    """DeepSpeed's own configuration document."""
    zero: dict[str, Any] = {"stage": stage}
    if offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if offload == "parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    half = choose_dtype(config.training.dtype) == torch.bfloat16
    return {
        "train_micro_batch_size_per_gpu": 1,  # only used for DeepSpeed's own counting; rows vary in length here
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": config.training.clip if stage or half else 0.0,  # else `start` clips
        "zero_optimization": zero,
        "bf16": {"enabled": half},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }


def _holding_little(document: dict[str, Any], model: Any) -> dict[str, Any]:
    """At stage 3 no more of a model stands whole than the planner counts: two layers, so that one that is computed twice is fetched once.

    DeepSpeed by itself keeps what is used again within a billion numbers: all weights of a small model, and a tenth of a large one.
    """
    layer = max(_size(layer.parameters()) for layer in decoder_layers(model))
    document["zero_optimization"] |= {"stage3_max_live_parameters": 2 * layer, "stage3_max_reuse_distance": 2 * layer}
    return document


def _size(parameters: Iterable[Any]) -> int:
    """How many numbers they have, whole."""
    return sum(int(getattr(parameter, "ds_numel", parameter.numel())) for parameter in parameters)


def trained_weights(engine: Any) -> dict[str, torch.Tensor]:
    """Copies of the trained parameters by name, whole on every rank, on the CPU."""
    import deepspeed

    found: dict[str, torch.Tensor] = {}
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
                found[name] = parameter.detach().to("cpu", copy=True)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
