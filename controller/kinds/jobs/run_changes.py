"""Why a run is made again: what every run was made of is remembered, so that a plan can name the fields that changed since the last one.

Only a hash of it is in the account. Where the project's cache was lost, or the run was planned on another machine, there is nothing to
compare with, and the plan names the run alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.account.snapshot import Row
from controller.api.objects import DesiredObject
from controller.kinds.base import FieldChange, Gatherer
from controller.kinds.comments import marked_name
from controller.kinds.mark import mark_of
from controller.kinds.service_health import services_in


def remember_parts(obj: DesiredObject, run: str, parts: Mapping[str, Any], gatherer: Gatherer) -> None:
    """Keep what the run is made of: JSON values by field."""
    if gatherer.recall(_key(obj, run)) is None:
        gatherer.remember(_key(obj, run), dict(parts))


def newest_other(obj: DesiredObject, run: str, gatherer: Gatherer) -> Mapping[str, Any] | None:
    """What the newest other run was made of, of which there is a job; None when there is none or it is not known."""
    rows = gatherer.show(services_in(obj.key.name))
    found = [(str(row.get("created_on") or ""), other) for row in rows if (other := _run(row, obj, gatherer))]
    newest = max(found, default=("", run))[1]
    known = gatherer.recall(_key(obj, newest)) if newest != run else None
    return known if isinstance(known, dict) else None


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """The fields that differ, by path (None where a field is not set)."""
    old, new = _flat(before), _flat(after)
    paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    return tuple(FieldChange(path, old.get(path), new.get(path)) for path in paths)


def _key(obj: DesiredObject, run: str) -> str:
    return f"run:{obj.key.name}:{run}"


def _run(row: Row, obj: DesiredObject, gatherer: Gatherer) -> str | None:
    mark = mark_of(row)
    if mark is None or (mark.project, mark.kind, marked_name(mark)) != (gatherer.project.name, obj.key.kind, obj.key.name.name):
        return None
    return mark.attributes.get("run") if mark.attributes.get("probe") != "yes" else None


def _flat(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in value.items():
        path = f"{above}.{name}" if above else name
        if isinstance(item, Mapping):
            found |= _flat(item, path)
        else:
            found[path] = item
    return found
