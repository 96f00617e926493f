"""CREATE TABLE and friends: from a parsed statement to a stored table and its columns in the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

from emulator import errors, warehouses
from emulator.engine import types
from emulator.engine.engine import stored_name
from emulator.engine.functions import Functions
from emulator.engine.rewrite import rewrite
from emulator.engine.sources import schema_name
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


def store_table(ctx: CommandContext, table: CatalogueObject, columns: list[dict[str, Any]]) -> None:
    """Makes the stored table for the entry. The entry is there first: a kill between the two is healed at the next start."""
    engine = ctx.account.engine
    engine.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema_name(table.database, table.schema)}"')
    engine.execute(f"DROP TABLE IF EXISTS {stored_name(table)}")
    parts = []
    for col in columns:
        text = f"{_quoted(col['name'])} {col['stored']}"
        if col.get("identity"):
            sequence = f'"{schema_name(table.database, table.schema)}"."{table.id}_{col["name"]}"'
            engine.execute(f"CREATE OR REPLACE SEQUENCE {sequence}")
            text += f" DEFAULT nextval('{sequence}')"
        elif col.get("default") is not None:
            text += f" DEFAULT ({default_sql(ctx, col['default'])})"
        if not col["nullable"]:
            text += " NOT NULL"
        parts.append(text)
    engine.execute(f"CREATE TABLE {stored_name(table)} ({', '.join(parts)})")


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


def fill_from_query(ctx: CommandContext, table: CatalogueObject, columns: list[dict[str, Any]], result: ResultSet) -> int:
    """Stores a query's rows in the new table (CTAS)."""
    duck = ctx.account.engine.cursor()
    duck.register("ctas_rows", result.arrow)
    casts = ", ".join(f"CAST({_quoted(name)} AS {col['stored']})" for name, col in zip(result.arrow.column_names, columns, strict=True))
    try:
        duck.execute(f"INSERT INTO {stored_name(table)} SELECT {casts} FROM ctas_rows")
    finally:
        duck.unregister("ctas_rows")
    ctx.account.engine.touched(ctx.session, table)
    return int(result.arrow.num_rows)


def run_query(ctx: CommandContext, query: exp.Expr, *, describe_only: bool = False) -> ResultSet:
    """The result of a parsed query (for CTAS, views, COPY)."""
    if not describe_only:
        warehouses.use(ctx)
    return ctx.account.engine.query(ctx, query.sql("snowflake"), describe_only=describe_only)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
