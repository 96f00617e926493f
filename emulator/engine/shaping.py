"""A query's answer in Snowflake's shape: column names as written, values as clients expect them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from sqlglot import exp

from emulator.results import Column
from emulator.sql.projections import projection_texts


def is_plain_result_scan(tree: exp.Query) -> bool:
    """`SELECT * FROM TABLE(RESULT_SCAN(x))`, as the driver fetches an asynchronous result: needs no warehouse."""
    if not isinstance(tree, exp.Select) or len(tree.expressions) != 1 or not isinstance(tree.expressions[0], exp.Star):
        return False
    source = tree.args.get("from_") or tree.args.get("from")
    extras = ("where", "joins", "order", "limit", "group", "distinct", "having", "qualify", "laterals")
    if source is None or not isinstance(source.this, exp.TableFromRows) or any(tree.args.get(key) for key in extras):
        return False
    call = source.this.this
    return isinstance(call, exp.Anonymous) and str(call.this).upper() == "RESULT_SCAN"


def output_names(tree: exp.Query, text: str) -> list[str] | None:
    """Column names as Snowflake gives them: the alias, else the text in upper case. None where a star hides how many there are."""
    select = tree
    while isinstance(select, exp.SetOperation | exp.Subquery):
        select = select.this
    if not isinstance(select, exp.Select):
        return None
    written = projection_texts(text)
    names = []
    for index, projection in enumerate(select.expressions):
        if projection.is_star:
            return None
        if isinstance(projection, exp.Alias | exp.Column) and projection.output_name:
            names.append(str(projection.output_name))
        elif written is not None and len(written) == len(select.expressions):
            names.append(written[index].upper())
        else:
            names.append(projection.sql("snowflake").replace('"', "").upper())
    return names


def shape(data: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Values as clients expect them: VARIANT pretty-printed, nested DuckDB values as JSON, whole numbers small where they fit."""
    if column.type in ("VARIANT", "OBJECT", "ARRAY"):
        return pa.chunked_array([pa.array([_pretty(value) for value in data.to_pylist()], pa.string())])
    if column.type == "FIXED" and column.scale == 0 and not pa.types.is_integer(data.type):
        try:
            return data.cast(pa.int64())
        except pa.ArrowInvalid:
            return data
    if column.type == "TEXT" and not pa.types.is_string(data.type):
        return pa.chunked_array([pa.array([None if v is None else str(v) for v in data.to_pylist()], pa.string())])
    return data


def _pretty(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
