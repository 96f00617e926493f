"""Whether a project needs a compute pool to be up: its services that should be running there, whatever they do at the moment."""

from __future__ import annotations

from controller.account.snapshot import Show
from controller.api.base import ManagementPolicy
from controller.api.objects import DesiredObject, ObjectKey
from controller.kinds.base import View
from controller.kinds.mark import mark_of
from controller.kinds.references import schema_scope


def runs_here(pool: ObjectKey, view: View) -> list[ObjectKey]:
    """Services of the manifests that keep the pool up.

    Not those that suspend themselves, that somebody suspended on purpose (`paused`, `held`), or that are only looked at.
    """
    services = (obj for obj in view.graph.of_kind("Service") if obj.references.get("computePool") == pool)
    return sorted(obj.key for obj in services if not _left_alone(obj, view) and not _rests(obj, view))


def _left_alone(obj: DesiredObject, view: View) -> bool:
    metadata = obj.manifest.metadata
    parent = view.graph.get(obj.parent) if obj.parent is not None else None
    if metadata.suspend or metadata.management_policy is ManagementPolicy.OBSERVE:
        return True
    return parent is not None and _left_alone(parent, view)


def _rests(obj: DesiredObject, view: View) -> bool:
    if obj.manifest.spec.auto_suspend_seconds:
        return True
    question = Show("SERVICES", schema_scope(obj.key.name))
    row = view.snapshot.row(question, obj.key.name) if view.snapshot.asked(question) else None
    mark = mark_of(row)
    return mark is not None and bool({"paused", "held"} & mark.attributes.keys())
