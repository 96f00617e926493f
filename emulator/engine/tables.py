"""CREATE TABLE and friends: from a parsed statement to a stored table and its columns in the catalogue."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import duckdb
from sqlglot import exp

from emulator import errors, warehouses
from emulator.engine import faults, types
from emulator.engine.engine import rollback, stored_name
from emulator.engine.functions import Functions
from emulator.engine.rewrite import rewrite
from emulator.engine.sources import TABLES
from emulator.results import ResultSet

if TYPE_CHECKING:
    from emulator.catalogue.store import CatalogueObject
    from emulator.commands.context import CommandContext


def column_definitions(schema: exp.Schema) -> list[dict[str, Any]]:
    """The declared columns as the catalogue keeps them: name, type, nullable, default, comment, primary_key."""
    found: list[dict[str, Any]] = []
    keys: set[str] = set()
    for part in schema.expressions:
        if isinstance(part, exp.ColumnDef):
            found.append(column_definition(part))
        else:
            key = part.find(exp.PrimaryKey)
            if key is not None:
                keys |= {str(e.name) for e in key.expressions}
    for col in found:
        if col["name"] in keys:
            col["primary_key"], col["nullable"] = True, False
    names = [col["name"] for col in found]
    for name in names:
        if names.count(name) > 1:
            raise errors.SqlError(2025, "42S21", f"{errors.COMPILATION}duplicate column name '{name}'")
    return found


def column_definition(part: exp.ColumnDef) -> dict[str, Any]:
    """One declared column. Raises 1003 without a type."""
    kind = part.args.get("kind")
    if not isinstance(kind, exp.DataType):
        raise errors.compilation(f"Column '{part.name}' needs a data type.")
    col: dict[str, Any] = {
        "name": str(part.name),
        "type": types.snowflake_type(kind),
        "stored": types.storage_type(kind),
        "nullable": True,
        "default": None,
        "comment": None,
    }
    for constraint in part.args.get("constraints") or []:
        rule = constraint.kind
        if isinstance(rule, exp.NotNullColumnConstraint):
            col["nullable"] = bool(rule.args.get("allow_null"))
        elif isinstance(rule, exp.PrimaryKeyColumnConstraint):
            col["primary_key"], col["nullable"] = True, False
        elif isinstance(rule, exp.DefaultColumnConstraint):
            col["default"] = rule.this.sql("snowflake")
        elif isinstance(rule, exp.CommentColumnConstraint):
            col["comment"] = rule.this.name
        elif isinstance(rule, exp.GeneratedAsIdentityColumnConstraint | exp.AutoIncrementColumnConstraint):
            col["identity"] = True
    return col


def make_stored_table(
    ctx: CommandContext, columns: list[dict[str, Any]], rows: ResultSet | None = None, copy_of: CatalogueObject | None = None
) -> str:
    """Makes a stored table under a fresh name, filled from a query's rows or another table. Gives the name.

    The catalogue's entry is made afterwards: a table without an entry goes at the next start, so that a kill leaves nothing half-made.
    """
    name = f"t{uuid.uuid4().hex}"
    parts, before = [], []
    for col in columns:
        text = f"{_quoted(col['name'])} {col['stored']}"
        if col.get("identity"):
            sequence = f'{TABLES}."{name}_{col["name"]}"'
            before.append(f"CREATE SEQUENCE {sequence}")
            text += f" DEFAULT nextval('{sequence}')"
        elif col.get("default") is not None:
            text += f" DEFAULT ({default_sql(ctx, col['default'])})"
        parts.append(text + ("" if col["nullable"] else " NOT NULL"))
    duck = ctx.account.engine.cursor()
    try:
        duck.begin()
        for statement in (*before, f'CREATE TABLE {TABLES}."{name}" ({", ".join(parts)})'):
            duck.execute(statement)
        if rows is not None:
            duck.register("query_rows", rows.arrow)
            pairs = zip(rows.arrow.column_names, columns, strict=True)
            casts = ", ".join(f"CAST({_quoted(given)} AS {col['stored']})" for given, col in pairs)
            duck.execute(f'INSERT INTO {TABLES}."{name}" SELECT {casts} FROM query_rows')
        elif copy_of is not None:
            duck.execute(f'INSERT INTO {TABLES}."{name}" SELECT * FROM {stored_name(copy_of)}')
        duck.commit()
    except duckdb.Error as error:
        rollback(duck)
        raise faults.translate(error) from None
    return name


def drop_stored_table(ctx: CommandContext, name: str) -> None:
    """Takes back a table whose entry could not be made."""
    ctx.account.engine.execute(f'DROP TABLE IF EXISTS {TABLES}."{name}"')


def default_sql(ctx: CommandContext, text: str) -> str:
    """A column default in DuckDB's terms."""
    functions = Functions(ctx, ctx.account.engine.cursor())
    return rewrite(functions.resolve(ctx.account.engine.parse(f"SELECT {text}")).expressions[0].unalias()).sql("duckdb")


def select_columns(result: ResultSet) -> list[dict[str, Any]]:
    """Declared columns for a query's result (CTAS, views)."""
    found = []
    for col in result.columns:
        shown = {
            "FIXED": f"NUMBER({col.precision},{col.scale})",
            "REAL": "FLOAT",
            "TEXT": f"VARCHAR({col.length})",
            "BINARY": "BINARY(8388608)",
            "TIME": "TIME(9)",
        }.get(col.type, f"{col.type}(9)" if col.type.startswith("TIMESTAMP") else col.type)
        stored = types.storage_type(exp.DataType.build(shown, dialect="snowflake"))
        if col.type == "FIXED" and col.scale == 0:
            stored = "BIGINT"
        found.append({"name": col.name, "type": shown, "stored": stored, "nullable": True, "default": None, "comment": None})
    return found


def run_query(ctx: CommandContext, query: exp.Expr, *, describe_only: bool = False) -> ResultSet:
    """The result of a parsed query (for CTAS, views, COPY)."""
    if not describe_only:
        warehouses.use(ctx)
    return ctx.account.engine.query(ctx, query.sql("snowflake"), describe_only=describe_only)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
