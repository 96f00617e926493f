"""Checking a service specification against a declarative table (see `document`): a small walker, and checks of single values.

Messages take the form of the service's own (`unknown option 'x' for 'containers[0]'`). Source: specification reference, 2026.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emulator.runtime.units import parse_cpu, parse_memory

_NAME = re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
_PORT_RANGE = re.compile(r"^\d{1,5}-\d{1,5}$")


class SpecError(ValueError):
    """The specification is not acceptable; the text goes behind `Invalid spec: `."""


Check = Callable[[Any, str, str], Any]  # (value, option, where) → normalised value


@dataclass(frozen=True)
class Fields:
    """A mapping with known keys. `hints` name what to write instead of an outdated key."""

    fields: dict[str, Any]
    required: tuple[str, ...] = ()
    hints: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Items:
    """A list of one kind of thing; an empty list is an error, as the service says."""

    item: Any
    maximum: int = 1000


def check(schema: Any, value: Any, option: str, where: str) -> Any:
    """`value` in normalised form. Raises SpecError."""
    if isinstance(schema, Fields):
        return _check_fields(schema, value, option)
    if isinstance(schema, Items):
        return _check_items(schema, value, option)
    return schema(value, option, where)


def _check_fields(schema: Fields, value: Any, option: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(f"invalid '{option}'. Expected a mapping, got {_kind(value)}")
    hints = dict(schema.hints)
    for key in value:
        if key not in schema.fields:
            hint = f" (write '{hints[key]}')" if key in hints else ""
            raise SpecError(f"unknown option '{key}' for '{option}'{hint}")
    for key in schema.required:
        if value.get(key) is None:
            raise SpecError(f"missing '{key}' for '{option}'")
    present = ((key, inner) for key, inner in schema.fields.items() if value.get(key) is not None)
    return {key: check(inner, value[key], key, option) for key, inner in present}


def _check_items(schema: Items, value: Any, option: str) -> list[Any]:
    if not isinstance(value, list):
        raise SpecError(f"invalid '{option}'. Expected a list, got {_kind(value)}")
    if not value:
        raise SpecError(f"invalid '{option}'. Value is empty")
    if len(value) > schema.maximum:
        raise SpecError(f"invalid '{option}'. At most {schema.maximum} entries are allowed")
    return [check(schema.item, item, f"{option}[{index}]", option) for index, item in enumerate(value)]


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")


def text(value: Any, option: str, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise SpecError(f"invalid '{option}' for '{where}'. Expected text, got {_kind(value)}")


def name(value: Any, option: str, where: str) -> str:
    if not isinstance(value, str) or not _NAME.match(value):
        rule = "Use at most 63 lower-case letters, digits and '-', starting with a letter and ending with a letter or digit"
        raise SpecError(f"invalid '{option}' for '{where}': '{value}'. {rule}")
    return value


def boolean(value: Any, option: str, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise SpecError(f"invalid '{option}' for '{where}'. Expected true or false, got '{value}'")


def integer(value: Any, option: str, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isdigit():
        return int(value)
    raise SpecError(f"invalid '{option}' for '{where}'. Expected a whole number, got '{value}'")


def port(value: Any, option: str, where: str) -> int:
    number = integer(value, option, where)
    if not 0 < number < 65536:
        raise SpecError(f"invalid '{option}' for '{where}': {number} is not a port (1 to 65535)")
    return number


def port_range(value: Any, option: str, where: str) -> str:
    if not isinstance(value, str) or not _PORT_RANGE.match(value):
        raise SpecError(f"invalid '{option}' for '{where}'. Expected first-last, got '{value}'")
    return value


def environment(value: Any, option: str, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise SpecError(f"invalid '{option}'. Expected a mapping, got {_kind(value)}")
    return {str(key): text(inner, str(key), option) for key, inner in value.items()}


def memory(value: Any, option: str, where: str) -> str:
    try:
        parse_memory(value)
    except ValueError as error:
        raise SpecError(f"invalid '{option}' for '{where}': {error}") from None
    return str(value)


def cpu(value: Any, option: str, where: str) -> str:
    try:
        parse_cpu(value)
    except ValueError as error:
        raise SpecError(f"invalid '{option}' for '{where}': {error}") from None
    return str(value)


def absolute_path(value: Any, option: str, where: str) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise SpecError(f"invalid '{option}' for '{where}'. Expected an absolute path, got '{value}'")
    return value


def one_of(*allowed: str) -> Check:
    def _one_of(value: Any, option: str, where: str) -> str:
        if str(value) not in allowed:
            raise SpecError(f"invalid '{option}' for '{where}': '{value}'. Allowed: {', '.join(allowed)}")
        return str(value)

    return _one_of


def amount(value: Any, option: str, where: str) -> float | int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise SpecError(f"invalid '{option}' for '{where}'. Expected a number, got '{value}'")


def matching(pattern: str, expected: str) -> Check:
    """Text of a form; `expected` says which, for a person."""

    def _matching(value: Any, option: str, where: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise SpecError(f"invalid '{option}' for '{where}': '{value}'. Expected {expected}")
        return value

    return _matching


def secret_reference(value: Any, option: str, where: str) -> str | dict[str, str]:
    if isinstance(value, str):
        return value
    fields: dict[str, str] = check(Fields({"objectName": text, "objectReference": text}), value, option, where)
    if len(fields) != 1:
        raise SpecError(f"invalid '{option}' for '{where}'. Give objectName or objectReference")
    return fields
