"""Nodes that containers run on."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from controller.api.base import Manifest, Scope, Spec
from controller.api.parts import Name

# Names of the 2023/24 preview and the families that took their place. Source: public examples of both times; none is accepted today.
PREVIEW_FAMILIES = {
    "STANDARD_1": "CPU_X64_XS",
    "STANDARD_2": "CPU_X64_S",
    "STANDARD_3": "CPU_X64_M",
    "STANDARD_4": "CPU_X64_SL",
    "STANDARD_5": "CPU_X64_L",
    "HIGH_MEMORY_1": "HIGHMEM_X64_S",
    "HIGH_MEMORY_2": "HIGHMEM_X64_M",
    "HIGH_MEMORY_3": "HIGHMEM_X64_L",
    "GPU_3": "GPU_NV_S",
    "GPU_5": "GPU_NV_S",
    "GPU_7": "GPU_NV_M",
    "GPU_10": "GPU_NV_L",
}


def _family(value: str) -> str:
    name = value.upper()
    if name in PREVIEW_FAMILIES:
        raise ValueError(
            f"{value} is a name of the 2024 preview; today's is {PREVIEW_FAMILIES[name]} (SHOW COMPUTE POOL INSTANCE FAMILIES lists all)"
        )
    if not re.fullmatch(r"[A-Z][A-Z0-9_]+", name):
        raise ValueError(f"{value!r} is not an instance family: CPU_X64_XS, GPU_NV_S … (SHOW COMPUTE POOL INSTANCE FAMILIES lists all)")
    return name


MOST_NODES = 2**31 - 1  # Snowflake names no limit beside the account's quota; what fits no integer is a slip of the hand
InstanceFamily = Annotated[str, AfterValidator(_family)]


class ComputePoolSpec(Spec):
    instance_family: InstanceFamily = Field(description="Kind of node: `CPU_X64_XS`, `GPU_NV_S` …")
    min_nodes: int = Field(default=1, ge=1, description="Nodes that are kept while the pool is not suspended.")
    max_nodes: int = Field(default=1, ge=1, le=MOST_NODES, description="Nodes at most.")
    application: Name | None = Field(default=None, description="Native app that has the pool for itself. Cannot be changed later.")
    auto_suspend_seconds: int = Field(default=3600, ge=0, description="Seconds without a service or job until it suspends; 0: never.")
    auto_resume: bool = Field(default=True, description="Resume when a service or job is submitted.")
    idle: Literal["suspend"] | None = Field(
        default=None, description="`suspend`: at once when nothing is left to run, and resumed when something wants to; made suspended."
    )
    initially_suspended: bool = Field(default=False, description="Only looked at when the pool is created.")
    placement_group: str | None = Field(default=None, description="Availability zone, or `DISTRIBUTED`; changed only while suspended.")
    backup_instance_families: list[InstanceFamily] = Field(
        default=[], description="Families to use when the first has no capacity, in this order."
    )
    comment: str | None = None

    @field_validator("max_nodes")
    @classmethod
    def _not_under_min(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("min_nodes", 1)
        if value < least:
            raise ValueError(f"minNodes ({least}) is over maxNodes ({value})")
        return value

    @model_validator(mode="after")
    def _enough_at_least(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"minNodes ({self.min_nodes}) is over maxNodes ({self.max_nodes}, the default): set maxNodes too")
        return self

    @field_validator("backup_instance_families")
    @classmethod
    def _other_families(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if len(set(value)) != len(value) or info.data.get("instance_family") in value:
            raise ValueError("a family may stand here once, and not the pool's own instanceFamily")
        return value


class ComputePool(Manifest):
    """Nodes that services and jobs run on."""

    kind: Literal["ComputePool"]
    spec: ComputePoolSpec
    scope: ClassVar[Scope] = Scope.ACCOUNT
    bare_name: ClassVar[bool] = True
    seen_beside: ClassVar[tuple[str, ...]] = ("suspended",)
