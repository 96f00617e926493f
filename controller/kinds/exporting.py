"""From what the account shows of an object back to what a manifest would say: the reverse of comparing, from the same table of properties.

A field is left out where it has the default that its model gives, or where the account shows nothing of it. A text that would be taken
for a value (`${…}`) is escaped by whoever writes the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from controller.account.snapshot import Row
from controller.api.base import Manifest
from controller.api.names import Identifier, NameProblem, QualifiedName
from controller.kinds.mark import split_comment
from controller.kinds.property import Property


def table_spec(properties: Iterable[Property], manifest: type[Manifest], row: Row, told: Row) -> dict[str, Any]:
    """The `spec` of an object from its SHOW row and what its deep read told."""
    fields = manifest.model_fields["spec"].annotation
    spec: dict[str, Any] = {}
    for prop in properties:
        source = told if prop.deep else row
        if prop.column is None or prop.column not in source or _inherited(prop, told):
            continue
        seen = prop.seen(source[prop.column])
        value = _written(prop, seen if seen is not None else prop.implied, getattr(fields, "model_fields", {}).get(prop.field))
        if value is not None:
            spec[prop.path] = value
    if text := split_comment(row.get("comment"))[0].strip():
        spec["comment"] = text
    return spec


def _inherited(prop: Property, told: Row) -> bool:
    """Whether the object has the value from what it lives in, as far as its parameters say."""
    parameter = prop.clause.lower()
    return prop.inherits and parameter in told and told[parameter] is None


def _written(prop: Property, seen: Any, field: Any) -> Any:
    """The value as a manifest has it; None where it need not say it."""
    if seen is None or seen == "" or (not seen and isinstance(seen, list | tuple)):
        return None
    default = field.get_default(call_default_factory=True) if field is not None and not field.is_required() else None
    if default is not None and _wanted(prop, default) == seen:
        return None
    if isinstance(seen, list | tuple):
        return [name_text(item) if prop.read is not None else item for item in seen]
    choices = [choice for part in _parts(field.annotation) for choice in get_args(part)] if field is not None else []
    return next((choice for choice in choices if choice == seen or _wanted(prop, choice) == seen), seen)


def _wanted(prop: Property, value: Any) -> Any:
    """The manifest's value in the form that is compared; None where it has none."""
    if prop.read is not None:
        return None
    try:
        return prop.wanted(value)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _parts(annotation: Any) -> list[Any]:
    """The `Literal`s in an annotation."""
    if get_origin(annotation) is Literal:
        return [annotation]
    return [part for inner in get_args(annotation) for part in _parts(inner)]


# ---- names -----------------------------------------------------------------------------------------------------------------------------


def identifier_text(part: Identifier) -> str:
    """A part of a name as a person would write it: lower case, or in quotes."""
    return part.text.lower() if part.is_bare else part.sql


def written_name(name: QualifiedName) -> str:
    """`db.schema.name`, as a manifest refers to it."""
    return ".".join(identifier_text(part) for part in name.parts)


def name_text(stored: Any) -> str:
    """A reference from a name as SHOW lists it, with or without quotes."""
    try:
        return written_name(QualifiedName.parse(str(stored)))
    except NameProblem:
        return identifier_text(Identifier(str(stored)))
