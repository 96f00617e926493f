"""A database."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import Manifest, Scope, Spec

LogLevel = Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF"]


class ContainerSpec(Spec):
    """What a database and a schema have in common. What is not set is inherited: from the account, or from the database."""

    transient: bool = Field(default=False, description="Without fail-safe. Cannot be changed later.")
    data_retention_days: int | None = Field(default=None, ge=0, le=90, description="Days of time travel; inherited when not set.")
    max_data_extension_days: int | None = Field(
        default=None, ge=0, le=90, description="Days by which time travel may be prolonged for streams; inherited when not set."
    )
    default_ddl_collation: str | None = Field(default=None, min_length=1, description="Collation of new columns, such as `en-ci`.")
    log_level: LogLevel | None = Field(default=None, description="Severity of messages that are kept; inherited when not set.")
    comment: str | None = None

    @model_validator(mode="after")
    def _little_time_travel(self) -> Self:
        if self.transient and (self.data_retention_days or 0) > 1:
            raise ValueError(f"dataRetentionDays ({self.data_retention_days}) is over 1, which is the most where transient is true")
        return self


class DatabaseSpec(ContainerSpec):
    pass


class Database(Manifest):
    """A database. It is dropped only when nothing foreign is left inside."""

    kind: Literal["Database"]
    spec: DatabaseSpec = DatabaseSpec()
    scope: ClassVar[Scope] = Scope.ACCOUNT
    holds_data: ClassVar[bool] = True
