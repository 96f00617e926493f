"""INFORMATION_SCHEMA: views over the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator import errors
from emulator.commands.registry import table_function
from emulator.results import Column, ResultSet, number, text, timestamp

if TYPE_CHECKING:
    from emulator.catalogue.store import CatalogueObject
    from emulator.commands.context import CommandContext


def view(ctx: CommandContext, database: str, name: str) -> ResultSet:
    """One view of a database's INFORMATION_SCHEMA. Raises 2003/42S02 for one that is not offered."""
    makers = {"TABLES": _tables, "COLUMNS": _columns, "SCHEMATA": _schemata, "STAGES": _stages}
    if name not in makers or ctx.store.find("DATABASE", "", "", database) is None:
        raise errors.table_does_not_exist(f"{database}.INFORMATION_SCHEMA.{name}")
    return makers[name](ctx, database)


def _visible(ctx: CommandContext, database: str, *kinds: str) -> list[CatalogueObject]:
    return [o for kind in kinds for o in ctx.store.list(kind, database) if ctx.access.visible(ctx.roles, o)]


def _tables(ctx: CommandContext, database: str) -> ResultSet:
    columns = [
        text("TABLE_CATALOG"),
        text("TABLE_SCHEMA"),
        text("TABLE_NAME"),
        text("TABLE_OWNER"),
        text("TABLE_TYPE"),
        number("ROW_COUNT"),
        number("BYTES"),
        timestamp("CREATED"),
        timestamp("LAST_ALTERED"),
        text("COMMENT"),
    ]
    rows: list[tuple[Any, ...]] = [
        (
            o.database,
            o.schema,
            o.name,
            o.owner,
            "BASE TABLE" if o.kind == "TABLE" else "VIEW",
            ctx.account.engine.row_count(o) if o.kind == "TABLE" else None,
            None,
            o.created_on,
            o.updated_on,
            o.comment,
        )
        for o in _visible(ctx, database, "TABLE", "VIEW")
    ]
    return ResultSet(columns, rows)


def _columns(ctx: CommandContext, database: str) -> ResultSet:
    columns = [
        text("TABLE_CATALOG"),
        text("TABLE_SCHEMA"),
        text("TABLE_NAME"),
        text("COLUMN_NAME"),
        number("ORDINAL_POSITION"),
        text("COLUMN_DEFAULT"),
        text("IS_NULLABLE"),
        text("DATA_TYPE"),
        text("COMMENT"),
    ]
    rows = []
    for obj in _visible(ctx, database, "TABLE", "VIEW"):
        for position, col in enumerate(obj.props.get("columns", []), 1):
            rows.append(
                (
                    obj.database,
                    obj.schema,
                    obj.name,
                    col["name"],
                    position,
                    col.get("default"),
                    "YES" if col.get("nullable", True) else "NO",
                    {"VARCHAR": "TEXT"}.get(col["type"].partition("(")[0], col["type"].partition("(")[0]),
                    col.get("comment"),
                )
            )
    return ResultSet(columns, rows)


def _schemata(ctx: CommandContext, database: str) -> ResultSet:
    columns = [text("CATALOG_NAME"), text("SCHEMA_NAME"), text("SCHEMA_OWNER"), timestamp("CREATED"), text("COMMENT")]
    rows = [(o.database, o.name, o.owner, o.created_on, o.comment) for o in _visible(ctx, database, "SCHEMA")]
    return ResultSet(columns, rows)


def _stages(ctx: CommandContext, database: str) -> ResultSet:
    columns = [text("STAGE_CATALOG"), text("STAGE_SCHEMA"), text("STAGE_NAME"), text("STAGE_OWNER"), text("COMMENT")]
    rows = [(o.database, o.schema, o.name, o.owner, o.comment) for o in _visible(ctx, database, "STAGE")]
    return ResultSet(columns, rows)


@table_function("QUERY_HISTORY")
def query_history(ctx: CommandContext, args: list[Any]) -> ResultSet:
    """The statements of the session's user (of everybody with MONITOR USAGE), newest first."""
    named: dict[str, Any] = dict(a for a in args if isinstance(a, tuple))
    limit = int(named.get("RESULT_LIMIT", 100))
    everybody = "MONITOR USAGE" in ctx.access.global_privileges(ctx.roles)
    columns = [
        text("QUERY_ID"),
        text("QUERY_TEXT"),
        text("USER_NAME"),
        text("ROLE_NAME"),
        text("WAREHOUSE_NAME"),
        text("EXECUTION_STATUS"),
        text("ERROR_CODE"),
        text("ERROR_MESSAGE"),
        timestamp("START_TIME"),
        timestamp("END_TIME"),
        number("SESSION_ID"),
        Column("USED_WAREHOUSE", "BOOLEAN"),
    ]
    found = [s for s in ctx.account.statements.history() if everybody or s.session.user == ctx.session.user]
    rows = [
        (
            s.query_id,
            s.text,
            s.session.user,
            s.role,
            s.warehouse if s.used_warehouse else None,
            s.status,
            f"{s.error.errno:06d}" if s.error else None,
            s.error.message if s.error else None,
            s.started,
            s.ended,
            s.session.id,
            s.used_warehouse,
        )
        for s in reversed(found[-limit:])
    ]
    return ResultSet(columns, rows)
