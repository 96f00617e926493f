"""Grants as sets: what a role holds against what its manifest lists.

Authority: of a role that we made the set is exactly the manifest's. What is never taken back: OWNERSHIP (it comes with creating), roles in
roles (the other role's manifest says who has it), functions, and service roles and gateways of others, whose manifests say who may use
them. Of an adopted role only what an earlier manifest gave is taken back; the mark knows it by a short hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from controller.account import statements as sql
from controller.account.snapshot import Row
from controller.api.names import Identifier, NameProblem, QualifiedName
from controller.api.objects import DesiredObject
from controller.api.role import ALL, EVERY, FunctionTarget, FutureTarget, GrantTarget, Privileges
from controller.kinds.base import Stalled
from controller.kinds.exporting import name_text

ACCOUNT = "ACCOUNT"
SERVICE_ROLE = "SERVICE ROLE"
GATEWAY = "GATEWAY"
FUTURE = "FUTURE "

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
    "Gateway": GATEWAY,
    "Workspace": "SERVICE",
    "ModelDeployment": "SERVICE",
    "Dataset": "TABLE",
    "SecurityIntegration": "INTEGRATION",
    "ExternalAccessIntegration": "INTEGRATION",
}
_COMPOSITE = frozenset({"Workspace", "ModelDeployment", "Dataset"})
SYSTEM_PREFIXES = ("SNOWFLAKE.", "SYSTEM$", '"SYSTEM$', "SYSTEM_COMPUTE_POOL_")
_LEFT_ALONE = frozenset(
    {"ROLE", "DATABASE ROLE", "APPLICATION ROLE", SERVICE_ROLE, "INSTANCE ROLE", GATEWAY, "FUNCTION", "PROCEDURE", "APPLICATION"}
)
_IMPORTED = "IMPORTED PRIVILEGES"  # SHOW GRANTS tells it as USAGE


@dataclass(frozen=True, order=True)
class Grant:
    """One privilege on one thing. `target` is the thing as GRANT names it, after ON: `ACCOUNT`, `STAGE D.S.X`, `FUTURE SERVICES IN …`."""

    on: str
    target: str
    privilege: str
    option: bool = False

    def __str__(self) -> str:
        return f"{self.privilege} ON {self.target}{' WITH GRANT OPTION' if self.option else ''}"

    @property
    def plain(self) -> Grant:
        """Without the right to pass it on."""
        return replace(self, option=False)

    @property
    def short(self) -> str:
        """Six hex digits that stand for it in a mark."""
        return hashlib.sha256(str(self.plain).encode()).hexdigest()[:6]


@dataclass(frozen=True)
class Difference:
    """Grants to give, grants to take back, and grants that stay but may not be passed on any more."""

    missing: frozenset[Grant] = frozenset()
    extra: frozenset[Grant] = frozenset()
    options: frozenset[Grant] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.options)


@dataclass(frozen=True)
class Elsewhere:
    """What other manifests of the project say of a role: the grants that they give to it, and what they have the say over, such as
    `SERVICE ROLE D.S.WEB` for all roles of that service."""

    given: frozenset[Grant] = frozenset()
    over: frozenset[str] = frozenset()


def difference(
    wanted: Collection[Grant], held: Collection[Grant], *, ours: bool, given: Collection[str] = (), elsewhere: Elsewhere = Elsewhere()
) -> Difference:
    """`ours`: the role is ours with all that it holds, but for what is given to it `elsewhere`; else only what is known as `given` may be
    taken back."""
    passing = {grant.plain for grant in held if grant.option}
    plain = {grant.plain for grant in held}
    listed = {grant.plain for grant in wanted}
    listed |= {replace(grant, privilege="USAGE") for grant in listed if grant.privilege == _IMPORTED}
    missing = {grant for grant in wanted if grant.plain not in plain or (grant.option and grant.plain not in passing)}
    missing -= {grant for grant in missing if grant.privilege == _IMPORTED and replace(grant.plain, privilege="USAGE") in plain}
    targets = {grant.target for grant in wanted}
    surplus = {grant for grant in plain - listed - elsewhere.given if not any(_covers(future, grant) for future in wanted)}
    if ours:
        said = {g for g in surplus if g.target in targets or g.target.partition("!")[0] in elsewhere.over}
        extra = said | {g for g in surplus if g.target.startswith(FUTURE) or g.on not in _LEFT_ALONE}
    else:
        extra = {grant for grant in surplus if grant.short in given}
    options = {grant.plain for grant in wanted if not grant.option and grant.plain in passing} if ours else set()
    return Difference(frozenset(missing), frozenset(extra), frozenset(options))


def _covers(future: Grant, grant: Grant) -> bool:
    """Whether a grant is what the account made of a grant on future objects."""
    head, _, container = future.target.partition(" IN ")
    name = grant.target.removeprefix(f"{grant.on} ")
    inside = name.startswith(container.partition(" ")[2] + ".")
    return head.startswith(FUTURE) and inside and (future.on, future.privilege) == (grant.on, grant.privilege)


# ---- what a manifest lists -----------------------------------------------------------------------------------------------------------


def wanted_grants(obj: DesiredObject) -> frozenset[Grant]:
    """What a Role manifest lists.

    Raises:
        Stalled: privileges on a kind of thing that has none.
    """
    grants = set()
    for index, entry in enumerate(obj.manifest.spec.privileges):
        on, target = _target(obj, index, entry)
        grants |= {Grant(on, target, privilege, entry.grant_option) for privilege in _expanded(entry)}
    for index, use in enumerate(obj.manifest.spec.service_roles):
        service = _name(obj, f"serviceRoles[{index}].service", use.service)
        grants.add(Grant(SERVICE_ROLE, f"{SERVICE_ROLE} {service.sql}!{Identifier.parse(use.role).sql}", "USAGE"))
    return frozenset(grants)


def _expanded(entry: Privileges) -> list[str]:
    every = EVERY.get(entry.on.kind, ()) if isinstance(entry.on, GrantTarget) else ()
    return [one for given in entry.privileges for one in (every if given == ALL else (sql.privilege(given),))]


def _target(obj: DesiredObject, index: int, entry: Privileges) -> tuple[str, str]:
    """(type of object as SHOW GRANTS calls it, target as GRANT takes it)."""
    on, path = entry.on, f"privileges[{index}].on"
    if isinstance(on, FunctionTarget):
        return "FUNCTION", sql.on_function(*on.parts)
    if isinstance(on, FutureTarget):
        plural = on.future.upper()
        return _singular(plural), sql.on_future(plural, on.in_.kind, _name(obj, f"{path}.in.name", on.in_.name))
    if not isinstance(on, GrantTarget):
        return ACCOUNT, sql.on_account()
    object_type = _OBJECT_TYPES.get(on.kind)
    if object_type is None:
        raise Stalled(f"{path}: there are no privileges on a {on.kind}; known: account, {', '.join(sorted(_OBJECT_TYPES))}")
    return object_type, sql.on_object(object_type, _name(obj, f"{path}.name", on.name))


def _name(obj: DesiredObject, path: str, written: str) -> QualifiedName:
    key = obj.references.get(path)
    return key.name if key is not None else QualifiedName.parse(written)


def _singular(plural: str) -> str:
    return plural[:-3] + "Y" if plural.endswith("IES") else plural.removesuffix("S")


def _plural(singular: str) -> str:
    return singular[:-1] + "IES" if singular.endswith("Y") else singular + "S"


# ---- what the account shows ----------------------------------------------------------------------------------------------------------


def held_grants(rows: Iterable[Row], future: Iterable[Row] = ()) -> frozenset[Grant]:
    """What SHOW GRANTS TO ROLE and SHOW FUTURE GRANTS TO ROLE list, without OWNERSHIP. The second has other names of columns."""
    grants = set()
    for row in rows:
        on = _type(row.get("granted_on"))
        grants.add(Grant(on, sql.on_account() if on == ACCOUNT else _held_target(on, str(row.get("name", ""))), *_what(row)))
    for row in future:
        on = _type(row.get("grant_on"))
        grants.add(Grant(on, _future_target(on, str(row.get("name", ""))), *_what(row)))
    return frozenset(grant for grant in grants if grant.privilege != "OWNERSHIP")


def _type(value: Any) -> str:
    return str(value or "").replace("_", " ").upper()


def _what(row: Row) -> tuple[str, bool]:
    return str(row.get("privilege", "")).upper(), str(row.get("grant_option", "")).lower() == "true"


def _held_target(on: str, name: str) -> str:
    if on == SERVICE_ROLE and "!" in name:
        service, _, role = name.rpartition("!")
        return f"{on} {_stored_name(service)}!{_stored_name(role)}"
    if on == "FUNCTION" and (match := re.fullmatch(r'(?P<at>.*\.)?"?(?P<name>[^".(]+)\((?P<arguments>[^()]*)\)(:.*)?"?', name)):
        types = [argument.split()[-1] for argument in match["arguments"].split(",") if argument.strip()]  # some have the argument's name
        return f"{on} {_stored_name((match['at'] or '') + match['name'])}({', '.join(types)})"
    return f"{on} {_stored_name(name)}"


def _future_target(on: str, name: str) -> str:
    """From `D.S.<SERVICE>`, or `D.<SERVICE>` for a whole database."""
    container = _stored_name(name.rpartition(".<")[0])
    parts = len(QualifiedName.parse(container).parts) if container else 0
    return f"FUTURE {_plural(on)} IN {'SCHEMA' if parts == 2 else 'DATABASE'} {container}"


def written_grants(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """What SHOW GRANTS TO ROLE lists, as a manifest's `privileges`: on the account, and on kinds of objects that a manifest can name."""
    kinds = {on: kind for kind, on in reversed(_OBJECT_TYPES.items()) if kind not in _COMPOSITE and on != "INTEGRATION"}
    grouped: dict[tuple[str, str, bool], list[str]] = {}
    for grant in sorted(held_grants(rows)):
        name = grant.target.removeprefix(f"{grant.on} ")
        if grant.on == ACCOUNT or (grant.on in kinds and not f"{name}.".startswith(SYSTEM_PREFIXES)):
            grouped.setdefault((grant.on, name, grant.option), []).append(grant.privilege)
    return [
        {
            "on": "account" if on == ACCOUNT else {"kind": kinds[on], "name": name_text(name)},
            "privileges": privileges,
            **({"grantOption": True} if option else {}),
        }
        for (on, name, option), privileges in grouped.items()
    ]


def _stored_name(text: str) -> str:
    try:
        return QualifiedName.parse(text).sql
    except NameProblem:
        return text  # a name that SHOW did not quote


# ---- statements ----------------------------------------------------------------------------------------------------------------------


def statements_for(role: Identifier, change: Difference) -> list[str]:
    """GRANT and REVOKE, one statement for each thing; what is given comes first. WRITE on a stage goes with READ there."""
    texts = [_give(role, *group) for group in _grouped(change.missing)]
    texts += [sql.revoke(names, target, role, only_option=True) for _, target, _, names in _grouped(change.options)]
    return texts + [_take(role, *group) for group in _grouped(change.extra, write_first=True)]


def _give(role: Identifier, on: str, target: str, option: bool, privileges: list[str]) -> str:
    return f"GRANT {target} TO ROLE {role.sql}" if on == SERVICE_ROLE else sql.grant(privileges, target, role, option=option)


def _take(role: Identifier, on: str, target: str, _option: bool, privileges: list[str]) -> str:
    return f"REVOKE {target} FROM ROLE {role.sql}" if on == SERVICE_ROLE else sql.revoke(privileges, target, role)


def _grouped(grants: Iterable[Grant], *, write_first: bool = False) -> list[tuple[str, str, bool, list[str]]]:
    """(type, target, option, privileges). WRITE on a stage is a group of its own, after READ or before it."""
    grouped: dict[tuple[str, str, bool, bool], list[str]] = {}
    for grant in sorted(grants, key=lambda one: (one.on, one.target, one.option, one.privilege)):
        write = (grant.on, grant.privilege) == ("STAGE", "WRITE")
        grouped.setdefault((grant.on, grant.target, grant.option, write != write_first), []).append(grant.privilege)
    return [(on, target, option, names) for (on, target, option, _), names in sorted(grouped.items())]
