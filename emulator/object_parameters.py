"""Parameters that objects carry: set on the object, else inherited from what holds it, as SHOW PARAMETERS IN WAREHOUSE w tells."""

from __future__ import annotations

from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject, Store
from emulator.parameters import TIMEOUT_SECONDS, Parameter, shown

_TIMEOUT = Parameter("STATEMENT_TIMEOUT_IN_SECONDS", TIMEOUT_SECONDS, "NUMBER", "A longer statement is cancelled")
_WAREHOUSE = (
    Parameter("MAX_CONCURRENCY_LEVEL", 8, "NUMBER", "Statements at once in a cluster"),
    Parameter("STATEMENT_QUEUED_TIMEOUT_IN_SECONDS", 0, "NUMBER", "A statement that waits longer is cancelled; 0 is never"),
    _TIMEOUT,
)
_CONTAINER = (
    Parameter("DATA_RETENTION_TIME_IN_DAYS", 1, "NUMBER", "Days of time travel"),
    Parameter("DEFAULT_DDL_COLLATION", "", "STRING", "Collation of new columns"),
    Parameter("LOG_LEVEL", "OFF", "STRING", "Severity of messages that are kept"),
    Parameter("MAX_DATA_EXTENSION_TIME_IN_DAYS", 14, "NUMBER", "Days by which time travel may be prolonged for streams"),
)
BY_KIND: dict[str, tuple[Parameter, ...]] = {"WAREHOUSE": _WAREHOUSE, "DATABASE": _CONTAINER, "SCHEMA": _CONTAINER}
WORDS: dict[str, dict[str, str]] = {
    kind: {p.name: "int" if p.type == "NUMBER" else "any" for p in found} for kind, found in BY_KIND.items()
}
"""What a property list takes for them, by kind."""
_LIMITS = {
    "MAX_CONCURRENCY_LEVEL": (1, 1000),
    "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": (0, 2**31),
    "STATEMENT_TIMEOUT_IN_SECONDS": (0, 604_800),
    "DATA_RETENTION_TIME_IN_DAYS": (0, 90),
    "MAX_DATA_EXTENSION_TIME_IN_DAYS": (0, 90),
}
_LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF")


def take(kind: str, given: dict[str, Any], kept: dict[str, Any] | None = None) -> dict[str, Any]:
    """`kept` with those of `given` that are parameters of the kind. Raises 1008 for a value out of range."""
    found = dict(kept or {})
    for name in WORDS[kind].keys() & given.keys():
        value = given[name]
        low, high = _LIMITS.get(name, (None, None))
        if low is not None and high is not None and (not isinstance(value, int) or not low <= value <= high):
            raise errors.invalid_parameter(value, name)
        if name == "LOG_LEVEL" and str(value).upper() not in _LOG_LEVELS:
            raise errors.invalid_parameter(value, name)
        found[name] = str(value).upper() if name == "LOG_LEVEL" else value
    return found


def value_of(store: Store, obj: CatalogueObject, name: str) -> tuple[Any, str]:
    """(value, level): where it is set, '' for the account's default."""
    for level in (obj, store.find("DATABASE", "", "", obj.database) if obj.kind == "SCHEMA" else None):
        if level is not None and name in level.props.get("parameters", {}):
            return level.props["parameters"][name], level.kind
    default = next(p.default for p in BY_KIND[obj.kind] if p.name == name)
    if name == "DATA_RETENTION_TIME_IN_DAYS" and obj.props.get("transient"):
        default = min(default, 1)
    return default, ""


def rows(store: Store, obj: CatalogueObject) -> list[tuple[str, str, str, str, str, str]]:
    """Rows of SHOW PARAMETERS: key, value, default, level, description, type."""
    found = []
    for parameter in BY_KIND[obj.kind]:
        value, level = value_of(store, obj, parameter.name)
        found.append((parameter.name, shown(value), shown(parameter.default), level, parameter.description, parameter.type))
    return found
