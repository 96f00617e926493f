"""A schema of a database."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from controller.api.base import Manifest, Scope
from controller.api.database import ContainerSpec


class SchemaSpec(ContainerSpec):
    managed_access: bool = Field(default=False, description="Whether only the schema's owner gives privileges on what is inside.")


class Schema(Manifest):
    """A schema; `metadata.database` names its database. It is dropped only when nothing foreign is left inside."""

    kind: Literal["Schema"]
    spec: SchemaSpec = SchemaSpec()
    scope: ClassVar[Scope] = Scope.DATABASE
    holds_data: ClassVar[bool] = True
