"""What containers take of a node, as Snowflake derives it from a specification: whole numbers, so that sums are exact.

Source: docs.snowflake.com, specification-reference (requests default to limits, and to 0.5 CPU and 0.5 GiB at least), stage volumes (a
sidecar with 0.5 GiB each).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.kinds.instance_families import Family

_HALF_CPU = 500
_HALF_GIB = 1 << 29
_FACTORS = {
    "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}  # fmt: skip
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")


@dataclass(frozen=True)
class Size:
    """`cpu` in thousandths of a core, `memory` in bytes."""

    cpu: int = 0
    memory: int = 0
    gpus: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.cpu + other.cpu, self.memory + other.memory, self.gpus + other.gpus)

    def __sub__(self, other: Size) -> Size:
        return Size(self.cpu - other.cpu, self.memory - other.memory, self.gpus - other.gpus)

    def holds(self, other: Size) -> bool:
        return other.cpu <= self.cpu and other.memory <= self.memory and other.gpus <= self.gpus

    def __str__(self) -> str:
        """`1.5 CPU, 4 GiB and 1 GPU`."""
        gpus = f" and {self.gpus} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else ""
        return f"{self.cpu / 1000:g} CPU, {self.memory / (1 << 30):.3g} GiB{gpus}"


DEFAULT = Size(_HALF_CPU, _HALF_GIB)
"""Of a container that asks for nothing; also assumed of what cannot be seen."""


def of_node(family: Family) -> Size:
    """What one node offers."""
    return Size(family.vcpu * 1000, family.memory_gib << 30, family.gpus)


def of_specification(document: Mapping[str, Any], node: Family | None = None) -> Size:
    """What one instance takes: all its containers, and the sidecars of its stage volumes.

    `document` is Snowflake's specification with its top-level key `spec`; what cannot be read counts as the default.
    """
    body = document.get("spec")
    parts = body if isinstance(body, Mapping) else {}
    total = Size()
    for container in _entries(parts, "containers"):
        total += of_resources(container.get("resources"), node)
    for volume in _entries(parts, "volumes"):
        total += _sidecar(volume)
    return total if total.cpu or total.memory else DEFAULT


def of_resources(resources: Any, node: Family | None = None) -> Size:
    """What one container takes: its requests; else its limits, as far as a node has so much, but not less than the default."""
    given = resources if isinstance(resources, Mapping) else {}
    requests, limits = (part if isinstance(part, Mapping) else {} for part in (given.get("requests"), given.get("limits")))
    whole = of_node(node) if node is not None else None
    cpu, memory = _cpu(requests.get("cpu")), _memory(requests.get("memory"))
    if cpu is None:
        cpu = max(_HALF_CPU, _cpu(limits.get("cpu")) or 0)
        cpu = min(cpu, whole.cpu) if whole is not None else cpu
    if memory is None:
        memory = max(_HALF_GIB, _memory(limits.get("memory")) or 0)
        memory = min(memory, whole.memory) if whole is not None else memory
    return Size(cpu, memory, _count(requests.get("nvidia.com/gpu")))


def _sidecar(volume: Mapping[str, Any]) -> Size:
    if volume.get("source") != "stage":
        return Size()
    config = volume.get("stageConfig")
    resources = config.get("resources") if isinstance(config, Mapping) else None
    requests = resources.get("requests") if isinstance(resources, Mapping) else None
    asked = requests if isinstance(requests, Mapping) else {}
    memory = _memory(asked.get("memory"))
    return Size(_cpu(asked.get("cpu")) or 0, _HALF_GIB if memory is None else memory)


def _entries(body: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = body.get(key)
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []


def _cpu(value: Any) -> int | None:
    """Thousandths of a core: `2`, `0.5` or `500m`."""
    match = _QUANTITY.fullmatch(str(value).strip()) if value is not None else None
    if match is None or match[2] not in ("", "m"):
        return None
    return round(float(match[1])) if match[2] else round(float(match[1]) * 1000)


def _memory(value: Any) -> int | None:
    """Bytes: `512Mi`, `4G`."""
    match = _QUANTITY.fullmatch(str(value).strip()) if value is not None else None
    return int(float(match[1]) * _FACTORS[match[2]]) if match is not None and match[2] in _FACTORS else None


def _count(value: Any) -> int:
    return int(value) if str(value).isdigit() else 0
