"""Turns a validation error of a model into sentences: what was expected, what stands there, and which field was meant."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic_core import ErrorDetails

from controller.manifests.nodes import Node, dotted
from controller.manifests.problems import did_you_mean

Segment = str | int

_MISSING = "a value is missing"
_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


@dataclass(frozen=True)
class Finding:
    """One sentence about one field. `line` is where the field, or what should hold it, stands."""

    field: str
    line: int
    message: str
    hint: str = ""


def findings(error: pydantic.ValidationError, model: type[pydantic.BaseModel], node: Node) -> list[Finding]:
    """All that a model found wrong in a tree, in the order of lines, one finding a field.

    Where a field takes several shapes, only what concerns the shape that was meant is told.
    """
    told: dict[str, Finding] = {}
    for detail in error.errors(include_url=False):
        finding = _finding(detail, model, node)
        known = told.get(finding.field)
        if known is None or (known.message.startswith("expected ") and not finding.message.startswith("expected ")):
            told[finding.field] = finding
    meant = {
        f.field.rpartition(".")[0] + "." + f.hint.split()[-1].rstrip("?") for f in told.values() if f.message.startswith("unknown field")
    }
    told = {field: f for field, f in told.items() if f.message != _MISSING or field not in meant}
    deeper = [f for f in told.values() if not any(o.field.startswith((f.field + ".", f.field + "[")) for o in told.values() if f.field)]
    return sorted(deeper, key=lambda f: f.line)


def _finding(detail: ErrorDetails, model: type[pydantic.BaseModel], node: Node) -> Finding:
    path: tuple[Segment, ...] = detail["loc"]
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    line, present = node.find(path)
    last = path[-1] if path else ""
    if kind == "missing":
        field = dotted((*present, last))
        return Finding(field, line, _MISSING, _meaning(model, path))
    field = dotted(present)
    if kind == "extra_forbidden":
        known, renamed = _fields(model, path[:-1])
        if last in renamed:
            return Finding(field, line, f"unknown field {last!r}", f"today's name is {renamed[str(last)]}")
        return Finding(field, line, f"unknown field {last!r}", did_you_mean(str(last), known) or f"known here: {', '.join(known)}")
    if kind in _EXPECTED:
        hint = "put it in quotes" if kind == "string_type" and isinstance(given, int | float) else ""
        return Finding(field, line, f"expected {_EXPECTED[kind]}, got {_shown(given)}", hint)
    if kind in ("literal_error", "enum"):
        expected = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
        near = did_you_mean(str(given), expected.split(", ")) if isinstance(given, str) else ""
        return Finding(field, line, f"expected one of {expected}, got {_shown(given)}", near)
    if kind == "string_pattern_mismatch":
        return Finding(
            field, line, f"{_shown(given)} does not look right", _meaning(model, path) or f"it must match {context.get('pattern')}"
        )
    if kind == "value_error":
        return Finding(field, line, str(context.get("error", detail["msg"])))
    return Finding(field, line, f"{detail['msg'].replace('Input should', 'it should')}, got {_shown(given)}")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


# ---- the models behind a path --------------------------------------------------------------------------------------------------------


def models_at(model: type[pydantic.BaseModel], path: tuple[Segment, ...]) -> list[type[pydantic.BaseModel]]:
    """The models that may stand at a path; several where a field takes several shapes."""
    current: list[Any] = [model]
    for segment in path:
        found = [part for kind in current for part in _step(kind, segment)]
        current = found or current  # a segment that only names a shape of a union
    return [kind for kind in current if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)]


def _step(kind: Any, segment: Segment) -> Iterator[Any]:
    """What stands behind one segment of a path."""
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        if kind.__name__ == segment:
            yield kind
        for name, field in kind.model_fields.items():
            if segment == (field.alias or name):
                yield from alternatives(field.annotation)
    elif get_origin(kind) in (list, tuple) and isinstance(segment, int):
        yield from alternatives(get_args(kind)[0])
    elif get_origin(kind) is dict:
        yield from alternatives(get_args(kind)[1])


def alternatives(annotation: Any) -> Iterator[Any]:
    """The shapes that an annotation allows, without Annotated, Optional and Union."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from alternatives(part)
    elif hasattr(annotation, "__metadata__"):
        yield from alternatives(get_args(annotation)[0])
    elif origin is not Literal and annotation is not type(None):
        yield annotation


def _fields(model: type[pydantic.BaseModel], path: tuple[Segment, ...]) -> tuple[list[str], dict[str, str]]:
    """Names of the fields that may stand below a path, and today's names of those that were renamed."""
    found = models_at(model, path)
    names = [field.alias or name for kind in found for name, field in kind.model_fields.items()]
    renamed = {old: new for kind in found for old, new in getattr(kind, "renamed", {}).items()}
    return names, renamed


def _meaning(model: type[pydantic.BaseModel], path: tuple[Segment, ...]) -> str:
    """The description of the field at a path, as a hint."""
    for kind in models_at(model, path[:-1]):
        for name, field in kind.model_fields.items():
            if path and path[-1] == (field.alias or name) and field.description:
                return field.description.rstrip(".").replace("`", "")
    return ""
