"""The links between ranks, tried once they have met and before a model is loaded.

The nodes have already reached each other (container.preflight); here the libraries that the training uses do: a sum of
one number shows that all ranks take part, a large sum shows how fast they exchange gradients.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.distributed as dist

from training.errors import TrainingError
from training.hardware import device

SECONDS = 60
LARGE_GPU, LARGE_CPU = 64 << 20, 2 << 20  # bytes; on a CPU the tests would wait for more


class LinkError(TrainingError):
    """The ranks cannot exchange tensors; the job may be tried again."""


def check(say: Callable[[str], None]) -> None:
    """Sum a small and a large tensor over all ranks, where they are on several nodes. All ranks must call this.

    Raises LinkError after a minute.
    """
    world = dist.get_world_size()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if world == here:
        return
    rank = dist.get_rank()
    size = LARGE_GPU if torch.cuda.is_available() else LARGE_CPU
    # beside this thread: libraries may wait without end for ranks that they cannot reach, and NCCL ends the process when its own time is up
    trying = ThreadPoolExecutor(max_workers=1)
    try:
        sums, seconds = trying.submit(_sums, device(), size).result(timeout=SECONDS)
    except (TimeoutError, RuntimeError) as error:
        why = str(error) or f"there was no sum after {SECONDS} s"
        raise LinkError(
            f"rank {rank} (node {rank // here}) cannot exchange tensors with the other nodes: {why.splitlines()[0]}; the ports "
            "that NCCL and Gloo take (32768-60999) must be declared as a TCP endpoint"
        ) from error
    finally:
        trying.shutdown(wait=False)
    if sums != [world] + [world * (world - 1) / 2] * 2:
        raise LinkError(f"rank {rank} (node {rank // here}) got wrong sums over {world} ranks: {sums}")
    # each byte goes out and comes back once, but for a rank's own share: the usual measure of an all_reduce
    speed = 2 * (world - 1) / world * size / seconds
    say(f"{world} ranks on {world // here} nodes sum {size >> 20} MiB at {speed / 1e6:.0f} MB/s")


def _sums(place: torch.device, size: int) -> tuple[list[float], float]:
    """(the number of ranks, and twice the sum of their numbers; how many seconds the large tensor took)."""
    group, ones = dist.new_group(), torch.ones(1, device=place)
    dist.all_reduce(ones, group=group)
    large = torch.full((size // 4,), float(dist.get_rank()), device=place)
    started = time.monotonic()
    dist.all_reduce(large, group=group)
    sums = [float(ones), float(large[0]), float(large[-1])]  # reading them waits for the device
    return sums, time.monotonic() - started


def agree(what: str, value: str) -> None:
    """Make sure that all ranks have found the same. All ranks must call this. Raises LinkError."""
    found: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(found, value)
    other = next((rank for rank, text in enumerate(found) if text != found[0]), None)
    if other is not None:
        raise LinkError(f"rank {other} has other {what} than rank 0 ({found[other][:12]}, {found[0][:12]}): did they change meanwhile?")
