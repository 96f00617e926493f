"""What a node of each instance family offers, for sizing a job's containers and for the cost column of a plan.

Figures: the family pages of AWS, Azure and Google Cloud, 2026; credits per hour: Snowflake's consumption table of January 2026, where it
lists the family. An unknown family is no error: Snowflake adds some every year.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from controller.account.snapshot import Row, Show, Snapshot
from controller.api.compute_pool import ComputePoolSpec
from controller.api.objects import DesiredObject
from controller.manifests.files import field_location
from controller.manifests.nodes import dotted
from controller.manifests.problems import Problem, Severity


@dataclass(frozen=True)
class Family:
    """One node. `gpu` is the name of its GPUs, `gpu_memory_gib` what each has; `credits` per hour is None where no rate is published."""

    name: str
    vcpu: int
    memory_gib: int
    gpus: int = 0
    gpu_memory_gib: int = 0
    credits: float | None = None
    gpu: str = ""


_ALL = (
    Family("CPU_X64_XS", 1, 6, credits=0.06),
    Family("CPU_X64_S", 3, 13, credits=0.11),
    Family("CPU_X64_M", 6, 28, credits=0.22),
    Family("CPU_X64_SL", 14, 58, credits=0.41),
    Family("CPU_X64_L", 28, 116, credits=0.83),
    Family("HIGHMEM_X64_S", 6, 58, credits=0.28),
    Family("HIGHMEM_X64_M", 28, 240, credits=1.11),
    Family("HIGHMEM_X64_SL", 60, 492, credits=2.93),
    Family("HIGHMEM_X64_L", 124, 984, credits=4.44),
    *(
        Family(f"GEN_{arch}_{size}", cores, memory)
        for arch in ("X64_G2", "ARM_G1")
        for size, cores, memory in ((2, 1, 6), (4, 3, 13), (8, 6, 28), (16, 14, 58), (32, 28, 116))
    ),
    Family("MEM_X64_G2_8", 6, 58),
    Family("MEM_X64_G2_32", 28, 240),
    Family("MEM_X64_G2_64", 60, 492),
    Family("MEM_X64_G2_96", 92, 652),
    Family("MEM_X64_G2_192", 188, 1436),
    Family("GPU_NV_S", 6, 28, 1, 24, 0.57, gpu="A10G"),
    Family("GPU_NV_M", 44, 178, 4, 24, 2.68, gpu="A10G"),
    Family("GPU_NV_L", 92, 1112, 8, 40, 14.12, gpu="A100"),
    Family("GPU_L40S_G1_8", 6, 58, 1, 48, gpu="L40S"),
    Family("GPU_L40S_G1_16", 14, 116, 1, 48, gpu="L40S"),
    Family("GPU_L40S_G1_48", 44, 368, 4, 48, gpu="L40S"),
    Family("GPU_L40S_G1_192", 188, 1436, 8, 48, gpu="L40S"),
    Family("GPU_R6K_G1_8", 6, 58, 1, 96, gpu="RTX PRO 6000"),
    Family("GPU_R6K_G1_16", 14, 116, 1, 96, gpu="RTX PRO 6000"),
    Family("GPU_R6K_G1_32", 28, 240, 1, 96, gpu="RTX PRO 6000"),
    Family("GPU_R6K_G1_48", 44, 490, 2, 96, gpu="RTX PRO 6000"),
    Family("GPU_R6K_G1_96", 92, 984, 4, 96, gpu="RTX PRO 6000"),
    Family("GPU_R6K_G1_192", 188, 1843, 8, 96, gpu="RTX PRO 6000"),
    Family("GPU_NV_XS", 3, 26, 1, 16, 0.25, gpu="T4"),
    Family("GPU_NV_SM", 32, 424, 1, 24, 1.70, gpu="A10"),
    Family("GPU_NV_2M", 68, 858, 2, 24, 3.50, gpu="A10"),
    Family("GPU_NV_3M", 44, 424, 2, 80, 3.55, gpu="A100"),
    Family("GPU_NV_SL", 92, 858, 4, 80, 13.50, gpu="A100"),
    Family("GPU_GCP_NV_L4_1_24G", 6, 28, 1, 24, 0.43, gpu="L4"),
    Family("GPU_GCP_NV_L4_4_24G", 44, 178, 4, 24, 1.94, gpu="L4"),
    Family("GPU_A100_G1_12", 10, 77, 1, 40, gpu="A100"),
    Family("GPU_A100_G1_48", 44, 324, 4, 40, gpu="A100"),
    Family("GPU_GCP_NV_A100_8_40G", 92, 654, 8, 40, 11.68, gpu="A100"),
)

FAMILIES = {family.name: family for family in _ALL}

SHOWN = Show("COMPUTE POOL INSTANCE FAMILIES")
"""What the account itself says of them."""


def family(name: str) -> Family | None:
    """The family of a name in any case, None for one that this table does not know."""
    return FAMILIES.get(name.upper())


def family_shown(name: str, snapshot: Snapshot) -> Family | None:
    """The family as the account describes it where it was asked, else as the table here does."""
    row = next((row for row in _rows(snapshot) if str(row.get("name", "")).upper() == name.upper()), None)
    return (_from_row(row) if row is not None else None) or family(name)


def families_shown(snapshot: Snapshot) -> list[Family]:
    """All that the account offers; where it was not asked, all that the table here knows."""
    return [found for row in _rows(snapshot) if (found := _from_row(row)) is not None] or list(_ALL)


def _rows(snapshot: Snapshot) -> Sequence[Row]:
    return snapshot.rows(SHOWN) if snapshot.asked(SHOWN) else ()


def _from_row(row: Row) -> Family | None:
    """One row of SHOW; what it leaves out is as in the table. None for one without a size."""
    name = str(row.get("name", "")).upper()
    vcpu, memory, gpus, each = (_whole(row.get(column)) for column in ("vcpu", "memory_gib", "gpu_count", "gpu_memory_gib"))
    if not vcpu or not memory:
        return None
    known = family(name) or Family(name, vcpu, memory)
    gpu = str(row.get("gpu") or known.gpu)
    return replace(known, vcpu=vcpu, memory_gib=memory, gpus=gpus, gpu_memory_gib=each or known.gpu_memory_gib, gpu=gpu)


def unknown_families(objects: Iterable[DesiredObject], snapshot: Snapshot | None = None) -> Iterator[Problem]:
    """A warning for each family of a pool that the account does not list; where none was asked, that the table here does not know."""
    rows = snapshot.rows(SHOWN) if snapshot is not None and snapshot.asked(SHOWN) else ()
    known = {str(row.get("name", "")).upper() for row in rows} or FAMILIES.keys()
    says = "the account has no family" if rows else "unknown family"
    for obj in objects:
        spec = obj.manifest.spec
        if not isinstance(spec, ComputePoolSpec):
            continue
        named: list[tuple[tuple[str | int, ...], str]] = [(("spec", "instanceFamily"), spec.instance_family)]
        named += [(("spec", "backupInstanceFamilies", place), name) for place, name in enumerate(spec.backup_instance_families)]
        for path, name in named:
            if name not in known:
                near = get_close_matches(name, sorted(known), n=3, cutoff=0.75)
                advice = f"did you mean {' or '.join(near)}?" if near else "SHOW COMPUTE POOL INSTANCE FAMILIES lists those of the account"
                place = field_location(obj.location, path)
                yield Problem(place, f"{says} {name!r}", advice, dotted(path), obj.key, Severity.WARNING)


def _whole(value: Any) -> int:
    try:
        return int(float(value or 0))
    except (TypeError, ValueError):
        return 0
