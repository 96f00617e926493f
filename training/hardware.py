"""What this rank computes on: its name, its number format, its memory, and how fast it could be."""

from __future__ import annotations

import gc
import os
import platform
from pathlib import Path

import torch
import torch.distributed as dist

from training import progress
from training.config import Dtype, TrainingConfig
from training.planner import Choice, Rows, Task, choose
from training.planner.calibration import Calibration
from training.planner.machine import HOST_MEMORY, Machine, chip, known_chip
from training.planner.shape import Shape
from training.planner.speed import flops_per_token

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BF16_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
CALIBRATION = "SNOWCAT_CALIBRATION"  # an environment variable, so that it is no part of the configuration and of the run's identity


def name() -> str:
    """The GPU's name, or the CPU's architecture and core count."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU {platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def computes_in_bfloat16() -> bool:
    """Whether bfloat16 is faster than float32 here: a GPU that has it, or a CPU with AVX512-BF16 or AMX."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
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


def peak_memory() -> int:
    """The most that this rank has held so far, in bytes: on its GPU where it has one, else of its process."""
    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else progress.peak_memory()


def ranks_here() -> int:
    """How many ranks share this node; all of them where nobody says it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size()))


def host_memory() -> float:
    """Bytes of this node's memory that this run may take: what there is, or the limit that the launcher knows of."""
    there_is = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(there_is, float(os.environ.get(HOST_MEMORY, there_is)))


def free_host_memory() -> float:
    """The same without what others have taken already."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return min(free, host_memory())


def free_gpu_memory() -> int:
    """Bytes of this rank's GPU that can still be taken: nobody's, or held by torch for nothing."""
    return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())


def least(here: float) -> float:
    """The smallest over all ranks, which must all call this."""
    found = torch.tensor(here, dtype=torch.float64, device=device())
    dist.all_reduce(found, op=dist.ReduceOp.MIN)
    return float(found)


def tidy() -> None:
    """Give back what nothing needs: a model refers to itself, so its memory would not be free when the next one is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def machine() -> Machine:
    """All nodes of this run, each taken to be as small as the smallest; a rank has one GPU, and not every GPU need have a rank.

    All ranks must call this: they plan with the same figures, since at stage 3 a rank that checkpoints other layers would wait for ever.
    """
    world, ranks = dist.get_world_size(), ranks_here()
    return Machine(
        name="this node",
        ranks=ranks,
        nodes=-(-world // ranks),
        host_memory=least(host_memory()),
        cores=least(len(os.sched_getaffinity(0))),
        gpu_memory=least(torch.cuda.mem_get_info()[1]),
        gpu=chip(torch.cuda.get_device_name()),
        half=computes_in_bfloat16(),
    )


def calibration() -> Calibration | None:
    """What a probe has measured on nodes like this one, as the controller told it with the job; None for other hardware."""
    found = Calibration.parse(os.environ.get(CALIBRATION, ""))
    return found if found is not None and found.device == name() else None


def planned(config: TrainingConfig, base: Path, rows: Rows) -> Choice | None:
    """What the planner makes of a configuration on these nodes; None for a model without formulas. All ranks must call this."""
    shape = Shape.read(base)
    if shape is None:
        return None
    return choose(Task(shape, config.method, config.deepspeed, config.training, rows), machine(), calibration())


def share_of_peak(base: Path, world: int, document: float, *, full: bool) -> float | None:
    """MFU of one token a second: FLOPs of a token over the FLOP/s that the data sheets promise for all GPUs together.

    None on a CPU, whose peak nobody states, for a GPU that is not in the table and for a model without formulas.
    `document` is the mean length of a row in tokens.
    """
    known = known_chip(name()) if torch.cuda.is_available() else None
    shape = Shape.read(base)
    return None if known is None or shape is None else flops_per_token(shape, full, document) / (known.peak * world)
