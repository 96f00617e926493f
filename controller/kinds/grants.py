"""Grants as sets: what a role holds against what its manifest lists.

Authority: on what the manifest names, and on the account, the set is exactly the manifest's. On other things privileges are taken back only
where the role is ours, and never OWNERSHIP (it comes with creating), roles in roles (the other role's manifest says who has it) and what
deployments grant on their services and functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from controller.account import statements as sql
from controller.account.snapshot import Row
from controller.api.names import Identifier, NameProblem, QualifiedName
from controller.api.objects import DesiredObject
from controller.api.role import GrantTarget
from controller.kinds.base import Stalled
from controller.kinds.exporting import name_text

ACCOUNT = "ACCOUNT"

_OBJECT_TYPES = {
    "Warehouse": "WAREHOUSE",
    "Database": "DATABASE",
    "Schema": "SCHEMA",
    "ComputePool": "COMPUTE POOL",
    "Stage": "STAGE",
    "Secret": "SECRET",
    "NetworkRule": "NETWORK RULE",
    "ImageRepository": "IMAGE REPOSITORY",
    "Service": "SERVICE",
    "Workspace": "SERVICE",
    "ModelDeployment": "SERVICE",
    "Dataset": "TABLE",
    "SecurityIntegration": "INTEGRATION",
    "ExternalAccessIntegration": "INTEGRATION",
}
_COMPOSITE = frozenset({"Workspace", "ModelDeployment", "Dataset"})
SYSTEM_PREFIXES = ("SNOWFLAKE.", "SYSTEM$", '"SYSTEM$', "SYSTEM_COMPUTE_POOL_")
_LEFT_ALONE = frozenset(
    {"ROLE", "DATABASE ROLE", "APPLICATION ROLE", "SERVICE ROLE", "INSTANCE ROLE", "SERVICE", "FUNCTION", "PROCEDURE", "APPLICATION"}
)


@dataclass(frozen=True, order=True)
class Grant:
    """One privilege on one thing. `name` is '' for the account."""

    on: str
    name: str
    privilege: str

    def __str__(self) -> str:
        return f"{self.privilege} ON {self.on}{' ' + self.name if self.name else ''}"


def wanted_grants(obj: DesiredObject) -> frozenset[Grant]:
    """What a Role manifest lists.

    Raises:
        Stalled: privileges on a kind of thing that has none.
    """
    grants = set()
    for index, entry in enumerate(obj.manifest.spec.privileges):
        on, name = (ACCOUNT, "") if not isinstance(entry.on, GrantTarget) else _target(obj, index, entry.on)
        grants |= {Grant(on, name, sql.privilege(privilege)) for privilege in entry.privileges}
    return frozenset(grants)


def _target(obj: DesiredObject, index: int, target: GrantTarget) -> tuple[str, str]:
    object_type = _OBJECT_TYPES.get(target.kind)
    if object_type is None:
        known = ", ".join(sorted(_OBJECT_TYPES))
        raise Stalled(f"privileges[{index}].on: there are no privileges on a {target.kind}; known: account, {known}")
    key = obj.references.get(f"privileges[{index}].on.name")
    name = key.name if key is not None else QualifiedName.parse(target.name)
    return object_type, name.sql


def held_grants(rows: Iterable[Row]) -> frozenset[Grant]:
    """What SHOW GRANTS TO ROLE lists, without OWNERSHIP."""
    grants = set()
    for row in rows:
        on = str(row.get("granted_on", "")).replace("_", " ").upper()
        privilege = str(row.get("privilege", "")).upper()
        if privilege != "OWNERSHIP":
            grants.add(Grant(on, "" if on == ACCOUNT else _stored_name(str(row.get("name", ""))), privilege))
    return frozenset(grants)


def written_grants(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """What SHOW GRANTS TO ROLE lists, as a manifest's `privileges`: on the account, and on kinds of objects that a manifest can name."""
    kinds = {on: kind for kind, on in reversed(_OBJECT_TYPES.items()) if kind not in _COMPOSITE and on != "INTEGRATION"}
    grouped: dict[tuple[str, str], list[str]] = {}
    for grant in sorted(held_grants(rows)):
        if grant.on == ACCOUNT or (grant.on in kinds and not f"{grant.name}.".startswith(SYSTEM_PREFIXES)):
            grouped.setdefault((grant.on, grant.name), []).append(grant.privilege)
    return [
        {"on": "account" if on == ACCOUNT else {"kind": kinds[on], "name": name_text(name)}, "privileges": privileges}
        for (on, name), privileges in grouped.items()
    ]


def _stored_name(text: str) -> str:
    try:
        return QualifiedName.parse(text).sql
    except NameProblem:
        return text  # a function with its arguments, or a name that SHOW did not quote


def surplus(held: Iterable[Grant], wanted: frozenset[Grant], *, ours: bool) -> frozenset[Grant]:
    """Grants to take back."""
    targets = {(grant.on, grant.name) for grant in wanted} | {(ACCOUNT, "")}
    if not ours:
        return frozenset()
    return frozenset(g for g in held if g not in wanted and ((g.on, g.name) in targets or g.on not in _LEFT_ALONE))


def statements_for(role: Identifier, missing: Iterable[Grant], extra: Iterable[Grant]) -> list[str]:
    """GRANT and REVOKE, one statement for each thing; what is given comes first."""
    texts = [sql.grant(privileges, target, role) for target, privileges in _by_target(missing)]
    return texts + [sql.revoke(privileges, target, role) for target, privileges in _by_target(extra)]


def _by_target(grants: Iterable[Grant]) -> list[tuple[str, list[str]]]:
    grouped: dict[str, list[str]] = {}
    for grant in sorted(grants):
        target = sql.on_account() if grant.on == ACCOUNT else f"{sql.privilege(grant.on)} {grant.name}"
        grouped.setdefault(target, []).append(grant.privilege)
    return list(grouped.items())
