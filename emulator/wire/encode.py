"""Results in the two shapes of the wire: rows of strings (JSON) and Arrow streams with Snowflake's field metadata."""

from __future__ import annotations

import base64
import datetime as dt
import io
from decimal import Decimal
from typing import Any

import pyarrow as pa

from emulator.results import Column, ResultSet

_EPOCH_DATE = dt.date(1970, 1, 1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_BYTE_LENGTH = 16777216


def row_type(column: Column) -> dict[str, Any]:
    """The column as the driver wants it described."""
    fixed = column.type == "FIXED"
    text = column.type in ("TEXT", "BINARY")
    timestamp = column.type.startswith("TIMESTAMP") or column.type == "TIME"
    return {
        "name": column.name,
        "database": "",
        "schema": "",
        "table": "",
        "type": column.type.lower(),
        "nullable": column.nullable,
        "precision": column.precision if fixed else (0 if timestamp else None),
        "scale": column.scale if fixed else (9 if timestamp else None),
        "length": column.length if text else None,
        "byteLength": min(column.length * 4, _BYTE_LENGTH) if text else None,
        "collation": None,
    }


def json_rows(result: ResultSet) -> list[list[str | None]]:
    """The rows as strings: what the JSON format carries."""
    return [[json_value(value, column.type) for value, column in zip(row, result.columns, strict=True)] for row in result.rows]


def json_value(value: Any, type_name: str) -> str | None:
    """One value as the JSON format writes it. Timestamps `epoch.nnnnnnnnn`, dates in days, booleans 1 and 0."""
    if value is None:
        return None
    if type_name == "BOOLEAN":
        return "1" if value else "0"
    if type_name.startswith("TIMESTAMP"):
        text = _epoch(value)
        return f"{text} 1440" if type_name == "TIMESTAMP_TZ" else text
    if type_name == "DATE":
        return str((value - _EPOCH_DATE).days)
    if type_name == "TIME":
        return f"{value.hour * 3600 + value.minute * 60 + value.second}.{value.microsecond * 1000:09d}"
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex().upper()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    return str(value)


def _epoch(value: Any) -> str:
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
        delta = aware - _EPOCH
        return f"{delta.days * 86400 + delta.seconds}.{delta.microseconds * 1000:09d}"
    nanoseconds = round(float(value) * 1_000_000) * 1000
    return f"{nanoseconds // 1_000_000_000}.{nanoseconds % 1_000_000_000:09d}"


# -- Arrow


def arrow_base64(table: pa.Table, columns: list[Column]) -> str:
    """The table as a base64 Arrow stream with the metadata that the drivers' converters look at."""
    arrays, fields = [], []
    for index, column in enumerate(columns):
        array, field = _arrow_column(table.column(index), column)
        arrays.append(array)
        fields.append(field)
    shaped = pa.Table.from_arrays(arrays, schema=pa.schema(fields)).combine_chunks()
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, shaped.schema) as writer:
        writer.write_table(shaped)
    return base64.b64encode(sink.getvalue()).decode()


def _arrow_column(data: pa.ChunkedArray, column: Column) -> tuple[pa.ChunkedArray, pa.Field]:
    metadata = {
        "logicalType": column.type,
        "precision": str(column.precision),
        "scale": str(column.scale),
        "charLength": str(column.length),
        "byteLength": str(_BYTE_LENGTH),
        "finalType": "T",
    }
    if column.type.startswith("TIMESTAMP"):
        metadata["scale"] = "9"
        data = _timestamps(data, column.type)
    elif column.type == "FIXED":
        data = data.cast(pa.int64()) if column.scale == 0 and column.precision <= 18 else _decimal(data, column)
    elif column.type == "REAL":
        data = data.cast(pa.float64())
    elif column.type == "TIME":
        metadata["scale"] = "9"
        data = data.cast(pa.time64("ns")).cast(pa.int64())
    elif column.type == "BINARY":
        data = data.cast(pa.binary())
    elif column.type not in ("BOOLEAN", "DATE"):
        data = data.cast(pa.string())
    return data, pa.field(column.name, data.type, nullable=True, metadata=metadata)


def _decimal(data: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    if pa.types.is_decimal(data.type):
        return data.cast(pa.decimal128(column.precision, column.scale))
    if pa.types.is_floating(data.type):
        values = [None if v is None else Decimal(int(v)) for v in data.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.decimal128(38, column.scale))])
    return data.cast(pa.decimal128(38, 0)) if column.scale == 0 else data.cast(pa.decimal128(38, column.scale))


def _timestamps(data: pa.ChunkedArray, type_name: str) -> pa.ChunkedArray:
    """Struct {epoch: int64 seconds, fraction: int32 nanoseconds[, timezone: int32 minutes + 1440]}."""
    utc = data.cast(pa.timestamp("ns")) if data.type.tz is None else data.cast(pa.timestamp("ns", data.type.tz))
    nanoseconds = utc.cast(pa.int64()).to_pylist()
    epoch = pa.array([None if v is None else v // 1_000_000_000 for v in nanoseconds], pa.int64())
    fraction = pa.array([None if v is None else v % 1_000_000_000 for v in nanoseconds], pa.int32())
    children, names = [epoch, fraction], ["epoch", "fraction"]
    if type_name == "TIMESTAMP_TZ":
        children.append(pa.array([None if v is None else 1440 for v in nanoseconds], pa.int32()))
        names.append("timezone")
    mask = pa.array([v is None for v in nanoseconds], pa.bool_())
    return pa.chunked_array([pa.StructArray.from_arrays(children, names=names, mask=mask)])


def arrow_table(result: ResultSet) -> pa.Table:
    """Any result as a plain Arrow table (for queries over earlier results). Column names are kept as they are."""
    if result.arrow is not None:
        return result.arrow
    arrays = []
    for index, column in enumerate(result.columns):
        values = [row[index] for row in result.rows]
        arrays.append(pa.array([_plain(value, column.type) for value in values], _plain_type(column)))
    return pa.Table.from_arrays(arrays, names=[column.name for column in result.columns])


def _plain_type(column: Column) -> pa.DataType:
    if column.type == "FIXED":
        return pa.int64() if column.scale == 0 else pa.float64()
    if column.type.startswith("TIMESTAMP"):
        return pa.timestamp("us", None if column.type == "TIMESTAMP_NTZ" else "UTC")
    simple = {"REAL": pa.float64(), "BOOLEAN": pa.bool_(), "DATE": pa.date32(), "TIME": pa.time64("us"), "BINARY": pa.binary()}
    return simple.get(column.type, pa.string())


def _plain(value: Any, type_name: str) -> Any:
    if value is None:
        return None
    if type_name.startswith("TIMESTAMP") and not isinstance(value, dt.datetime):
        return dt.datetime.fromtimestamp(float(value), dt.UTC)
    if type_name == "FIXED":
        return value if isinstance(value, int) else float(value)
    if type_name in ("TEXT", "VARIANT", "OBJECT", "ARRAY") and not isinstance(value, str):
        return json_value(value, type_name)
    return value
