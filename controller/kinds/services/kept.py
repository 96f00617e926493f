"""What `metadata.ignore` leaves to others inside a specification, kept as it is when the rest of the specification is sent again.

A specification is sent as a whole. So a field that somebody else keeps is written with the value that DESCRIBE shows, or left out where
it is not there; else a change of another field would take it along.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from controller.kinds.services.comparison import NAMED, Document, image_path

Segment = str | int
_SEGMENT = re.compile(r"([^.\[\]]+)|\[([^\]]*)\]")


def kept(wanted: Document, seen: Mapping[str, Any], ignored: Iterable[str]) -> Document:
    """The wanted document with what is ignored as it is in the account. Paths as `differences` has them; others are passed over."""
    result: Document = copy.deepcopy(wanted)
    shown = _written(seen)
    for path in ignored:
        first, *rest = _segments(path)
        if first == "specification":
            result = _with(result, shown, _by_name(rest, wanted))
    return result


def _segments(path: str) -> list[Segment]:
    """`specification.spec.containers[0].env` as its parts; numbers are places in a list."""
    parts = [name or place for name, place in _SEGMENT.findall(path)]
    return [int(part) if part.isdigit() else part for part in parts] or [""]


def _by_name(path: list[Segment], wanted: Any) -> list[Segment]:
    """The path with names for the places of what has one: places move when an item before is left out."""
    found: list[Segment] = []
    node, by = wanted, ""
    for segment in path:
        if isinstance(node, list) and isinstance(segment, int):
            node = node[segment] if segment < len(node) else None
            name = _called(node, by)
            found.append(segment if name is None else name)
            by = ""
        else:
            node = node.get(segment) if isinstance(node, Mapping) else None
            by = NAMED.get(str(segment), "")
            found.append(segment)
    return found


def _with(mine: Any, theirs: Any, path: list[Segment], by: str = "") -> Any:
    """`mine` with the part at `path` as `theirs` has it. `by`: what the items of a list are called by."""
    if not path:
        return copy.deepcopy(theirs)
    first, *rest = path
    if isinstance(mine, list) and isinstance(theirs, list):
        return _with_item(mine, theirs, first, rest, by)
    if not isinstance(mine, dict) or not isinstance(theirs, Mapping) or not isinstance(first, str):
        return mine
    if first in theirs and (first in mine or not rest):
        return {**mine, first: _with(mine.get(first), theirs[first], rest, NAMED.get(first, ""))}
    if first in mine and first not in theirs and not rest:
        return {key: value for key, value in mine.items() if key != first}
    return mine


def _with_item(mine: list[Any], theirs: list[Any], place: Segment, rest: list[Segment], by: str) -> list[Any]:
    """An item is known by its name where it has one, and by its place else."""
    number = place if isinstance(place, int) else next((n for n, item in enumerate(mine) if _called(item, by) == place), len(mine))
    other = theirs[number : number + 1] if isinstance(place, int) else [item for item in theirs if _called(item, by) == place]
    if number >= len(mine):
        return [*mine, *copy.deepcopy(other)] if not rest else mine
    changed = [_with(mine[number], other[0], rest)] if other else [] if not rest else [mine[number]]
    return [*mine[:number], *changed, *mine[number + 1 :]]


def _called(item: Any, by: str) -> str | None:
    return str(item.get(by)) if by and isinstance(item, Mapping) else None


def _written(seen: Mapping[str, Any]) -> Document:
    """DESCRIBE's document in the form that a statement takes: without digests, images by their path."""
    document: Document = copy.deepcopy(dict(seen))
    for container in (document.get("spec") or {}).get("containers") or []:
        container.pop("sha256", None)
        container["image"] = image_path(str(container.get("image", "")))
    return document
