"""A role of the account, what it may do, and who has it."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from controller.api.base import SIBLING, Manifest, Model, Ref, Scope, Spec
from controller.api.names import QualifiedName
from controller.api.parts import Name

ALL = "ALL"
_FUNCTION = re.compile(r"(?P<name>[^()]+)\((?P<types>[A-Za-z0-9_ ,]*)\)")

EVERY: dict[str, tuple[str, ...]] = {
    "Warehouse": ("MODIFY", "MONITOR", "OPERATE", "USAGE"),
    "ComputePool": ("MODIFY", "MONITOR", "OPERATE", "USAGE"),
    "ImageRepository": ("READ", "WRITE"),
    "Stage": ("READ", "WRITE"),
    "Secret": ("READ", "USAGE"),
    "Service": ("MONITOR", "OPERATE", "USAGE"),
    "ExternalAccessIntegration": ("USAGE",),
    "SecurityIntegration": ("USAGE",),
}
"""What ALL stands for, where that is little and known. Snowflake expands it once and shows single privileges ever after."""


def _privilege(value: str) -> str:
    text = " ".join(value.split()).upper()
    if text == "OWNERSHIP":
        raise ValueError("OWNERSHIP comes with creating an object; hand it over by hand where another role should have it")
    return ALL if text == "ALL PRIVILEGES" else text


Privilege = Annotated[str, AfterValidator(_privilege)]


class GrantTarget(Model):
    """An object that privileges are granted on."""

    kind: str = Field(description="Kind of the object: `Database`, `Schema`, `ComputePool` …")
    name: Annotated[str, Ref(SIBLING)] = Field(description="Its name.")


class FunctionTarget(Model):
    """A function that privileges are granted on."""

    function: str = Field(description="Full name with the types of its arguments: `db.schema.predict(varchar, number)`.")

    @property
    def parts(self) -> tuple[QualifiedName, tuple[str, ...]]:
        """Name and types."""
        match = _FUNCTION.fullmatch(self.function.strip())
        name = QualifiedName.parse(match["name"].strip()) if match else None
        if match is None or name is None or len(name.parts) != 3:
            raise ValueError(f"{self.function!r} is not database.schema.name(type, type)")
        return name, tuple(part.strip().upper() for part in match["types"].split(",") if part.strip())

    @model_validator(mode="after")
    def _readable(self) -> Self:
        _ = self.parts
        return self


class Container(Model):
    kind: Literal["Schema", "Database"]
    name: Annotated[str, Ref(SIBLING)] = Field(description="Its name.")


class FutureTarget(Model):
    """Objects that are yet to be made."""

    future: Annotated[str, Field(pattern=r"^[A-Za-z]+( [A-Za-z]+)*$")] = Field(description="What, in the plural: `services`, `tables` …")
    in_: Container = Field(alias="in", description="Where: `{kind: Schema, name: …}`.")


class Privileges(Model):
    """Privileges of the role on one thing."""

    on: Literal["account"] | GrantTarget | FunctionTarget | FutureTarget = Field(
        description="`account`, `{kind: …, name: …}`, `{function: …}`, or `{future: services, in: {kind: Schema, name: …}}`."
    )
    privileges: list[Privilege] = Field(
        min_length=1, description="As GRANT takes them: `CREATE COMPUTE POOL`, `USAGE` … `ALL` where its few are known."
    )
    grant_option: bool = Field(default=False, description="Whether the role may pass them on.")

    @field_validator("privileges")
    @classmethod
    def _can_be_granted(cls, value: list[str], info: ValidationInfo) -> list[str]:
        on = info.data.get("on")
        kind = on.kind if isinstance(on, GrantTarget) else ""
        if ALL in value and on is not None and kind not in EVERY:
            raise ValueError(
                "ALL is not a privilege here: list the ones that are needed, since Snowflake expands ALL once and shows single ones after"
            )
        if kind == "Stage" and "WRITE" in value and not {"READ", ALL} & set(value):
            raise ValueError("WRITE on a stage needs READ too: list both")
        return value


class ServiceRoleUse(Model):
    """A service role: the endpoints of a service that may be called."""

    service: Annotated[str, Ref("Service")] = Field(description="The service.")
    role: Name = Field(default="ALL_ENDPOINTS_USAGE", description="One of its `serviceRoles`, or ALL_ENDPOINTS_USAGE.")


class Grantees(Model):
    """Who has the role."""

    roles: list[Annotated[str, Ref("Role")]] = Field(default=[], description="Roles that inherit this one.")
    users: list[Name] = Field(default=[], description="Users that may use it.")


class RoleSpec(Spec):
    comment: str | None = None
    privileges: list[Privileges] = Field(default=[], description="What the role may do; on the account and on objects of others.")
    service_roles: list[ServiceRoleUse] = Field(default=[], description="Services whose endpoints the role may call.")
    granted_to: Grantees = Field(default=Grantees(), description="Who has the role.")


class Role(Manifest):
    """A role with its grants. What only an administrator may do is printed by `snowcat bootstrap`.

    Grants on objects of the project are given by whoever owns those.
    What the role holds beyond the manifest is taken back, unless the role was adopted: then only what an earlier manifest gave.
    """

    kind: Literal["Role"]
    spec: RoleSpec = RoleSpec()
    scope: ClassVar[Scope] = Scope.ACCOUNT
