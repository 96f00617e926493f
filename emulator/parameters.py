"""Session parameters that clients ask for or set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emulator import errors

TIMEOUT_SECONDS = 172_800


@dataclass(frozen=True)
class Parameter:
    name: str
    default: Any
    type: str
    description: str


_ALL = (
    Parameter("ABORT_DETACHED_QUERY", False, "BOOLEAN", "Abort a statement whose client is gone"),
    Parameter("AUTOCOMMIT", True, "BOOLEAN", "Each statement is its own transaction"),
    Parameter("BINARY_OUTPUT_FORMAT", "HEX", "STRING", "How BINARY values are shown"),
    Parameter("CLIENT_SESSION_KEEP_ALIVE", False, "BOOLEAN", "Drivers keep the session alive"),
    Parameter("CLIENT_TELEMETRY_ENABLED", False, "BOOLEAN", "Drivers send telemetry"),
    Parameter("DATE_OUTPUT_FORMAT", "YYYY-MM-DD", "STRING", "How DATE values are shown"),
    Parameter("ERROR_ON_NONDETERMINISTIC_MERGE", True, "BOOLEAN", "A MERGE that meets a row twice fails"),
    Parameter("MULTI_STATEMENT_COUNT", 1, "NUMBER", "Statements in one request; 0 is any number"),
    Parameter("PYTHON_CONNECTOR_QUERY_RESULT_FORMAT", "arrow", "STRING", "Format of query results"),
    Parameter("QUERY_TAG", "", "STRING", "Free text kept with the session's statements"),
    Parameter("QUOTED_IDENTIFIERS_IGNORE_CASE", False, "BOOLEAN", "Quoted names are upper-cased too"),
    Parameter("ROWS_PER_RESULTSET", 0, "NUMBER", "Most rows of a result; 0 is no bound"),
    Parameter("STATEMENT_TIMEOUT_IN_SECONDS", TIMEOUT_SECONDS, "NUMBER", "A longer statement is cancelled"),
    Parameter("TIMESTAMP_OUTPUT_FORMAT", "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM", "STRING", "How timestamps are shown"),
    Parameter("TIMESTAMP_TYPE_MAPPING", "TIMESTAMP_NTZ", "STRING", "What TIMESTAMP stands for"),
    Parameter("TIMEZONE", "UTC", "STRING", "Time zone of the session"),
    Parameter("USE_CACHED_RESULT", True, "BOOLEAN", "Repeat an unchanged query from its result"),
    Parameter("WEEK_START", 0, "NUMBER", "First day of the week"),
)
PARAMETERS = {parameter.name: parameter for parameter in _ALL}


def check(name: str, value: Any) -> Any:
    """The value as kept. Raises 1006/1008-like errors; unknown names of drivers are kept as they are."""
    parameter = PARAMETERS.get(name)
    if parameter is None:
        return value
    if parameter.type == "BOOLEAN" and not isinstance(value, bool):
        if str(value).upper() not in ("TRUE", "FALSE"):
            raise errors.invalid_parameter(value, name)
        return str(value).upper() == "TRUE"
    if parameter.type == "NUMBER":
        try:
            return int(value)
        except (TypeError, ValueError):
            raise errors.invalid_parameter(value, name) from None
    return str(value)


def shown(value: Any) -> str:
    """A value as text, booleans in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)
