"""Finds the fields of a model that carry a marker (`Ref`, `LocalPath`), however deep they are nested, with their paths as in YAML."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, TypeVar, Union, get_args, get_origin

import pydantic

M = TypeVar("M")
Path = tuple[str | int, ...]


def marked_fields(model: pydantic.BaseModel, marker: type[M], path: Path = ()) -> Iterator[tuple[Path, str, M]]:
    """Path, text and marker of each field that is set."""
    for name, field in type(model).model_fields.items():
        here = (*path, field.alias or name)
        own = next((mark for mark in field.metadata if isinstance(mark, marker)), None)
        yield from _in_value(getattr(model, name), field.annotation, own, marker, here)


def _in_value(value: Any, annotation: Any, mark: M | None, marker: type[M], path: Path) -> Iterator[tuple[Path, str, M]]:
    if value is None:
        return
    if hasattr(annotation, "__metadata__"):
        mark = next((m for m in annotation.__metadata__ if isinstance(m, marker)), mark)
        annotation = get_args(annotation)[0]
    if isinstance(value, pydantic.BaseModel):
        yield from marked_fields(value, marker, path)
    elif isinstance(value, str):
        found = mark or next((m for part in _parts(annotation) for m in getattr(part, "__metadata__", ()) if isinstance(m, marker)), None)
        if found is not None:
            yield path, value, found
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _in_value(item, _item_type(annotation, list), mark, marker, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _in_value(item, _item_type(annotation, dict), mark, marker, (*path, key))


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _item_type(annotation: Any, container: type) -> Any:
    """The annotation of a container's items: the last argument of the part that is such a container."""
    for part in _parts(annotation):
        if get_origin(part) is container:
            return get_args(part)[-1]
    return Any
