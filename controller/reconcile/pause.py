"""`snowcat suspend` and `resume`: an object that a person has told Snowcat to leave alone, whole, until told otherwise.

It stands in the account, in the object's mark, so that every daemon on every machine sees it: `paused=yes`, who did it and when
(`pausedBy=`), and for the parts of a composite the composite (`pausedWith=`), so that parts that are not there yet wait too. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from controller.api.objects import DesiredObject, ObjectKey
from controller.kinds.base import Inventory, Step, View
from controller.kinds.comments import as_attribute, from_attribute
from controller.kinds.mark import Mark
from controller.reconcile.planning.change import ObjectPlan, Plan
from controller.reconcile.planning.expand import Kinds

PAUSED = "Paused"
"""The reason of the condition `Suspended`, and of what is left undone."""


def is_paused(mark: Mark | None) -> bool:
    return mark is not None and "paused" in mark.attributes


def told(mark: Mark) -> str:
    """Who suspended it and when, and how it goes on."""
    who = from_attribute(mark.attributes.get("pausedBy", ""))
    what = from_attribute(mark.attributes.get("pausedWith", "")) or f"{mark.kind}/{from_attribute(mark.name)}"
    return f"suspended{f' by {who}' if who else ''}: nothing is changed until 'snowcat resume {what}'"


def families(found: Iterable[Inventory]) -> dict[str, Mark]:
    """Composites that are suspended as a whole, as `Kind/name` → the mark of one of their parts, from all marks of a project."""
    marks = [item.mark for item in found]
    return {from_attribute(mark.attributes["pausedWith"]): mark for mark in marks if is_paused(mark) and mark.attributes.get("pausedWith")}


class CannotPause(Exception):
    """The message says why, and what to do in its place."""


@dataclass(frozen=True)
class Writing:
    """The statements that write one object's mark."""

    key: ObjectKey
    steps: tuple[Step, ...]


def pausing(chosen: Iterable[ObjectKey], plan: Plan, view: View, kinds: Kinds, who: str, when: datetime) -> list[Writing]:
    """What to write so that these objects are left alone; nothing for those that are already.

    Raises:
        CannotPause: one of them cannot carry it; none is to be written then.
    """
    by = as_attribute(f"{who} at {when:%Y-%m-%d %H:%M} UTC")
    writings: dict[ObjectKey, Writing] = {}
    for key in chosen:
        parts = _parts(key, plan)
        attributes = {"paused": "yes", "pausedBy": by, "pausedWith": as_attribute(str(key)) if parts != [key] else ""}
        able = [writing for part in parts if (writing := _writing(part, plan, view, kinds, attributes)) is not None]
        if not able:
            raise CannotPause(_why_not(plan.objects[key]))
        writings.update({writing.key: writing for writing in able if not is_paused(plan.objects[writing.key].mark)})
    return list(writings.values())


def resuming(chosen: Iterable[ObjectKey], plan: Plan, view: View, kinds: Kinds) -> list[Writing]:
    """What to write so that these objects are worked on again; nothing for those that are.

    Raises:
        CannotPause: one of them is a part of what is suspended as a whole.
    """
    chosen = list(chosen)
    writings: dict[ObjectKey, Writing] = {}
    for key in chosen:
        for part in _parts(key, plan):
            mark = plan.objects[part].mark
            if mark is None or not is_paused(mark):
                continue
            whole = from_attribute(mark.attributes.get("pausedWith", ""))
            if whole and whole not in {str(other) for other in chosen}:
                raise CannotPause(f"{part} is suspended as a part of {whole}: 'snowcat resume {whole}' resumes all of it")
            writing = _writing(part, plan, view, kinds, {"paused": "", "pausedBy": "", "pausedWith": ""})
            if writing:
                writings[part] = writing
    return list(writings.values())


def _parts(key: ObjectKey, plan: Plan) -> list[ObjectKey]:
    """The object, or, of a composite, all that it stands for."""
    children = plan.objects[key].children
    return [part for child in children if child in plan.objects for part in _parts(child, plan)] or [key]


def _writing(key: ObjectKey, plan: Plan, view: View, kinds: Kinds, attributes: Mapping[str, str]) -> Writing | None:
    entry = plan.objects[key]
    if entry.desired is None or entry.mark is None or entry.mark.project != view.project.name:
        return None
    steps = tuple(kinds[key.kind].remark(entry.desired, view, attributes))
    return Writing(key, steps) if steps else None


def _why_not(entry: ObjectPlan) -> str:
    desired: DesiredObject | None = entry.desired
    if desired is None:
        return f"{entry.key} is in no manifest: nothing is done to it but to drop it, which 'deletionPolicy: orphan' in a manifest prevents"
    there = entry.observation is not None and (entry.observation.exists or entry.children)
    why = "has no comment in which it could be noted, or is not this project's" if there else "is not there yet"
    return f"{entry.key} {why}: set 'suspend: true' under metadata at {desired.location} in its place"
