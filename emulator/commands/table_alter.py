"""ALTER TABLE and ALTER VIEW, and COMMENT ON anything."""

from __future__ import annotations

import copy
from typing import Any

from sqlglot import exp

from emulator import errors
from emulator.catalogue.kinds import KINDS
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.engine.engine import stored_name
from emulator.engine.tables import column_definition, default_sql
from emulator.results import ResultSet
from emulator.sql.parser import Cursor

_DONE = "Statement executed successfully."


@command("ALTER", "TABLE")
def alter_table(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    ctx.account.engine.commit(ctx.session)
    table = ctx.get_if("TABLE", cursor.name())
    if table is None:
        return ResultSet.status(_DONE)
    with ctx.account.ddl_lock:
        if cursor.accept("SWAP", "WITH"):
            _swap(ctx, table, ctx.get("TABLE", cursor.name()))
        elif cursor.accept("RENAME", "TO"):
            _rename(ctx, table, cursor)
        elif cursor.accept("RENAME", "COLUMN"):
            _rename_column(ctx, table, cursor)
        elif cursor.accept("ADD"):
            _add_columns(ctx, table, cursor)
        elif cursor.accept("DROP"):
            _drop_columns(ctx, table, cursor)
        elif cursor.accept("SET"):
            _set(ctx, table, cursor)
        elif cursor.accept("UNSET", "COMMENT"):
            table.comment = ""
            ctx.store.update(table)
        elif cursor.accept_any("ALTER", "MODIFY"):
            _alter_column(ctx, table, cursor)
        else:
            raise cursor.error()
        cursor.end()
    return ResultSet.status(_DONE)


def _swap(ctx: CommandContext, one: CatalogueObject, other: CatalogueObject) -> None:
    """The two tables exchange names, with columns, comments, owners and grants."""
    with ctx.store.transaction():
        one_key, other_key = (one.database, one.schema, one.name), (other.database, other.schema, other.name)
        one.database, one.schema, one.name = "", "", f"{one.id} swap"
        ctx.store.update(one)
        ctx.store.move_grants(one, one_key)
        parked = (one.database, one.schema, one.name)
        other.database, other.schema, other.name = one_key
        ctx.store.update(other)
        ctx.store.move_grants(other, other_key)
        one.database, one.schema, one.name = other_key
        ctx.store.update(one)
        ctx.store.move_grants(one, parked)


def _rename(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    old = (table.database, table.schema, table.name)
    key = ctx.resolve("TABLE", cursor.name())
    cursor.end()
    if ctx.store.find("TABLE", *key) is not None or ctx.store.find("VIEW", *key) is not None:
        raise errors.already_exists(".".join(key))
    if key[:2] != old[:2]:
        ctx.access.require_create(ctx.session.role, "TABLE", key[0], key[1])
    table.database, table.schema, table.name = key
    with ctx.store.transaction():
        ctx.store.update(table)
        ctx.store.move_grants(table, old)


Columns = list[dict[str, Any]]


def _column(columns: Columns, name: str) -> dict[str, Any]:
    for col in columns:
        if col["name"] == name:
            return col
    raise errors.invalid_identifier(name)


def _change(ctx: CommandContext, table: CatalogueObject, columns: Columns, statements: list[str]) -> None:
    """Alters the stored table and the entry. A kill in between is healed at the next start, by what the stored table looks like."""
    ctx.store.set_props(table, pending=columns)
    try:
        ctx.account.engine.execute_many(statements)
    except errors.SqlError:
        ctx.store.set_props(table, pending=None)
        raise
    table.props = {**table.props, "columns": columns, "pending": None}
    ctx.store.update(table)


def _rename_column(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    columns = copy.deepcopy(table.props["columns"])
    col = _column(columns, cursor.identifier())
    cursor.expect("TO")
    old, col["name"] = col["name"], cursor.identifier()
    if sum(other["name"] == col["name"] for other in columns) > 1:
        raise _column_exists(col["name"])
    _change(ctx, table, columns, [f"ALTER TABLE {stored_name(table)} RENAME COLUMN {_quoted(old)} TO {_quoted(col['name'])}"])


def _column_exists(name: str) -> errors.SqlError:
    return errors.SqlError(1430, "42601", f"{errors.COMPILATION}column '{name}' already exists")


def _add_columns(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    cursor.accept("COLUMN")
    lenient = cursor.accept("IF", "NOT", "EXISTS")
    tree = ctx.account.engine.parse(f"CREATE TABLE added ({cursor.rest().rstrip('; ')})")
    columns = copy.deepcopy(table.props["columns"])
    statements = []
    for part in tree.find_all(exp.ColumnDef):
        col = column_definition(part)
        if any(c["name"] == col["name"] for c in columns):
            if lenient:
                continue
            raise _column_exists(col["name"])
        text = f"ALTER TABLE {stored_name(table)} ADD COLUMN {_quoted(col['name'])} {col['stored']}"
        if col["default"] is not None:
            text += f" DEFAULT ({default_sql(ctx, col['default'])})"
        statements.append(text)
        columns.append(col)
    _change(ctx, table, columns, statements)


def _drop_columns(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    cursor.accept("COLUMN")
    lenient = cursor.accept("IF", "EXISTS")
    columns = copy.deepcopy(table.props["columns"])
    statements = []
    while not cursor.at_end():
        name = cursor.identifier()
        cursor.accept_op(",")
        if lenient and all(c["name"] != name for c in columns):
            continue
        columns.remove(_column(columns, name))
        statements.append(f"ALTER TABLE {stored_name(table)} DROP COLUMN {_quoted(name)}")
    _change(ctx, table, columns, statements)


def _alter_column(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    cursor.accept("COLUMN")
    columns = copy.deepcopy(table.props["columns"])
    col = _column(columns, cursor.identifier())
    statements: list[str] = []
    altered = f"ALTER TABLE {stored_name(table)} ALTER COLUMN {_quoted(col['name'])}"
    if cursor.accept("COMMENT"):
        col["comment"] = cursor.string()
    elif cursor.accept("SET", "NOT", "NULL"):
        statements.append(f"{altered} SET NOT NULL")
        col["nullable"] = False
    elif cursor.accept("DROP", "NOT", "NULL"):
        statements.append(f"{altered} DROP NOT NULL")
        col["nullable"] = True
    elif cursor.accept("DROP", "DEFAULT"):
        statements.append(f"{altered} DROP DEFAULT")
        col["default"] = None
    else:
        cursor.accept("SET", "DATA")
        cursor.accept("TYPE")
        tree = ctx.account.engine.parse(f"CREATE TABLE altered ({_quoted(col['name'])} {cursor.rest().rstrip('; ')})")
        part = tree.find(exp.ColumnDef)
        if part is None:
            raise cursor.error()
        new = column_definition(part)
        statements.append(f"{altered} TYPE {new['stored']}")
        col["type"], col["stored"] = new["type"], new["stored"]
    _change(ctx, table, columns, statements)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _set(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    kinds = {"COMMENT": "string", "DATA_RETENTION_TIME_IN_DAYS": "int", "CHANGE_TRACKING": "bool", "ENABLE_SCHEMA_EVOLUTION": "bool"}
    given = cursor.properties(kinds, "TABLE")
    if not given:
        raise cursor.error()
    if "COMMENT" in given:
        table.comment = given["COMMENT"]
    ctx.store.update(table)


@command("ALTER", "VIEW")
def alter_view(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    view = ctx.get_if("VIEW", cursor.name())
    if view is None:
        return ResultSet.status(_DONE)
    if cursor.accept("SET", "COMMENT"):
        cursor.expect_op("=")
        view.comment = cursor.string()
    elif cursor.accept("UNSET", "COMMENT"):
        view.comment = ""
    else:
        raise cursor.error()
    cursor.end()
    ctx.store.update(view)
    return ResultSet.status(_DONE)


@command("COMMENT", "ON")
def comment_on(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    """COMMENT [IF EXISTS] ON <kind> <name> IS '…'; also ON COLUMN t.c."""
    if cursor.accept("COLUMN"):
        return _comment_on_column(ctx, cursor)
    kind = read_kind(cursor)
    name = cursor.name()
    cursor.expect("IS")
    text = cursor.string()
    cursor.end()
    obj = ctx.get_if(kind, name)
    if obj is not None:
        obj.comment = text
        ctx.store.update(obj)
    return ResultSet.status(_DONE)


@command("COMMENT", "IF", "EXISTS", "ON")
def comment_if_exists(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    from dataclasses import replace

    ctx.modifiers = replace(ctx.modifiers, if_exists=True)
    return comment_on(ctx, cursor)


def _comment_on_column(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    parts = [cursor.identifier()]
    while cursor.accept_op("."):
        parts.append(cursor.identifier())
    cursor.expect("IS")
    text = cursor.string()
    cursor.end()
    from emulator.sql.names import QualifiedName

    table = ctx.get("TABLE", QualifiedName(tuple(parts[:-1])))
    _column(table.props["columns"], parts[-1])["comment"] = text
    ctx.store.update(table)
    return ResultSet.status(_DONE)


def read_kind(cursor: Cursor) -> str:
    """An object kind in one or two or three words; integrations of all types are one kind."""
    for prefix in (("SECURITY",), ("EXTERNAL", "ACCESS"), ("API",), ("STORAGE",), ("NOTIFICATION",)):
        if cursor.accept(*prefix, "INTEGRATION"):
            return "INTEGRATION"
    for word in sorted(KINDS, key=len, reverse=True):
        if cursor.accept(*word.split()):
            return word
    raise cursor.error()
