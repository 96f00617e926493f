"""TABLE and VIEW."""

from __future__ import annotations

import time
from typing import Any

from sqlglot import exp

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import read_options, select, show
from emulator.engine.tables import column_definitions, drop_stored_table, make_stored_table, run_query, select_columns
from emulator.results import ResultSet, number, text, timestamp
from emulator.sql.names import QualifiedName
from emulator.sql.parser import Cursor


def _qualified(table: exp.Expr) -> QualifiedName:
    assert isinstance(table, exp.Table)
    return QualifiedName(tuple(str(part.name) for part in table.parts))


def _comment(tree: exp.Expr) -> str:
    properties = tree.args.get("properties")
    for part in properties.expressions if properties is not None else []:
        if isinstance(part, exp.SchemaCommentProperty):
            return str(part.this.name)
    return ""


@command("CREATE", "TABLE")
def create_table(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    """CREATE TABLE, also AS SELECT, LIKE and CLONE."""
    ctx.account.engine.commit(ctx.session)
    tree = ctx.account.engine.parse(ctx.text)
    if not isinstance(tree, exp.Create):
        raise cursor.error()
    target = tree.this
    declared = column_definitions(target) if isinstance(target, exp.Schema) and _has_types(target) else None
    name = _qualified(target.this if isinstance(target, exp.Schema) else target)
    rows: ResultSet | None = None
    source = _like_source(ctx, tree)
    query = tree.args.get("expression")
    if source is not None:
        declared = [dict(c) for c in source.props["columns"]]
    elif query is not None:
        if not (ctx.modifiers.if_not_exists and ctx.find("TABLE", name) is not None):
            rows = run_query(ctx, query)
        declared = _query_columns(target, declared, rows)
    if declared is None:
        raise cursor.error()
    props: dict[str, Any] = {"columns": declared}
    if ctx.modifiers.temporary:
        props["temporary_of"] = ctx.session.id
    _no_view(ctx, name)
    with ctx.account.ddl_lock:
        existing = ctx.find("TABLE", name)
        if existing is not None and not ctx.modifiers.or_replace:  # nothing will be made
            return ctx.create("TABLE", name)[1]
        copied = source if source is not None and tree.args.get("clone") else None
        props["stored"] = make_stored_table(ctx, declared, rows, copied)
        if rows is not None or copied is not None:
            props["changed_at"] = time.time_ns()
        try:
            obj, _ = ctx.create("TABLE", name, comment=_comment(tree), props=props)
        except errors.SqlError:
            drop_stored_table(ctx, props["stored"])
            raise
    assert obj is not None
    return ResultSet.status(f"Table {obj.name} successfully created.")


def _has_types(schema: exp.Schema) -> bool:
    return any(isinstance(part, exp.ColumnDef) and part.args.get("kind") is not None for part in schema.expressions)


def _query_columns(target: exp.Expr, declared: list[dict[str, Any]] | None, rows: ResultSet | None) -> list[dict[str, Any]]:
    if rows is None:
        return declared or []
    found = select_columns(rows)
    if declared is not None and len(declared) == len(found):
        return declared
    if isinstance(target, exp.Schema):
        for col, part in zip(found, target.expressions, strict=True):
            col["name"] = str(part.name)
    return found


def _like_source(ctx: CommandContext, tree: exp.Create) -> CatalogueObject | None:
    clone = tree.args.get("clone")
    if clone is not None:
        return ctx.get("TABLE", _qualified(clone.this), "SELECT")
    properties = tree.args.get("properties")
    for part in properties.expressions if properties is not None else []:
        if isinstance(part, exp.LikeProperty):
            return ctx.get("TABLE", _qualified(part.this), "SELECT", "REFERENCES")
    return None


def _no_view(ctx: CommandContext, name: QualifiedName, other: str = "VIEW") -> None:
    """Tables and views share their names."""
    found = ctx.find(other, name)
    if found is not None:
        raise errors.already_exists(found.fqn)


@command("CREATE", "VIEW")
def create_view(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    ctx.account.engine.commit(ctx.session)
    tree = ctx.account.engine.parse(ctx.text)
    if not isinstance(tree, exp.Create) or tree.args.get("expression") is None:
        raise cursor.error()
    target = tree.this
    name = _qualified(target.this if isinstance(target, exp.Schema) else target)
    query = tree.args["expression"]
    described = run_query(ctx, query, describe_only=True)
    columns = select_columns(described)
    if isinstance(target, exp.Schema):
        for col, part in zip(columns, target.expressions, strict=False):
            col["name"] = str(part.name)
    _no_view(ctx, name, "TABLE")
    props = {"query": query.sql("snowflake"), "columns": columns, "text": ctx.text}
    _, status = ctx.create("VIEW", name, comment=_comment(tree), props=props)
    return status


@command("DROP", "TABLE")
def drop_table(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    return _drop(ctx, cursor, "TABLE")


@command("DROP", "VIEW")
def drop_view(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    return _drop(ctx, cursor, "VIEW")


def _drop(ctx: CommandContext, cursor: Cursor, kind: str) -> ResultSet:
    name = cursor.name()
    cursor.accept_any("CASCADE", "RESTRICT")
    cursor.end()
    ctx.account.engine.commit(ctx.session)
    with ctx.account.ddl_lock:
        return ctx.drop(kind, name)


@command("TRUNCATE", "TABLE")
@command("TRUNCATE")
def truncate(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    lenient = cursor.accept("IF", "EXISTS")
    name = cursor.name()
    cursor.end()
    if lenient and ctx.find("TABLE", name) is None:
        return ResultSet.status("Statement executed successfully.")
    table = ctx.get("TABLE", name, "TRUNCATE", "DELETE")
    ctx.account.engine.truncate(ctx.session, table)
    return ResultSet.status("Statement executed successfully.")


_TABLE_COLUMNS = [
    timestamp("created_on"),
    *map(text, ("name", "database_name", "schema_name", "kind", "comment", "cluster_by")),
    *map(number, ("rows", "bytes")),
    *map(text, ("owner", "retention_time", "automatic_clustering", "change_tracking", "is_external", "enable_schema_evolution")),
    *map(text, ("owner_role_type", "is_event", "budget", "is_hybrid", "is_iceberg", "is_dynamic", "is_immutable")),
]


@command("SHOW", "TABLES")
def show_tables(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    def row(obj: CatalogueObject) -> tuple[Any, ...]:
        rows = ctx.account.engine.row_count(obj)
        kind = "TEMPORARY" if "temporary_of" in obj.props else "TABLE"
        start = (obj.created_on, obj.name, obj.database, obj.schema, kind, obj.comment or "", "", rows, rows * 64, obj.owner, "1")
        return (*start, "OFF", "OFF", "N", "N", "ROLE", "N", None, "N", "N", "N", "N")

    return show(ctx, cursor, "TABLE", _TABLE_COLUMNS, row)


@command("SHOW", "VIEWS")
def show_views(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    names = ("name", "reserved", "database_name", "schema_name", "owner", "comment", "text", "is_secure", "is_materialized")
    columns = [timestamp("created_on"), *map(text, names), *map(text, ("owner_role_type", "change_tracking"))]

    def row(o: CatalogueObject) -> tuple[Any, ...]:
        shown = (o.created_on, o.name, "", o.database, o.schema, o.owner, o.comment or "", o.props["text"])
        return (*shown, "false", "false", "ROLE", "OFF")

    return show(ctx, cursor, "VIEW", columns, row)


@command("SHOW", "OBJECTS")
def show_objects(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    """Tables and views together. Source: docs.snowflake.com, sql-reference/sql/show-objects."""
    names = ("name", "database_name", "schema_name", "kind", "comment", "cluster_by")
    columns = [timestamp("created_on"), *map(text, names), number("rows"), number("bytes"), *map(text, ("owner", "retention_time"))]
    options = read_options(ctx, cursor, "TABLE")
    found = sorted((*select(ctx, "TABLE", options), *select(ctx, "VIEW", options)), key=lambda obj: obj.name)

    def row(obj: CatalogueObject) -> tuple[Any, ...]:
        rows = ctx.account.engine.row_count(obj) if obj.kind == "TABLE" else None
        start = (obj.created_on, obj.name, obj.database, obj.schema, obj.kind, obj.comment or "", "")
        return (*start, rows, None if rows is None else rows * 64, obj.owner, "1", "ROLE")

    return ResultSet([*columns, text("owner_role_type")], [row(obj) for obj in found])


@command("DESCRIBE", "TABLE")
@command("DESCRIBE", "VIEW")
def describe_table(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.rest()
    kind = "VIEW" if ctx.find("TABLE", name) is None and ctx.find("VIEW", name) is not None else "TABLE"
    obj = ctx.get(kind, name, anything=True)
    names = ("name", "type", "kind", "null?", "default", "primary key", "unique key", "check", "expression", "comment", "policy name")
    rows = [
        (
            c["name"],
            c["type"],
            "COLUMN",
            "Y" if c["nullable"] else "N",
            c.get("default"),
            "Y" if c.get("primary_key") else "N",
            "N",
            None,
            None,
            c.get("comment"),
            None,
        )
        for c in obj.props["columns"]
    ]
    return ResultSet([text(n) for n in names], rows)


@command("SHOW", "COLUMNS")
def show_columns(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    """SHOW COLUMNS [LIKE …] IN {TABLE t | VIEW v | SCHEMA s | DATABASE d | ACCOUNT | t}."""
    from emulator.commands.show import like_pattern, read_options, select

    pattern = like_pattern(cursor.string()) if cursor.accept("LIKE") else None
    if cursor.peek(1).is_word("ACCOUNT", "DATABASE", "SCHEMA") or cursor.at_end():
        options = read_options(ctx, cursor, "TABLE")
        tables = select(ctx, "TABLE", options)
    else:
        if not (cursor.accept("IN") or cursor.accept("FROM")):
            raise cursor.error()
        cursor.accept_any("TABLE", "VIEW")
        name = cursor.name()
        cursor.end()
        kind = "VIEW" if ctx.find("TABLE", name) is None and ctx.find("VIEW", name) is not None else "TABLE"
        tables = [ctx.get(kind, name, anything=True)]
    names = ("table_name", "schema_name", "column_name", "data_type", "null?", "default", "kind", "expression", "comment")
    rows = []
    for obj in tables:
        for c in obj.props["columns"]:
            if pattern is None or pattern.match(c["name"]):
                nullable = "true" if c["nullable"] else "NOT_NULL"
                shown = (obj.name, obj.schema, c["name"], _json_type(c), nullable, c.get("default") or "", "COLUMN", "")
                rows.append((*shown, c.get("comment") or "", obj.database, ""))
    return ResultSet([text(n) for n in (*names, "database_name", "autoincrement")], rows)


def _json_type(col: dict[str, Any]) -> str:
    import json

    base, _, rest = col["type"].partition("(")
    numbers = [int(p) for p in rest.rstrip(")").split(",") if p.strip().isdigit()]
    kind: dict[str, Any] = {"type": {"NUMBER": "FIXED", "VARCHAR": "TEXT", "FLOAT": "REAL"}.get(base, base)}
    if base == "NUMBER":
        kind |= {"precision": numbers[0], "scale": numbers[1]}
    elif base == "VARCHAR":
        kind |= {"length": numbers[0], "byteLength": min(numbers[0] * 4, 16777216)}
    return json.dumps({**kind, "nullable": col["nullable"]})
