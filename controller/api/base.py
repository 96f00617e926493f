"""What every manifest shares: the envelope (apiVersion, kind, metadata, spec), the rule about unknown fields, and typed references.

A kind is one module beside this one: a `Spec`, and a `Manifest` subclass that names it. No I/O here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

API_VERSION = "snowcat/v1"


class Model(BaseModel):
    """Base of every part of a manifest: camelCase in YAML, unknown fields refused, immutable once read."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    renamed: ClassVar[Mapping[str, str]] = {}
    """Names that a field had elsewhere or earlier → what to write today, for the message about an unknown field."""


class Scope(StrEnum):
    """Where an object lives, and so how many parts its full name has."""

    ACCOUNT = "account"
    DATABASE = "database"
    SCHEMA = "schema"


@dataclass(frozen=True)
class Ref:
    """Marks a string field as the name of another object: `pool: Annotated[str, Ref("ComputePool")]`.

    A name is looked up in the object's own schema first, then in the project; `db.schema.name` says it exactly. Objects that the project
    does not declare may be referred to only if `snowcat.yaml` lists them under `existing`.

    `kind` is `SIBLING` where the field `kind` beside it names the kind. An image written as a path (`/db/schema/repo/image:tag`) is not a
    reference. With `path` the field holds `@name/folder`: a stage of the project is a reference, any other is taken as it is written.
    """

    kind: str
    path: bool = False


SIBLING = "*"


@dataclass(frozen=True)
class LocalPath:
    """Marks a string field as a file or folder, relative to the manifest's own file; with `glob` a pattern that must match."""

    glob: bool = False


class ManagementPolicy(StrEnum):
    FULL = "full"  # create, correct and delete
    OBSERVE = "observe"  # report only
    ORPHAN = "orphan"  # create and correct, never delete


class DeletionPolicy(StrEnum):
    DELETE = "delete"
    ORPHAN = "orphan"


class Replace(StrEnum):
    NEVER = "never"
    ALLOWED = "allowed"


class Metadata(Model):
    """Who an object is and how it is treated, the same for all kinds."""

    name: str
    schema_: Annotated[str | None, Field(alias="schema")] = None  # `database.schema`, for kinds that live in one
    database: str | None = None  # for a Schema
    labels: dict[str, str] = {}
    depends_on: list[str] = []  # `Kind/name`, beyond what the spec refers to
    suspend: bool = False  # leave the object as it is, report only, until this is false again
    management_policy: ManagementPolicy = ManagementPolicy.FULL
    adopt: bool = False  # take over an object that exists and carries no mark of this project
    deletion_policy: DeletionPolicy | None = None  # None: `orphan` for kinds that hold data, else `delete`
    replace: Replace = Replace.NEVER  # may it be dropped and made again where Snowflake cannot change a field in place
    ignore: list[str] = []  # spec fields that others may change

    @field_validator("ignore")
    @classmethod
    def _within_spec(cls, paths: list[str]) -> list[str]:
        return [path.removeprefix("spec.") for path in paths]


class Spec(Model):
    """Base of the `spec` of a kind."""

    @field_validator("comment", check_fields=False)
    @classmethod
    def _storable(cls, value: str | None) -> str | None:
        if value is not None and "\0" in value:
            raise ValueError("a comment cannot hold a NUL character")
        return value


class Manifest(Model):
    """One object as the user wants it. Subclasses set `kind` and `spec` and the class facts below."""

    api_version: Literal["snowcat/v1"]
    kind: str
    metadata: Metadata
    spec: Any

    scope: ClassVar[Scope]
    holds_data: ClassVar[bool] = False  # dropping it loses what cannot be made again from the manifests
    bare_name: ClassVar[bool] = False  # Snowflake takes only an unquoted name for it
    seen_beside: ClassVar[tuple[str, ...]] = ()  # what may differ without being a field of the spec, for metadata.ignore
    uses_warehouse: ClassVar[bool] = False  # loads rows, or gives the project's warehouse to its containers

    @property
    def keeps_data(self) -> bool:
        """Whether dropping this very object loses what cannot be made again; kinds may look at their spec."""
        return self.holds_data

    @property
    def deletion_policy(self) -> DeletionPolicy:
        chosen = self.metadata.deletion_policy
        if chosen is not None:
            return chosen
        return DeletionPolicy.ORPHAN if self.keeps_data else DeletionPolicy.DELETE
