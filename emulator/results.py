"""What a statement gives back: typed columns and rows, before they take the shape of the wire.

Values in rows are plain Python: str, int, float, Decimal, bool, None, bytes, datetime, date. `Column.type` is a Snowflake type name
(`TEXT`, `FIXED`, `REAL`, `BOOLEAN`, `DATE`, `TIME`, `TIMESTAMP_LTZ`, `TIMESTAMP_NTZ`, `TIMESTAMP_TZ`, `VARIANT`, `OBJECT`,
`ARRAY`, `BINARY`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Column:
    """One result column. `precision` and `scale` count for FIXED only; `length` for TEXT."""

    name: str
    type: str = "TEXT"
    precision: int = 38
    scale: int = 0
    length: int = 16777216
    nullable: bool = True


@dataclass
class ResultSet:
    """Rows of a statement. `arrow` holds a query's result instead of `rows`.

    `statement_type` is the driver's statementTypeId (0x3000 and up is DML: the first row's numbers are the update count).
    `updated_rows` is given by DML only.
    """

    columns: list[Column]
    rows: Sequence[Sequence[Any]] = field(default_factory=list)
    statement_type: int = 0x4000
    arrow: Any = None
    updated_rows: int | None = None
    warning: str | None = None

    @classmethod
    def status(cls, message: str) -> ResultSet:
        """The one-row answer of DDL."""
        return cls([Column("status")], [(message,)], statement_type=0x6000)


def text(name: str) -> Column:
    return Column(name)


def number(name: str, precision: int = 38, scale: int = 0) -> Column:
    return Column(name, "FIXED", precision=precision, scale=scale)


def boolean(name: str) -> Column:
    return Column(name, "BOOLEAN")


def timestamp(name: str) -> Column:
    """A TIMESTAMP_LTZ column; rows hold epoch seconds (float) or an aware datetime."""
    return Column(name, "TIMESTAMP_LTZ", scale=9)
