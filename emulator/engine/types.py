"""Types: Snowflake's names, DuckDB's storage, and what the wire says about a column."""

from __future__ import annotations

import re

from sqlglot import exp

from emulator.results import Column

_D = exp.DataType.Type
_JSON = {_D.VARIANT, _D.OBJECT, _D.ARRAY, _D.MAP, _D.STRUCT, _D.JSON}
_INTEGERS = {_D.INT, _D.BIGINT, _D.SMALLINT, _D.TINYINT, _D.INT128}
_FLOATS = {_D.FLOAT, _D.DOUBLE}
_TEXTS = {_D.VARCHAR, _D.CHAR, _D.TEXT, _D.NVARCHAR, _D.NCHAR}
_STORED = {
    _D.BOOLEAN: "BOOLEAN",
    _D.DATE: "DATE",
    _D.TIME: "TIME",
    _D.TIMESTAMPLTZ: "TIMESTAMPTZ",
    _D.TIMESTAMPTZ: "TIMESTAMPTZ",
    _D.TIMESTAMPNTZ: "TIMESTAMP",
    _D.TIMESTAMP: "TIMESTAMP",
    _D.DATETIME: "TIMESTAMP",
    _D.BINARY: "BLOB",
    _D.VARBINARY: "BLOB",
}
_SHOWN = {
    _D.BOOLEAN: "BOOLEAN",
    _D.DATE: "DATE",
    _D.TIME: "TIME(9)",
    _D.TIMESTAMPLTZ: "TIMESTAMP_LTZ(9)",
    _D.TIMESTAMPTZ: "TIMESTAMP_TZ(9)",
    _D.TIMESTAMPNTZ: "TIMESTAMP_NTZ(9)",
    _D.TIMESTAMP: "TIMESTAMP_NTZ(9)",
    _D.DATETIME: "TIMESTAMP_NTZ(9)",
    _D.BINARY: "BINARY(8388608)",
    _D.VARBINARY: "BINARY(8388608)",
    _D.VARIANT: "VARIANT",
    _D.OBJECT: "OBJECT",
    _D.ARRAY: "ARRAY",
    _D.MAP: "OBJECT",
    _D.STRUCT: "OBJECT",
    _D.JSON: "VARIANT",
}


def is_text(kind: exp.DataType) -> bool:
    return kind.this in _TEXTS


def is_json(kind: exp.DataType) -> bool:
    return kind.this in _JSON


def _parameters(kind: exp.DataType) -> list[int]:
    found = []
    for parameter in kind.expressions:
        literal = parameter.this if isinstance(parameter, exp.DataTypeParam) else parameter
        if isinstance(literal, exp.Literal) and not literal.is_string:
            found.append(int(literal.name))
    return found


def storage_type(kind: exp.DataType) -> str:
    """The DuckDB type that keeps values of a Snowflake type."""
    if kind.this in _JSON:
        return "JSON"
    if kind.this in _INTEGERS:
        return "HUGEINT" if kind.this == _D.INT128 else "BIGINT"
    if kind.this in _FLOATS:
        return "DOUBLE"
    if kind.this in _TEXTS:
        return "VARCHAR"
    if kind.this == _D.DECIMAL:
        precision, scale = ([*_parameters(kind), 0] if _parameters(kind) else [38, 0])[:2]
        if scale == 0:
            return "BIGINT" if precision <= 18 else "HUGEINT"
        return f"DECIMAL({precision}, {scale})"
    stored = _STORED.get(kind.this)
    return stored if stored is not None else str(kind.sql("duckdb"))


def snowflake_type(kind: exp.DataType) -> str:
    """The type as DESCRIBE TABLE shows it."""
    if kind.this in _INTEGERS:
        return "NUMBER(38,0)"
    if kind.this in _FLOATS:
        return "FLOAT"
    if kind.this in _TEXTS:
        default = 1 if kind.this in (_D.CHAR, _D.NCHAR) else 16777216
        return f"VARCHAR({(_parameters(kind) or [default])[0]})"
    if kind.this == _D.DECIMAL:
        precision, scale = ([*_parameters(kind), 0] if _parameters(kind) else [38, 0])[:2]
        return f"NUMBER({precision},{scale})"
    shown = _SHOWN.get(kind.this)
    return shown if shown is not None else str(kind.sql("snowflake"))


_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_RESULTS = {
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIME": "TIME",
    "FLOAT": "REAL",
    "DOUBLE": "REAL",
    "VARCHAR": "TEXT",
    "JSON": "VARIANT",
    "BLOB": "BINARY",
    "TIMESTAMP": "TIMESTAMP_NTZ",
    "TIMESTAMP_S": "TIMESTAMP_NTZ",
    "TIMESTAMP_MS": "TIMESTAMP_NTZ",
    "TIMESTAMP_NS": "TIMESTAMP_NTZ",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_LTZ",
}
_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}


def result_column(name: str, duckdb_type: str) -> Column:
    """A result column for a DuckDB type name."""
    if duckdb_type in _WHOLE:
        return Column(name, "FIXED", precision=38, scale=0)
    decimal = _DECIMAL.fullmatch(duckdb_type)
    if decimal:
        return Column(name, "FIXED", precision=int(decimal[1]), scale=int(decimal[2]))
    if duckdb_type.endswith("]"):
        return Column(name, "ARRAY")
    if duckdb_type.startswith(("STRUCT", "MAP")):
        return Column(name, "OBJECT")
    return Column(name, _RESULTS.get(duckdb_type, "TEXT"))
