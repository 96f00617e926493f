"""SHOW GRANTS and SHOW FUTURE GRANTS."""

from __future__ import annotations

from typing import Any

from emulator import errors
from emulator.catalogue.kinds import KINDS
from emulator.catalogue.store import CatalogueObject, Grant
from emulator.commands.context import CommandContext
from emulator.commands.grants import read_target
from emulator.commands.registry import command
from emulator.results import ResultSet, text, timestamp
from emulator.sql.names import quote
from emulator.sql.parser import Cursor

_TEXTS = ("privilege", "granted_on", "name", "granted_to", "grantee_name", "grant_option", "granted_by")
_COLUMNS = [timestamp("created_on"), *map(text, _TEXTS)]
_FUTURE = [
    timestamp("created_on"),
    *map(text, ("privilege", "grant_on", "name", "grant_to", "grantee_name", "grant_option")),
]
_SERVICE_ROLE = "SERVICE ROLE "


def _shown_kind(kind: str) -> str:
    return kind.replace(" ", "_")


def _row(grant: Grant, account: str) -> tuple[Any, ...]:
    name = account if grant.kind == "ACCOUNT" else ".".join(quote(p) for p in (grant.database, grant.schema, grant.name) if p)
    privilege, kind = grant.privilege, _shown_kind(grant.kind)
    if privilege.startswith(_SERVICE_ROLE):
        name, privilege, kind = f"{name}!{quote(privilege.removeprefix(_SERVICE_ROLE))}", "USAGE", "SERVICE_ROLE"
    return (
        grant.created_on,
        privilege,
        kind,
        name,
        "ROLE",
        grant.role,
        str(grant.grant_option).lower(),
        grant.granted_by,
    )


def _ownership(obj: CatalogueObject) -> tuple[Any, ...]:
    name = ".".join(quote(p) for p in obj.parts)
    return (obj.created_on, "OWNERSHIP", _shown_kind(obj.kind), name, "ROLE", obj.owner, "true", obj.owner)


@command("SHOW", "GRANTS")
def show_grants(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    if cursor.accept("TO"):
        return _to(ctx, cursor)
    if cursor.accept("OF"):
        return _of(ctx, cursor)
    if cursor.accept("ON"):
        return _on(ctx, cursor)
    cursor.end()
    return _to_user(ctx, ctx.session.user)


def _to(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    if cursor.accept("USER"):
        user = cursor.identifier()
        cursor.end()
        return _to_user(ctx, user)
    cursor.accept("ROLE")
    role = cursor.identifier()
    cursor.end()
    if ctx.store.find("ROLE", "", "", role) is None:
        raise errors.does_not_exist("Role", role)
    rows = [_row(g, ctx.account.name) for g in ctx.store.grants_to(role)]
    rows += [
        (g.created_on, "USAGE", "ROLE", quote(g.role), "ROLE", role, "false", g.granted_by)
        for g in ctx.store.role_grants(to=("ROLE", role))
    ]
    rows += [_ownership(obj) for kind in KINDS for obj in ctx.store.list(kind) if obj.owner == role]
    return ResultSet(_COLUMNS, sorted(rows, key=lambda r: (r[2], r[3], r[1])))


def _to_user(ctx: CommandContext, user: str) -> ResultSet:
    if ctx.store.find("USER", "", "", user) is None:
        raise errors.does_not_exist("User", user)
    rows = [(g.created_on, g.role, "USER", user, g.granted_by) for g in ctx.store.role_grants(to=("USER", user))]
    return ResultSet([timestamp("created_on"), *map(text, ("role", "granted_to", "grantee_name", "granted_by"))], rows)


def _of_service_role(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    service = ctx.get("SERVICE", cursor.name(), anything=True)
    cursor.expect_op("!")
    service_role = cursor.identifier()
    cursor.end()
    grants = ctx.store.grants_on("SERVICE", service.database, service.schema, service.name)
    name = f"{service.fqn}!{service_role}"
    rows = [(g.created_on, name, "ROLE", g.role, g.granted_by) for g in grants if g.privilege == f"SERVICE ROLE {service_role}"]
    return ResultSet([timestamp("created_on"), *map(text, ("role", "granted_to", "grantee_name", "granted_by"))], rows)


def _of(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    if cursor.accept("SERVICE", "ROLE"):
        return _of_service_role(ctx, cursor)
    cursor.expect("ROLE")
    role = cursor.identifier()
    cursor.end()
    if ctx.store.find("ROLE", "", "", role) is None:
        raise errors.does_not_exist("Role", role)
    rows = [(g.created_on, role, g.to_kind, g.to_name, g.granted_by) for g in ctx.store.role_grants(role=role)]
    return ResultSet([timestamp("created_on"), *map(text, ("role", "granted_to", "grantee_name", "granted_by"))], rows)


def _on(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    target = read_target(cursor)
    cursor.end()
    if target.kind == "ACCOUNT":
        return ResultSet(_COLUMNS, [_row(g, ctx.account.name) for g in ctx.store.grants_on("ACCOUNT", "", "", "")])
    assert target.name is not None
    obj = ctx.get(target.kind, target.name, anything=True)
    rows = [_ownership(obj)]
    grants = ctx.store.grants_on(obj.kind, obj.database, obj.schema, obj.name)
    rows += [_row(g, ctx.account.name) for g in grants if not g.privilege.startswith(_SERVICE_ROLE)]
    return ResultSet(_COLUMNS, rows)


@command("SHOW", "FUTURE", "GRANTS")
def show_future_grants(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    if cursor.accept("TO"):
        cursor.accept("ROLE")
        grants = ctx.store.future_grants("", role=cursor.identifier())
    else:
        cursor.expect("IN")
        kind = cursor.accept_any("SCHEMA", "DATABASE")
        if kind is None:
            raise cursor.error()
        obj = ctx.get(kind, cursor.name(), anything=True)
        inside = (obj.name, "") if kind == "DATABASE" else (obj.database, obj.name)
        grants = ctx.store.future_grants(*inside)
    cursor.end()
    rows = [
        (
            g.created_on,
            g.privilege,
            _shown_kind(g.kind),
            ".".join([*(quote(p) for p in (g.database, g.schema) if p), g.name]),
            "ROLE",
            g.role,
            str(g.grant_option).lower(),
        )
        for g in grants
    ]
    return ResultSet(_FUTURE, rows)
