"""DuckDB's failures in Snowflake's numbers and words."""

from __future__ import annotations

import re

import duckdb
from sqlglot.errors import ParseError, TokenError

from emulator import errors

_UNKNOWN_FUNCTION = re.compile(r"(?:Scalar|Table|Aggregate)? ?Function with name \"?(\w+)\"? does not exist", re.IGNORECASE)
_COLUMN = re.compile(r"Referenced column \"(.*?)\" not found|does not have a column named \"(.*?)\"", re.DOTALL)
_TABLE = re.compile(r"Referenced table \"(.*?)\" not found")
_NO_TABLE = re.compile(r"Table with name (.*?) does not exist")
_VALUE = re.compile(r"[Cc]ould not convert string ['\"](.*?)['\"] to (\w+)|invalid (\w+) field format: \"(.*?)\"", re.DOTALL)
_NUMERIC = re.compile(r"INT|DECIMAL|DOUBLE|FLOAT", re.IGNORECASE)
_WIDTH = re.compile(r"has (\d+) columns but (\d+) values were supplied")
_WHERE = re.compile(r'in file ".*?", at byte \d+ in record/value \d+: ')
_VARIANT = re.compile(r"Failed to cast value to (\w+): (.*)")
_VARIANT_TYPES = {"boolean": "BOOLEAN", "date": "DATE", "timestamp": "TIMESTAMP_NTZ"}
_NOT_NULL = re.compile(r"NOT NULL constraint failed: .*?\.?([^.\s]+)$")


def translate(error: duckdb.Error) -> errors.SqlError:
    """The SQL error for a DuckDB exception; the engine's own name never shows."""
    text = str(error)
    if isinstance(error, duckdb.InterruptException):
        return errors.canceled()
    if "Division by zero" in text:
        return errors.division_by_zero()
    if "Malformed JSON" in text:
        return errors.bad_json(_WHERE.sub("", text.partition("Malformed JSON")[2]).strip(" :\n") or "malformed value")
    if match := _VARIANT.search(text):
        return errors.SqlError(100071, "22018", f"Failed to cast variant value {match[2]} to {_VARIANT_TYPES.get(match[1], 'FIXED')}")
    if match := _UNKNOWN_FUNCTION.search(text):
        return errors.unknown_function(match[1].upper())
    if match := _COLUMN.search(text):
        return errors.invalid_identifier(match[1] or match[2])
    if match := _TABLE.search(text):
        return errors.invalid_identifier(match[1])
    if match := _NO_TABLE.search(text):
        return errors.table_does_not_exist(match[1])
    if match := _WIDTH.search(text):
        wanted, given = match[1], match[2]
        return errors.SqlError(
            2020,
            "21S01",
            f"{errors.COMPILATION}Insert value list does not match column list expecting {wanted} but got {given}",
        )
    if match := _NOT_NULL.search(text):
        return errors.SqlError(100072, "22000", f"NULL result in a non-nullable column '{match[1]}'")
    if isinstance(error, duckdb.ConversionException):
        return _conversion(text)
    if isinstance(error, duckdb.OutOfRangeException):
        return errors.SqlError(100039, "22003", _plain(text))
    if isinstance(error, duckdb.BinderException | duckdb.CatalogException | duckdb.ParserException):
        return errors.compilation(_plain(text))
    return errors.execution(_plain(text))


def _conversion(text: str) -> errors.SqlError:
    match = _VALUE.search(text)
    if match is None:
        return errors.bad_cast(_plain(text))
    value, kind = (match[1], match[2]) if match[2] else (match[4], match[3])
    if _NUMERIC.search(kind):
        return errors.bad_cast(f"Numeric value '{value}' is not recognized")
    if kind.upper().startswith("BOOL"):
        return errors.SqlError(100037, "22018", f"Boolean value '{value}' is not recognized")
    return errors.SqlError(100035, "22007", f"{kind.capitalize()} '{value}' is not recognized")


def _plain(text: str) -> str:
    """The first paragraph without the engine's prefix and hints."""
    first = text.split("\n")[0]
    first = re.sub(r"^(\w+ )?\w+ Error: ", "", first)
    return re.sub(r"duckdb", "engine", first, flags=re.IGNORECASE)


def syntax(error: ParseError | TokenError, text: str) -> errors.SqlError:
    """A statement that cannot be parsed."""
    details = getattr(error, "errors", None)
    if not details or not details[0].get("line"):
        first = text.split(maxsplit=1)[0] if text.strip() else ""
        return errors.syntax_error(first, 1, 0)
    line, column, token = details[0]["line"], details[0]["col"], details[0].get("highlight") or ""
    return errors.syntax_error(token or "<EOF>", line, max(0, column - len(token)))
