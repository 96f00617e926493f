"""What a job runs on: memory, how fast it multiplies, how fast its parts talk, and what an hour of it costs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

GIB = float(1 << 30)
HOST_MEMORY = "SNOWCAT_HOST_MEMORY"
"""An environment variable: bytes of its node's memory that a run may take, where that is not all."""


@dataclass(frozen=True)
class Chip:
    """A GPU by its name. `peak`: dense bfloat16 FLOP/s of the data sheet; `link`: bytes/s to its neighbours in the same node."""

    peak: float
    link: float
    error_correction: bool = False  # GDDR cards keep a sixteenth of their memory for it
    half: bool = True  # it multiplies in bfloat16


_NVLINK, _PCIE = 200e9, 12e9
CHIPS = {
    "H200": Chip(989e12, _NVLINK),
    "H100": Chip(989e12, _NVLINK),
    "A100": Chip(312e12, _NVLINK),
    "R6K": Chip(500e12, 25e9),
    "RTX PRO 6000": Chip(500e12, 25e9),
    "L40S": Chip(362e12, _PCIE, error_correction=True),
    "L4": Chip(121e12, _PCIE, error_correction=True),
    "A10G": Chip(70e12, _PCIE, error_correction=True),  # half of what an A10 multiplies in bfloat16
    "A10": Chip(125e12, _PCIE, error_correction=True),
    "T4": Chip(8e12, _PCIE, error_correction=True, half=False),  # float32 is what remains
}
UNKNOWN_CHIP = Chip(70e12, _PCIE, error_correction=True)
BETWEEN_NODES = 5e9  # bytes/s; 40 Gb/s Ethernet, since no faster network is documented
CPU_RATE = 55e9
"""FLOP/s of one core in float32, from 109 trained tokens/s of a model of 135 million parameters on one core of a Zen 4."""
_SYSTEM = 0.5 * GIB  # of a node's memory that a container does not get


def known_chip(name: str) -> Chip | None:
    """The entry that the name contains, such as `A10G` in `NVIDIA A10G`."""
    text = re.sub(r"[^A-Z0-9]+", " ", name.upper())
    return next((found for known, found in CHIPS.items() if re.search(rf"\b{known}\b", text)), None)


def chip(name: str) -> Chip:
    """The same; a slow one for a name that is not known."""
    return known_chip(name) or UNKNOWN_CHIP


@dataclass(frozen=True)
class Machine:
    """Nodes of one sort. Memory in bytes; `gpu_memory` is what one GPU can use, 0 where the ranks compute on the CPU."""

    name: str
    ranks: int  # processes on a node: one for each GPU
    nodes: int
    host_memory: float  # of one node
    cores: float  # of one node
    gpu_memory: float = 0.0
    gpu: Chip | None = None
    credits: float | None = None  # an hour of one node; None where no rate is published
    half: bool = False  # it multiplies in bfloat16, so that this is what `dtype: auto` means

    @classmethod
    def with_gpus(
        cls, name: str, gpu: str, gpu_gib: float, gpus: int, host_gib: float, cores: float, *, nodes: int = 1, credits: float | None = None
    ) -> Machine:
        """`gpu_gib` is the size in the data sheet, as SHOW COMPUTE POOL INSTANCE FAMILIES has it; what is usable is a little less."""
        found = chip(gpu)
        usable = gpu_gib * GIB * (0.92 if found.error_correction else 0.985)
        return cls(name, gpus, nodes, host_gib * GIB - _SYSTEM, cores, usable, found, credits, half=found.half)

    @classmethod
    def with_cores(
        cls, name: str, cores: float, host_gib: float, *, ranks: int = 1, nodes: int = 1, credits: float | None = None
    ) -> Machine:
        """Without GPUs: the ranks share cores and memory of their node."""
        return cls(name, ranks, nodes, host_gib * GIB - _SYSTEM, cores, credits=credits)

    @property
    def has_gpu(self) -> bool:
        return self.gpu is not None

    @property
    def world(self) -> int:
        return self.ranks * self.nodes

    @property
    def peak(self) -> float:
        """FLOP/s of one rank at best: of the GPU's data sheet, or measured on the cores that a rank has."""
        return self.gpu.peak if self.gpu is not None else CPU_RATE * self.cores / self.ranks

    @property
    def link(self) -> float:
        """Bytes/s between ranks."""
        return BETWEEN_NODES if self.nodes > 1 else self.gpu.link if self.gpu is not None else _PCIE

    def times(self, nodes: int) -> Machine:
        """The same with another number of nodes."""
        return replace(self, nodes=nodes)

    def __str__(self) -> str:
        nodes = f"{self.nodes} nodes of " if self.nodes > 1 else ""
        each = f"{self.ranks} GPU{'s' if self.ranks > 1 else ''}" if self.has_gpu else f"{self.cores:g} cores"
        return f"{nodes}{self.name} ({each})"
