"""When `apply` is done: every object is ready, or cannot become so unless a person acts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from controller.api.objects import ObjectKey
from controller.reconcile.planning.change import Action, Block, Plan
from controller.reconcile.report import ObjectStatus


def settled(plan: Plan, statuses: Sequence[ObjectStatus], given_up: Collection[ObjectKey] = ()) -> bool:
    """Whether nothing will move by itself any more. `given_up` are degraded objects that had their time to recover."""
    if all(status.ready for status in statuses):  # as mostly: each look asks
        return True
    stuck: set[ObjectKey] = set()
    rest: list[ObjectStatus] = []
    for status in statuses:
        if status.ready:
            continue
        if status.stalled or status.key in given_up or _held(plan, status.key):
            stuck.add(status.key)
        else:
            rest.append(status)
    moved = True
    while rest and moved:
        still = [status for status in rest if not _follows(plan, status, stuck)]
        moved = len(still) < len(rest)
        stuck |= {status.key for status in rest if status not in still}
        rest = still
    return not rest


def _held(plan: Plan, key: ObjectKey) -> bool:
    """Somebody asked that nothing be done, so nothing will be."""
    entry = plan.objects.get(key)
    return entry is not None and entry.change.block is Block.HELD


def _follows(plan: Plan, status: ObjectStatus, stuck: Collection[ObjectKey]) -> bool:
    """Whether an object only waits for one that is stuck."""
    entry = plan.objects.get(status.key)
    if entry is None:
        return False
    if any(child in stuck for child in entry.children):
        return True
    waits = entry.change.action is Action.BLOCKED or entry.change.pending
    return waits and any(key in stuck for key in entry.change.after)
