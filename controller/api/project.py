"""The project file `snowcat.yaml`: what the folder of manifests is called, whose role it uses, and the values of each account."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from controller.api.base import Model
from controller.api.names import SYSTEM_ROLES, Identifier, QualifiedName
from controller.api.parts import Name, Seconds

PROJECT_FILE = "snowcat.yaml"

ValueName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _two_parts(value: str) -> str:
    if len(QualifiedName.parse(value).parts) != 2:
        raise ValueError(f"{value!r} must be database.schema")
    return value


def _own_role(value: str) -> str:
    name = Identifier.parse(value).text
    if name in SYSTEM_ROLES:
        raise ValueError(
            f"{name} is a role of Snowflake's own, which bootstrap can neither make nor limit: name a role of the project's, such as "
            "'snowcat_role'; it need not exist yet, 'snowcat bootstrap' makes it and puts it below SYSADMIN"
        )
    return value


class AccountSettings(Model):
    """One account that the same manifests serve."""

    connection: str | None = Field(default=None, description="Connection of connections.toml; `-c` with it chooses this account.")
    values: dict[ValueName, Any] = Field(default={}, description="Values of this account, over the project's.")


class StatementSettings(Model):
    """How many statements a daemon sends, reads and changes together."""

    per_second: float = Field(default=200.0, gt=0, description="On average.")
    burst: int = Field(default=400, ge=1, description="At once, after a quiet time.")


class TimeoutSettings(Model):
    """How long things may take before they are cancelled and tried again."""

    read: Seconds = Field(default=60.0, ge=1, description="One SHOW, DESCRIBE, or SELECT without a warehouse.")
    change: Seconds = Field(default=300.0, ge=1, description="One CREATE, ALTER, DROP or GRANT.")
    transfer: Seconds = Field(default=1800.0, ge=1, description="One PUT, GET or COPY, and any statement in a warehouse.")
    object: Seconds = Field(default=7200.0, ge=1, description="All steps of one object's change together, such as building an image.")


class LeaseSettings(Model):
    """Of all processes that work on the project, one leads: it holds a lease in `home`."""

    seconds: Seconds = Field(default=15.0, description="Its period: renewed every third, taken over after a whole one. 0: no lease.")


class ProjectSettings(Model):
    """`snowcat.yaml`."""

    api_version: Literal["snowcat/v1"]
    kind: Literal["Project"]
    project: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")] = Field(
        description="Name in the ownership marks: lower-case letters, digits, '-' and '_'. Never change it while objects exist."
    )
    role: Annotated[Name, AfterValidator(_own_role)] = Field(
        description="Role that Snowcat works as: one of the project's own, made by bootstrap; none of Snowflake's, such as SYSADMIN."
    )
    home: Annotated[str, AfterValidator(_two_parts)] | None = Field(
        default="snowcat.control",
        description="A schema that exists before the project's own database, for the lease; made by bootstrap. null: none, and no lease.",
    )
    lease: LeaseSettings = Field(default=LeaseSettings(), description="Which of several processes works on the project.")
    warehouse: Name | None = Field(
        default=None, description="QUERY_WAREHOUSE of jobs and services, and for the few statements that need one."
    )
    existing: list[str] = Field(
        default=[], description="Objects of others that manifests may refer to: `Role/SYSADMIN`, `Schema/raw.public`."
    )
    users: list[Name] = Field(default=[], description="Users who get the project's role by bootstrap.")
    deep_reads: int = Field(default=20, ge=1, description="DESCRIBEs a cycle at most.")
    resync: Seconds = Field(default=30.0, ge=1, description="Longest time between two looks at the account.")
    prune_share: float = Field(
        default=0.3, ge=0, le=1, description="Share of the project's objects that may vanish at once; more wait for `apply --allow-prune`."
    )
    statements: StatementSettings = Field(default=StatementSettings(), description="The most statements that a daemon sends.")
    timeouts: TimeoutSettings = Field(default=TimeoutSettings(), description="How long things may take.")
    values: dict[ValueName, Any] = Field(default={}, description="What `${name}` stands for; an account's own values go first.")
    accounts: dict[str, AccountSettings] = Field(default={}, description="`local` is chosen by --local, others by -c or --account.")
