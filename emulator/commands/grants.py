"""GRANT and REVOKE."""

from __future__ import annotations

import time
from dataclasses import dataclass

from emulator import errors
from emulator.catalogue.kinds import KINDS, PLURALS, privileges_on
from emulator.catalogue.store import CatalogueObject, Grant
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.table_alter import read_kind
from emulator.results import ResultSet
from emulator.sql.names import QualifiedName
from emulator.sql.parser import Cursor

_DONE = "Statement executed successfully."


@dataclass
class _Target:
    """What privileges are about: the account, one object, all or future objects of a kind in a container."""

    kind: str
    name: QualifiedName | None = None
    mode: str = "one"
    container: str = ""


@command("GRANT")
def grant(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    if cursor.peek().is_word("ROLE"):
        return _role(ctx, cursor, give=True)
    if cursor.accept("SERVICE", "ROLE"):
        return _service_role(ctx, cursor, give=True)
    privileges = _privileges(cursor)
    target = read_target(cursor)
    cursor.expect("TO")
    cursor.accept("ROLE")
    role = _grantee(ctx, cursor)
    option = cursor.accept("WITH", "GRANT", "OPTION")
    if cursor.accept_any("COPY", "REVOKE"):
        cursor.expect("CURRENT", "GRANTS")
    cursor.end()
    if target.kind == "DATABASE" and privileges == ["IMPORTED PRIVILEGES"]:
        return _imported(ctx, target, role)
    return _grant_all(ctx, privileges, target, role, option)


@command("REVOKE")
def revoke(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    if cursor.peek().is_word("ROLE"):
        return _role(ctx, cursor, give=False)
    if cursor.accept("SERVICE", "ROLE"):
        return _service_role(ctx, cursor, give=False)
    only_option = cursor.accept("GRANT", "OPTION", "FOR")
    privileges = _privileges(cursor)
    target = read_target(cursor)
    cursor.expect("FROM")
    cursor.accept("ROLE")
    role = _grantee(ctx, cursor)
    cursor.accept_any("RESTRICT", "CASCADE")
    cursor.end()
    if privileges == ["IMPORTED PRIVILEGES"]:
        privileges = ["USAGE"]
    with ctx.store.transaction():
        for obj in _objects(ctx, target):
            for privilege in _expand(privileges, target.kind):
                if not ctx.access.may_grant(ctx.session.role, target.kind, obj, privilege):
                    raise _refused(ctx, target, obj)
                if not only_option and _needs_read(ctx, obj, privilege, role, [p for p in privileges if p != "ALL"]):
                    raise errors.grant_not_executed("READ on a stage cannot be revoked while WRITE is granted on it.")
                _take(ctx, privilege, _key(target, obj), role, only_option=only_option)
        if target.mode == "future":
            for privilege in _expand(privileges, target.kind):
                _take(ctx, privilege, _future_key(ctx, target), role, only_option=only_option, future=True)
    return ResultSet.status(_DONE)


def _take(
    ctx: CommandContext, privilege: str, key: tuple[str, str, str, str], role: str, *, only_option: bool, future: bool = False
) -> None:
    """Revokes the privilege, or only the right to pass it on."""
    if ctx.store.revoke(privilege, key, role, future=future) and only_option:
        ctx.store.grant(_grant_row(privilege, key, role, False, ctx.session.role, future=future))


def _needs_read(ctx: CommandContext, obj: CatalogueObject | None, privilege: str, role: str, revoked: list[str]) -> bool:
    """Whether READ on a stage is to go while the role keeps WRITE."""
    if obj is None or (obj.kind, privilege) != ("STAGE", "READ") or "WRITE" in revoked or not revoked:
        return False
    return "WRITE" in _on_stage(ctx, obj, role)


def _on_stage(ctx: CommandContext, obj: CatalogueObject, role: str) -> set[str]:
    return {g.privilege for g in ctx.store.grants_on("STAGE", obj.database, obj.schema, obj.name) if g.role == role}


def _privileges(cursor: Cursor) -> list[str]:
    """Comma-separated privileges of one or more words, up to ON."""
    found: list[str] = []
    words: list[str] = []
    while not cursor.peek().is_word("ON"):
        token = cursor.next()
        if token.is_op(","):
            found.append(" ".join(words))
            words = []
        elif token.kind == "word":
            words.append(token.value)
        else:
            raise cursor.error(token)
    cursor.expect("ON")
    found.append(" ".join(words))
    if not all(found):
        raise cursor.error()
    return ["ALL" if p in ("ALL", "ALL PRIVILEGES") else p for p in found]


def read_target(cursor: Cursor) -> _Target:
    if cursor.accept("ACCOUNT"):
        return _Target("ACCOUNT")
    for mode in ("future", "all"):
        if cursor.accept(mode.upper()):
            kind = _plural(cursor)
            cursor.expect("IN")
            container = cursor.accept_any("SCHEMA", "DATABASE")
            if container is None:
                raise cursor.error()
            return _Target(kind, cursor.name(), mode, container)
    kind = read_kind(cursor)
    name = cursor.name()
    if kind == "FUNCTION" and cursor.accept_op("("):
        start = cursor.peek().start
        while not cursor.peek().is_op(")"):
            cursor.next()
        inner = cursor.source[start : cursor.peek().start]
        cursor.next()
        types = [t.strip().upper() for t in inner.split(",") if t.strip()]
        name = QualifiedName((*name.parts[:-1], f"{name.name}({', '.join(types)})"))
    return _Target(kind, name)


def _plural(cursor: Cursor) -> str:
    for word in sorted(PLURALS, key=len, reverse=True):
        if cursor.accept(*word.split()):
            return PLURALS[word].word
    raise cursor.error()


def _grantee(ctx: CommandContext, cursor: Cursor) -> str:
    role = cursor.identifier()
    if ctx.store.find("ROLE", "", "", role) is None:
        raise errors.does_not_exist("Role", role)
    return role


def _expand(privileges: list[str], kind: str) -> list[str]:
    if privileges == ["ALL"]:
        return list(privileges_on(kind))
    allowed = (*privileges_on(kind), "OWNERSHIP")
    for privilege in privileges:
        if privilege not in allowed:
            raise errors.compilation(f"Invalid privilege '{privilege}' for object type {kind}.")
    return privileges


def _objects(ctx: CommandContext, target: _Target) -> list[CatalogueObject | None]:
    """The objects that the statement is about: [None] for the account, [] for future ones."""
    if target.kind == "ACCOUNT":
        return [None]
    assert target.name is not None
    if target.mode == "one":
        if target.kind in ("TABLE", "VIEW") and ctx.find(target.kind, target.name) is None:
            other = "VIEW" if target.kind == "TABLE" else "TABLE"
            if ctx.find(other, target.name) is not None:
                target.kind = other
        return [ctx.get(target.kind, target.name, anything=True)]
    if target.mode == "future":
        return []
    database, schema = _container(ctx, target)
    found = ctx.store.list(target.kind, database, schema or None)
    return list(found)


def _container(ctx: CommandContext, target: _Target) -> tuple[str, str]:
    assert target.name is not None
    obj = ctx.get(target.container, target.name, anything=True)
    return (obj.name, "") if target.container == "DATABASE" else (obj.database, obj.name)


def _key(target: _Target, obj: CatalogueObject | None) -> tuple[str, str, str, str]:
    return ("ACCOUNT", "", "", "") if obj is None else (obj.kind, obj.database, obj.schema, obj.name)


def _future_key(ctx: CommandContext, target: _Target) -> tuple[str, str, str, str]:
    database, schema = _container(ctx, target)
    return target.kind, database, schema, f"<{target.kind}>"


def _refused(ctx: CommandContext, target: _Target, obj: CatalogueObject | None) -> errors.SqlError:
    if obj is None:
        return errors.SqlError(3001, "42501", f"{errors.ACCESS}Insufficient privileges to operate on account 'LOCAL'.")
    return errors.insufficient_privileges(KINDS[obj.kind].label, obj.name, ctx.session.role, "MANAGE GRANTS")


def _grant_all(ctx: CommandContext, privileges: list[str], target: _Target, role: str, option: bool) -> ResultSet:
    """Grants what the current role may grant. ALL skips the rest with 3011 as a warning; a named one is refused with 3001."""
    skipped: list[str] = []
    with ctx.store.transaction():
        for obj in _objects(ctx, target):
            for privilege in _expand(privileges, target.kind):
                if privilege == "OWNERSHIP":
                    _transfer(ctx, target, obj, role)
                elif ctx.access.may_grant(ctx.session.role, target.kind, obj, privilege):
                    if (
                        obj is not None
                        and (obj.kind, privilege) == ("STAGE", "WRITE")
                        and "READ" not in {*_on_stage(ctx, obj, role), *privileges}
                    ):
                        raise errors.grant_not_executed("WRITE on a stage needs READ, which must be granted first.")
                    ctx.store.grant(_grant_row(privilege, _key(target, obj), role, option, ctx.session.role, future=False))
                elif privileges == ["ALL"]:
                    skipped.append(privilege)
                else:
                    raise _refused(ctx, target, obj)
        if target.mode == "future":
            database, schema = _container(ctx, target)
            holder = ctx.store.find("SCHEMA", database, "", schema) if schema else ctx.store.find("DATABASE", "", "", database)
            for privilege in _expand(privileges, target.kind):
                if not ctx.access.may_grant(ctx.session.role, target.kind, holder, privilege):
                    raise _refused(ctx, target, holder)
                ctx.store.grant(_grant_row(privilege, _future_key(ctx, target), role, option, ctx.session.role, future=True))
    if skipped:
        everything = len(skipped) == len(_expand(privileges, target.kind))
        if everything:
            raise errors.partial_grant(skipped)
        result = ResultSet.status(errors.partial_grant(skipped).message)
        result.warning = str(errors.partial_grant(skipped))
        return result
    return ResultSet.status(_DONE)


def _grant_row(privilege: str, key: tuple[str, str, str, str], role: str, option: bool, by: str, *, future: bool) -> Grant:
    return Grant(privilege, *key, role, option, by, future, time.time())


def _transfer(ctx: CommandContext, target: _Target, obj: CatalogueObject | None, role: str) -> None:
    if obj is None:
        raise errors.compilation("OWNERSHIP cannot be granted on ACCOUNT.")
    if obj.kind == "SERVICE":
        raise errors.unsupported("transfer of service ownership")
    held = ctx.access.privileges((ctx.session.role,), obj)
    if "OWNERSHIP" not in held and "MANAGE GRANTS" not in ctx.access.global_privileges((ctx.session.role,)):
        raise _refused(ctx, target, obj)
    obj.owner = role
    ctx.store.update(obj)


def _imported(ctx: CommandContext, target: _Target, role: str) -> ResultSet:
    """IMPORTED PRIVILEGES on a shared database: usage of it and of all its schemas."""
    assert target.name is not None
    database = ctx.get("DATABASE", target.name, anything=True)
    if "ACCOUNTADMIN" not in ctx.access.inherited(ctx.session.role) and database.owner != ctx.session.role:
        raise _refused(ctx, target, database)
    with ctx.store.transaction():
        for obj in [database, *ctx.store.list("SCHEMA", database.name)]:
            key = (obj.kind, obj.database, obj.schema, obj.name)
            ctx.store.grant(_grant_row("USAGE", key, role, False, ctx.session.role, future=False))
    return ResultSet.status(_DONE)


def _role(ctx: CommandContext, cursor: Cursor, *, give: bool) -> ResultSet:
    cursor.expect("ROLE")
    role = _grantee(ctx, cursor)
    cursor.expect("TO" if give else "FROM")
    kind = cursor.accept_any("USER", "ROLE")
    if kind is None:
        raise cursor.error()
    name = cursor.identifier()
    cursor.end()
    if ctx.store.find(kind, "", "", name) is None:
        raise errors.does_not_exist(kind.capitalize(), name)
    record = ctx.store.find("ROLE", "", "", role)
    assert record is not None
    owned = record.owner in ctx.access.inherited(ctx.session.role) and record.owner != ""
    if not owned and "MANAGE GRANTS" not in ctx.access.global_privileges((ctx.session.role,)):
        raise errors.insufficient_privileges("role", role, ctx.session.role, "OWNERSHIP")
    if give and kind == "ROLE" and name in ctx.access.inherited(role) - {"PUBLIC"}:
        raise errors.grant_not_executed(f"Role '{name}' is already granted to '{role}': a cycle is not allowed.")
    if give:
        ctx.store.grant_role(role, kind, name, ctx.session.role)
    else:
        ctx.store.revoke_role(role, kind, name)
    return ResultSet.status(_DONE)


def _service_role(ctx: CommandContext, cursor: Cursor, *, give: bool) -> ResultSet:
    """GRANT SERVICE ROLE svc!role TO ROLE r: kept as a privilege on the service."""
    service = ctx.get("SERVICE", cursor.name())
    cursor.expect_op("!")
    service_role = cursor.identifier()
    known = ["ALL_ENDPOINTS_USAGE", *service.props.get("service_roles", [])]
    if service_role not in known:
        raise errors.does_not_exist("Service role", f"{service.fqn}!{service_role}")
    cursor.expect("TO" if give else "FROM")
    cursor.accept("ROLE")
    role = _grantee(ctx, cursor)
    cursor.end()
    key = (service.kind, service.database, service.schema, service.name)
    privilege = f"SERVICE ROLE {service_role}"
    if give:
        ctx.store.grant(_grant_row(privilege, key, role, False, ctx.session.role, future=False))
    else:
        ctx.store.revoke(privilege, key, role)
    return ResultSet.status(_DONE)
