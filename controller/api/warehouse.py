"""A virtual warehouse."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from controller.api.base import Manifest, Scope, Spec
from controller.api.parts import Name


def size_word(text: str) -> str:
    """A size as statements take it: `X-Small` and `4X-Large`, as SHOW has them, are `XSMALL` and `X4LARGE`."""
    word = re.sub(r"[\s_-]", "", text).upper()
    word = {"2XLARGE": "XXLARGE", "X2LARGE": "XXLARGE", "3XLARGE": "XXXLARGE", "X3LARGE": "XXXLARGE"}.get(word, word)
    return re.sub(r"^([4-6])X", r"X\1", word)


def _size(value: object) -> object:
    return size_word(value) if isinstance(value, str) else value


def _word(value: object) -> object:
    return re.sub(r"[\s_]", "-", value.strip()).upper() if isinstance(value, str) else value


def _number(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


WarehouseSize = Annotated[
    Literal["XSMALL", "SMALL", "MEDIUM", "LARGE", "XLARGE", "XXLARGE", "XXXLARGE", "X4LARGE", "X5LARGE", "X6LARGE"],
    BeforeValidator(_size, json_schema_input_type=str),
]
WarehouseType = Annotated[
    Literal["STANDARD", "SNOWPARK-OPTIMIZED", "ADAPTIVE", "INTERACTIVE"], BeforeValidator(_word, json_schema_input_type=str)
]
ScalingPolicy = Annotated[Literal["STANDARD", "ECONOMY"], BeforeValidator(_word, json_schema_input_type=str)]
Generation = Annotated[Literal["1", "2"], BeforeValidator(_number, json_schema_input_type=str | int)]
Constraint = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class WarehouseSpec(Spec):
    type: WarehouseType = Field(default="STANDARD", description="A change suspends the warehouse for a moment.")
    size: WarehouseSize = Field(
        default="XSMALL", description="`xsmall` to `x6large`; case, blanks and dashes do not matter. An ADAPTIVE one has no size."
    )
    min_clusters: int = Field(default=1, ge=1, le=10, description="Clusters that always run.")
    max_clusters: int = Field(default=1, ge=1, le=10, description="Clusters at most; more than 1 needs the Enterprise edition.")
    scaling_policy: ScalingPolicy = Field(default="STANDARD", description="How eagerly clusters are added.")
    auto_suspend: int = Field(default=600, ge=0, description="Seconds without a query until it suspends; 0: never.")
    auto_resume: bool = Field(default=True, description="Resume on the next query.")
    initially_suspended: bool = Field(default=True, description="Only looked at when the warehouse is created.")
    resource_monitor: Name | None = Field(default=None, description="Monitor that limits its credits; left to others when not set.")
    query_acceleration: bool = Field(default=False, description="Whether the query acceleration service may help.")
    query_acceleration_max_scale_factor: int = Field(default=8, ge=0, le=100, description="0: no limit.")
    resource_constraint: Constraint | None = Field(
        default=None, description="Memory and processor, such as `MEMORY_16X`; Snowflake's own choice when not set."
    )
    generation: Generation | None = Field(default=None, description="Generation of a standard warehouse; the region's when not set.")
    max_concurrency_level: int | None = Field(default=None, ge=1, description="Queries at once; the account's when not set.")
    statement_queued_timeout_seconds: int | None = Field(default=None, ge=0, description="The account's when not set; 0: never.")
    statement_timeout_seconds: int | None = Field(
        default=None, ge=0, le=604800, description="The account's when not set; 0: the longest there is."
    )
    max_query_performance_level: WarehouseSize | None = Field(default=None, description="For type ADAPTIVE.")
    query_throughput_multiplier: int | None = Field(default=None, ge=0, description="For type ADAPTIVE.")
    comment: str | None = None

    @model_validator(mode="after")
    def _clusters_in_order(self) -> Self:
        if self.min_clusters > self.max_clusters:
            raise ValueError(f"minClusters ({self.min_clusters}) is over maxClusters ({self.max_clusters})")
        return self

    @model_validator(mode="after")
    def _fits_the_type(self) -> Self:
        fixed = {"size", "min_clusters", "max_clusters", "scaling_policy", "query_acceleration", "query_acceleration_max_scale_factor"}
        adaptive = {"max_query_performance_level", "query_throughput_multiplier"}
        wrong = (fixed if self.type == "ADAPTIVE" else adaptive) & {
            name for name in self.model_fields_set if getattr(self, name) is not None
        }
        if wrong:
            names = ", ".join(sorted(type(self).model_fields[name].alias or name for name in wrong))
            raise ValueError(f"{names}: not for a warehouse of type {self.type}")
        if self.type != "STANDARD" and self.generation is not None:
            raise ValueError(f"generation: not for a warehouse of type {self.type}")
        return self


class Warehouse(Manifest):
    """A virtual warehouse. Snowcat itself needs one only to load tables; jobs and services get the project's as QUERY_WAREHOUSE."""

    kind: Literal["Warehouse"]
    spec: WarehouseSpec = WarehouseSpec()
    scope: ClassVar[Scope] = Scope.ACCOUNT
