"""A virtual warehouse."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from controller.api.base import Manifest, Scope, Spec


def _size(value: object) -> object:
    return re.sub(r"[\s_-]", "", value).upper() if isinstance(value, str) else value


WarehouseSize = Annotated[
    Literal["XSMALL", "SMALL", "MEDIUM", "LARGE", "XLARGE", "XXLARGE", "XXXLARGE", "X4LARGE", "X5LARGE", "X6LARGE"],
    BeforeValidator(_size, json_schema_input_type=str),
]


class WarehouseSpec(Spec):
    size: WarehouseSize = Field(default="XSMALL", description="`xsmall` to `x6large`; case, blanks and dashes do not matter.")
    auto_suspend: int = Field(default=600, ge=0, description="Seconds without a query until it suspends; 0: never.")
    auto_resume: bool = Field(default=True, description="Resume on the next query.")
    initially_suspended: bool = Field(default=True, description="Only looked at when the warehouse is created.")
    comment: str | None = None


class Warehouse(Manifest):
    """A virtual warehouse. Snowcat itself needs one only to load tables; jobs and services get the project's as QUERY_WAREHOUSE."""

    kind: Literal["Warehouse"]
    spec: WarehouseSpec = WarehouseSpec()
    scope: ClassVar[Scope] = Scope.ACCOUNT
