"""INFER_SCHEMA: the columns of Parquet, JSON or CSV files on a stage (write_pandas asks for them)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from emulator import errors
from emulator.results import Column, ResultSet, number, text
from emulator.sql.parser import Cursor
from emulator.stages.lookup import find_stage
from emulator.stages.reader import duck_source

if TYPE_CHECKING:
    from emulator.commands.context import CommandContext


def infer_schema(ctx: CommandContext, duck: duckdb.DuckDBPyConnection, options: dict[str, exp.Expr]) -> ResultSet:
    """Columns of the files at LOCATION, read with the named FILE_FORMAT."""
    reference = Cursor(options["LOCATION"].name).stage_ref()
    stage = find_stage(ctx, reference, "READ", "USAGE")
    files = [ctx.account.stages.root(stage) / f.path for f in ctx.account.stages.list(stage, reference.path)]
    if not files:
        raise errors.file_not_found(options["LOCATION"].name)
    form = ctx.get("FILE FORMAT", Cursor(options["FILE_FORMAT"].name).name(), "USAGE")
    kind = str(form.props["options"].get("TYPE", "CSV")).upper()
    if kind == "PARQUET":
        found = [(field.name, _arrow_type(field.type), field.nullable) for field in pq.read_schema(files[0])]
    else:
        described = duck.execute(f"DESCRIBE SELECT * FROM {duck_source(kind, files)}").fetchall()
        found = [(row[0], _duck_type(row[1]), True) for row in described]
    columns = [
        text("COLUMN_NAME"),
        text("TYPE"),
        Column("NULLABLE", "BOOLEAN"),
        text("EXPRESSION"),
        text("FILENAMES"),
        number("ORDER_ID"),
    ]
    names = ", ".join(path.name for path in files)
    rows = [(name, kind, null, f"$1:{name}::{kind}", names, i) for i, (name, kind, null) in enumerate(found)]
    return ResultSet(columns, rows)


def _arrow_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "BOOLEAN"
    if pa.types.is_integer(kind):
        return "NUMBER(38, 0)"
    if pa.types.is_floating(kind):
        return "REAL"
    if pa.types.is_decimal(kind):
        return f"NUMBER({kind.precision}, {kind.scale})"
    if pa.types.is_date(kind):
        return "DATE"
    if pa.types.is_time(kind):
        return "TIME"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP_NTZ" if kind.tz is None else "TIMESTAMP_LTZ"
    if pa.types.is_binary(kind):
        return "BINARY"
    if pa.types.is_nested(kind):
        return "VARIANT"
    return "TEXT"


def _duck_type(name: str) -> str:
    if name in ("BIGINT", "INTEGER", "HUGEINT"):
        return "NUMBER(38, 0)"
    return {"DOUBLE": "REAL", "BOOLEAN": "BOOLEAN", "DATE": "DATE", "TIMESTAMP": "TIMESTAMP_NTZ", "JSON": "VARIANT"}.get(name, "TEXT")
