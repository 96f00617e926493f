"""A database."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from controller.api.base import Manifest, Scope, Spec


class DatabaseSpec(Spec):
    comment: str | None = None
    data_retention_days: int | None = Field(
        default=None, ge=0, le=90, description="Days of time travel; the account's default when not set."
    )


class Database(Manifest):
    """A database. It is dropped only when nothing foreign is left inside."""

    kind: Literal["Database"]
    spec: DatabaseSpec = DatabaseSpec()
    scope: ClassVar[Scope] = Scope.ACCOUNT
    holds_data: ClassVar[bool] = True
