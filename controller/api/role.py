"""A role of the account, what it may do, and who has it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from controller.api.base import SIBLING, Manifest, Model, Ref, Scope, Spec
from controller.api.parts import Name


def _privilege(value: str) -> str:
    text = " ".join(value.split()).upper()
    if text in ("ALL", "ALL PRIVILEGES"):
        raise ValueError(
            "ALL is not a privilege: list the ones that are needed, since Snowflake expands ALL once and shows single ones ever after"
        )
    return text


Privilege = Annotated[str, AfterValidator(_privilege)]


class GrantTarget(Model):
    """An object that privileges are granted on."""

    kind: str = Field(description="Kind of the object: `Database`, `Schema`, `ComputePool` …")
    name: Annotated[str, Ref(SIBLING)] = Field(description="Its name.")


class Privileges(Model):
    """Privileges of the role on one thing."""

    on: Literal["account"] | GrantTarget = Field(description="`account`, or `{kind: …, name: …}`.")
    privileges: list[Privilege] = Field(min_length=1, description="As GRANT takes them: `CREATE COMPUTE POOL`, `USAGE` …")


class Grantees(Model):
    """Who has the role."""

    roles: list[Annotated[str, Ref("Role")]] = Field(default=[], description="Roles that inherit this one.")
    users: list[Name] = Field(default=[], description="Users that may use it.")


class RoleSpec(Spec):
    comment: str | None = None
    privileges: list[Privileges] = Field(default=[], description="What the role may do; on the account and on objects of others.")
    granted_to: Grantees = Field(default=Grantees(), description="Who has the role.")


class Role(Manifest):
    """A role with its grants. What only an administrator may do is printed by `snowcat bootstrap`."""

    kind: Literal["Role"]
    spec: RoleSpec = RoleSpec()
    scope: ClassVar[Scope] = Scope.ACCOUNT
