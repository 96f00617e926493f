"""A schema of a database."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from controller.api.base import Manifest, Scope, Spec


class SchemaSpec(Spec):
    comment: str | None = None
    data_retention_days: int | None = Field(
        default=None, ge=0, le=90, description="Days of time travel; the database's default when not set."
    )


class Schema(Manifest):
    """A schema; `metadata.database` names its database. It is dropped only when nothing foreign is left inside."""

    kind: Literal["Schema"]
    spec: SchemaSpec = SchemaSpec()
    scope: ClassVar[Scope] = Scope.DATABASE
    holds_data: ClassVar[bool] = True
