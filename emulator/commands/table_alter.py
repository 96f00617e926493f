"""ALTER TABLE and ALTER VIEW, and COMMENT ON anything."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from emulator import errors
from emulator.catalogue.kinds import KINDS
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.engine.engine import stored_name
from emulator.engine.sources import schema_name
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
    engine = ctx.account.engine
    parking = f'"{one.id}_swap"'
    engine.execute_many(
        [
            f"ALTER TABLE {stored_name(one)} RENAME TO {parking}",
            *_moves(other, one),
            *_moves(one, other, f'"{schema_name(one.database, one.schema)}".{parking}'),
        ]
    )
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


def _moves(source: CatalogueObject, target: CatalogueObject, stored: str | None = None) -> list[str]:
    """Statements that give the stored table of `source` the name of `target`."""
    from_name = stored or stored_name(source)
    if (source.database, source.schema) == (target.database, target.schema):
        return [f'ALTER TABLE {from_name} RENAME TO "{target.name}"']
    return [f"CREATE TABLE {stored_name(target)} AS SELECT * FROM {from_name}", f"DROP TABLE {from_name}"]


def _rename(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    old = (table.database, table.schema, table.name)
    key = ctx.resolve("TABLE", cursor.name())
    cursor.end()
    if ctx.store.find("TABLE", *key) is not None or ctx.store.find("VIEW", *key) is not None:
        raise errors.already_exists(".".join(key))
    if key[:2] != old[:2]:
        ctx.access.require_create(ctx.session.role, "TABLE", key[0], key[1])
    stored = stored_name(table)
    table.database, table.schema, table.name = key
    engine = ctx.account.engine
    if key[:2] == old[:2]:
        engine.execute(f'ALTER TABLE {stored} RENAME TO "{table.name}"')
    else:
        engine.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema_name(*key[:2])}"')
        engine.execute_many([f"CREATE TABLE {stored_name(table)} AS SELECT * FROM {stored}", f"DROP TABLE {stored}"])
    with ctx.store.transaction():
        ctx.store.update(table)
        ctx.store.move_grants(table, old)


def _column(table: CatalogueObject, name: str) -> dict[str, Any]:
    for col in table.props["columns"]:
        if col["name"] == name:
            found: dict[str, Any] = col
            return found
    raise errors.invalid_identifier(name)


def _rename_column(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    col = _column(table, cursor.identifier())
    cursor.expect("TO")
    new = cursor.identifier()
    ctx.account.engine.execute(f'ALTER TABLE {stored_name(table)} RENAME COLUMN "{col["name"]}" TO "{new}"')
    col["name"] = new
    ctx.store.update(table)


def _add_columns(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    cursor.accept("COLUMN")
    lenient = cursor.accept("IF", "NOT", "EXISTS")
    tree = ctx.account.engine.parse(f"CREATE TABLE added ({cursor.rest().rstrip('; ')})")
    for part in tree.find_all(exp.ColumnDef):
        col = column_definition(part)
        if any(c["name"] == col["name"] for c in table.props["columns"]):
            if lenient:
                continue
            raise errors.SqlError(1430, "42601", f"{errors.COMPILATION}column '{col['name']}' already exists")
        text = f'ALTER TABLE {stored_name(table)} ADD COLUMN "{col["name"]}" {col["stored"]}'
        if col["default"] is not None:
            text += f" DEFAULT ({default_sql(ctx, col['default'])})"
        ctx.account.engine.execute(text)
        table.props["columns"].append(col)
    ctx.store.update(table)


def _drop_columns(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    cursor.accept("COLUMN")
    lenient = cursor.accept("IF", "EXISTS")
    while not cursor.at_end():
        name = cursor.identifier()
        cursor.accept_op(",")
        if lenient and all(c["name"] != name for c in table.props["columns"]):
            continue
        col = _column(table, name)
        ctx.account.engine.execute(f'ALTER TABLE {stored_name(table)} DROP COLUMN "{name}"')
        table.props["columns"].remove(col)
    ctx.store.update(table)


def _alter_column(ctx: CommandContext, table: CatalogueObject, cursor: Cursor) -> None:
    cursor.accept("COLUMN")
    col = _column(table, cursor.identifier())
    engine, stored = ctx.account.engine, stored_name(table)
    if cursor.accept("COMMENT"):
        col["comment"] = cursor.string()
    elif cursor.accept("SET", "NOT", "NULL"):
        engine.execute(f'ALTER TABLE {stored} ALTER COLUMN "{col["name"]}" SET NOT NULL')
        col["nullable"] = False
    elif cursor.accept("DROP", "NOT", "NULL"):
        engine.execute(f'ALTER TABLE {stored} ALTER COLUMN "{col["name"]}" DROP NOT NULL')
        col["nullable"] = True
    elif cursor.accept("DROP", "DEFAULT"):
        engine.execute(f'ALTER TABLE {stored} ALTER COLUMN "{col["name"]}" DROP DEFAULT')
        col["default"] = None
    else:
        cursor.accept("SET", "DATA")
        cursor.accept("TYPE")
        tree = engine.parse(f'CREATE TABLE altered ("{col["name"]}" {cursor.rest().rstrip("; ")})')
        part = tree.find(exp.ColumnDef)
        assert part is not None
        new = column_definition(part)
        engine.execute(f'ALTER TABLE {stored} ALTER COLUMN "{col["name"]}" TYPE {new["stored"]}')
        col["type"], col["stored"] = new["type"], new["stored"]
    ctx.store.update(table)


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
    _column(table, parts[-1])["comment"] = text
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
