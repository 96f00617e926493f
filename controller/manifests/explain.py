"""Turns a validation error of a model into sentences: what was expected, what stands there, and which field was meant."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic_core import ErrorDetails

from controller.api.base import Ref
from controller.api.faults import DerivedFault, Faults, FieldFault
from controller.api.names import NameProblem, QualifiedName
from controller.api.parts import is_name
from controller.api.secret import Secret
from controller.manifests.nodes import Node, dotted, node_of
from controller.manifests.plain_secrets import HINT, is_secret_name
from controller.manifests.problems import did_you_mean

Segment = str | int
Path = tuple[Segment, ...]

EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
"""Error type of pydantic → the shape that would do."""

LIMITS = {
    "greater_than": "must be more than {gt}, got {given}",
    "greater_than_equal": "must be at least {ge}, got {given}",
    "less_than": "must be less than {lt}, got {given}",
    "less_than_equal": "must be at most {le}, got {given}",
    "too_short": "needs at least {min_length} {entries}, has {actual_length}",
    "too_long": "takes at most {max_length} {entries}, has {actual_length}",
    "string_too_short": "needs at least {min_length} {letters}, got {given}",
    "string_too_long": "takes at most {max_length} {letters}, got {given}",
}
"""Error type → what is said about a value of the right shape that is too small or too large."""

CHOICES = ("literal_error", "enum")
OTHERS = ("missing", "extra_forbidden", "string_pattern_mismatch", "value_error")
"""The rest of the error types that the models can raise. A test goes through all fields and sees that there are no others."""

_KNOWN = "known here: "


@dataclass(frozen=True, repr=False)
class Hidden:
    """A scalar that may be a secret: messages tell what sort of value it is, and never the value."""

    sort: str
    value: Any


@dataclass(frozen=True)
class Finding:
    """One sentence about one field. `line` is where the field, or what should hold it, stands; `type` is pydantic's name of the error.

    `shapes` are those that would have done in place of the `given` one, where that is what is wrong.
    """

    path: Path
    line: int
    type: str
    message: str
    hint: str = ""
    shapes: tuple[str, ...] = ()
    given: str = ""

    def joined(self, other: Finding) -> Finding:
        """The field takes what `other` expects as well; of findings about something else than a shape the first is told."""
        if not self.shapes or not other.shapes:
            return self
        shapes = tuple(dict.fromkeys((*self.shapes, *other.shapes)))
        return replace(self, shapes=shapes, message=_expects(shapes, self.given), hint=self.hint or other.hint)

    @property
    def meant(self) -> str:
        """The field that an unknown one was most likely meant to be."""
        known = self.type == "extra_forbidden" and not self.hint.startswith(_KNOWN)
        return self.hint.split()[-1].rstrip("?") if known else ""

    @property
    def field(self) -> str:
        return dotted(self.path)


def findings(error: pydantic.ValidationError, model: type[pydantic.BaseModel], node: Node) -> list[Finding]:
    """All that a model found wrong in a tree, in the order of lines, one finding a field.

    Where a field takes several shapes, only what concerns the shape that was meant is told.
    """
    told: dict[Path, Finding] = {}
    for detail in _of_meant_shapes(error.errors(include_url=False), node):
        for finding in _findings(_quiet(detail, model, node), model, node):
            told[finding.path] = told[finding.path].joined(finding) if finding.path in told else finding
    meant = {(*f.path[:-1], f.meant) for f in told.values() if f.meant}
    told = {path: f for path, f in told.items() if f.type != "missing" or path not in meant}
    deeper = [f for path, f in told.items() if not path or not any(o[: len(path)] == path for o in told if o != path)]
    return sorted(deeper, key=lambda f: f.line)


def _may_hold_secret(model: type[pydantic.BaseModel], path: Path) -> bool:
    """Whether what stands at a path may be the value of a secret that somebody wrote into the file."""
    names = [segment for segment in path if isinstance(segment, str)]
    return (model is Secret and names[:1] == ["spec"]) or any(name == "valueFrom" or is_secret_name(name) for name in names)


def _quiet(detail: ErrorDetails, model: type[pydantic.BaseModel], node: Node) -> ErrorDetails:
    """The error with its value hidden, where that may be a secret."""
    given = detail["input"]
    if given is None or isinstance(given, dict | list) or not _may_hold_secret(model, node.find(detail["loc"])[1]):
        return detail
    sort = "text" if isinstance(given, str) else "true or false" if isinstance(given, bool) else "a number"
    return {**detail, "input": Hidden(sort, given)}


def _of_meant_shapes(details: list[ErrorDetails], node: Node) -> list[ErrorDetails]:
    """The errors without those of shapes that cannot have been meant, where a field takes several.

    pydantic tells the errors of every shape, with the shape's name as a part of the path. A shape whose fields are wrong was more likely
    meant than one of which nothing fits, and of two such the one with fewer errors.
    """
    shapes: dict[Path, dict[Segment, list[ErrorDetails]]] = {}
    for detail in details:
        at = _shape_at(detail, node)
        if at is not None:
            path = detail["loc"]
            shapes.setdefault(path[:at], {}).setdefault(path[at], []).append(detail)
    dropped: set[int] = set()
    for union, by_shape in shapes.items():
        fits = {shape: not any(d["loc"] == (*union, shape) and _expected(d) for d in found) for shape, found in by_shape.items()}
        fewest = min((len(found) for shape, found in by_shape.items() if fits[shape]), default=0)
        for shape, found in by_shape.items():
            if fewest and (not fits[shape] or len(found) > fewest):
                dropped |= {id(detail) for detail in found}
    return [detail for detail in details if id(detail) not in dropped]


def _shape_at(detail: ErrorDetails, node: Node) -> int | None:
    """Where in the path of an error the first name of a shape stands: a part that is not in the document."""
    path = detail["loc"]
    own = path[:-1] if detail["type"] == "missing" or path[-1:] == ("[key]",) else path
    return next((at for at in range(len(own)) if len(node.find(own[: at + 1])[1]) <= at), None)


def _findings(detail: ErrorDetails, model: type[pydantic.BaseModel], node: Node) -> Iterator[Finding]:
    error, expected = detail.get("ctx", {}).get("error"), _expected(detail)
    if isinstance(error, Faults):
        for fault in error.faults:
            yield from _of_fault(fault, node.find(detail["loc"])[1], node)
    elif expected:
        yield _mismatch(detail, expected, model, node)
    else:
        yield _finding(detail, model, node)


def _of_fault(fault: FieldFault | DerivedFault, start: Path, node: Node) -> Iterator[Finding]:
    """What a validator says about fields below `start`, the part that it checks."""
    if isinstance(fault, FieldFault):
        line, present = node.find((*start, *fault.path))
        yield Finding(present, line, "value_error", fault.message, did_you_mean(fault.word, fault.known))
        return
    for found in findings(fault.error, fault.model, node_of(dict(fault.document), 0)):
        own = next((path for path in fault.sources if found.path[: len(path)] == path), None)
        place = fault.whole if own is None else (*fault.sources[own], *found.path[len(own) :])
        if found.type == "extra_forbidden" and own == found.path:
            place = place[:-1] if isinstance(place[-1], int) else place  # the field's name is wrong, whatever its value
        line, present = node.find((*start, *place))
        said = found.message if own is not None else f"with {fault.said}: {found.message}"
        yield replace(found, path=present, line=line, message=said)


def _expected(detail: ErrorDetails) -> list[str]:
    """What would have done, where a value has the wrong shape or is none of the choices."""
    if detail["type"] in EXPECTED:
        return [EXPECTED[detail["type"]]]
    if detail["type"] in CHOICES:
        return str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    return []


def _expects(shapes: Sequence[str], given: str) -> str:
    either = f"one of {', '.join(shapes)}" if len(shapes) > 2 else " or ".join(shapes)
    return f"expected {either}, got {given}"


def _mismatch(detail: ErrorDetails, expected: list[str], model: type[pydantic.BaseModel], node: Node) -> Finding:
    kind, given = detail["type"], detail["input"]
    line, present = node.find(detail["loc"])
    hint = ""
    raw = given.value if isinstance(given, Hidden) else given
    if kind in CHOICES and isinstance(raw, str):
        hint = did_you_mean(raw, expected)
    elif isinstance(given, Hidden):
        hint = _hint_at_secret(kind, model, present)
    elif kind == "string_type" and isinstance(given, int | float):
        hint = _name_in_place_of(given) if _is_name(model, present) else "put it in quotes"
    shown = _shown(given)
    return Finding(present, line, kind, _expects(expected, shown), hint, tuple(expected), shown)


def _hint_at_secret(kind: str, model: type[pydantic.BaseModel], path: Path) -> str:
    """What to do about a value that may be a secret; within `valueFrom` only its shape is wrong."""
    if "valueFrom" not in path[:-1]:
        return HINT
    if kind == "list_type":
        return "write it as a list: [op, read, op://…]"
    return "put it in quotes" if isinstance(path[-1], int) else _meaning(model, path)


def _finding(detail: ErrorDetails, model: type[pydantic.BaseModel], node: Node) -> Finding:
    path, kind, given, context = detail["loc"], detail["type"], detail["input"], detail.get("ctx", {})
    line, present = node.find(path)
    last = path[-1] if path else ""
    if kind == "missing":
        return Finding((*present, last), line, kind, "a value is missing", _meaning(model, (*present, last)))
    if kind == "extra_forbidden":
        known, renamed = _fields(model, present[:-1])
        if last in renamed:
            return Finding(present, line, kind, f"unknown field {last!r}", f"today's name is {renamed[str(last)]}")
        near, rest = did_you_mean(str(last), known), f"{_KNOWN}{', '.join(known)}"
        value_as_name = given is None or "valueFrom" in present  # `{word}` is a field without a value
        if not near and value_as_name and _may_hold_secret(model, present):
            return Finding(present[:-1], line, kind, "unknown field; its name is not repeated here, as it may be a secret", rest)
        hint = near or rest
        return Finding(present, line, kind, f"unknown field {last!r}", hint)
    if kind == "string_pattern_mismatch":
        hint = _meaning(model, present) or f"it must match {context.get('pattern')}"
        return Finding(present, line, kind, f"{_shown(given)} does not look right", hint)
    if kind in LIMITS:
        limit = {name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in context.items()}
        one = 1 in (limit.get("min_length"), limit.get("max_length"))
        words = {"entries": "entry" if one else "entries", "letters": "character" if one else "characters"}
        return Finding(present, line, kind, LIMITS[kind].format(given=_shown(given), **words, **limit), _meaning(model, present))
    if isinstance(given, Hidden):
        return Finding(present, line, kind, f"this {given.sort} does not look right", _meaning(model, present))
    return Finding(present, line, kind, str(context.get("error", detail["msg"])))


def _shown(value: Any) -> str:
    if isinstance(value, Hidden):
        return f"{value.sort} that is not repeated here"
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


# ---- the models behind a path --------------------------------------------------------------------------------------------------------


def models_at(model: type[pydantic.BaseModel], path: Path) -> list[type[pydantic.BaseModel]]:
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


def _fields(model: type[pydantic.BaseModel], path: Path) -> tuple[list[str], dict[str, str]]:
    """Names of the fields that may stand below a path, and today's names of those that were renamed."""
    found = models_at(model, path)
    names = [field.alias or name for kind in found for name, field in kind.model_fields.items()]
    renamed = {old: new for kind in found for old, new in getattr(kind, "renamed", {}).items()}
    return names, renamed


def _meaning(model: type[pydantic.BaseModel], path: Path) -> str:
    """The description of the field at a path, as a hint."""
    for kind in models_at(model, path[:-1]):
        for name, field in kind.model_fields.items():
            if path and path[-1] == (field.alias or name) and field.description:
                return field.description.rstrip(".").replace("`", "")
    return ""


# ---- fields that hold names ------------------------------------------------------------------------------------------------------------


def _is_name(model: type[pydantic.BaseModel], path: Path) -> bool:
    """Whether the field at a path holds the name of an object."""
    if path[:1] == ("metadata",):
        return path[1:] in (("name",), ("schema",), ("database",))
    field = path[:-1] if path and isinstance(path[-1], int) else path  # an entry of a list of names
    return any(
        field[-1:] == (info.alias or name,) and any(is_name(mark) or isinstance(mark, Ref) for mark in _marks(info))
        for kind in models_at(model, field[:-1])
        for name, info in kind.model_fields.items()
    )


def _marks(info: pydantic.fields.FieldInfo) -> Iterator[Any]:
    """What stands beside the type of a field, or of the entries of a list, in its annotation."""
    yield from info.metadata
    stack = [info.annotation]
    while stack:
        annotation = stack.pop()
        yield from getattr(annotation, "__metadata__", ())
        stack += [part for part in get_args(annotation) if not isinstance(part, str)]


def _name_in_place_of(number: float) -> str:
    try:
        QualifiedName.parse(str(number))
    except NameProblem as error:
        return f"a name begins with a letter or '_': {str(error).rpartition('; ')[2]}"
    return ""
