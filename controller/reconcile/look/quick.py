"""What a person has just saved, looked at and handed out before everything else is looked at.

A full look at a large account takes a second or more, and somebody who edits one field should not wait for it. So a glance comes first:
only the rows of the objects whose manifests changed, and a plan of only those. What is not simple is left to the full look, which follows
in any case and judges all again: composites, what takes or gives room on a pool, what is no plain create or update, files with problems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from controller.account.errors import AccountError
from controller.api.objects import DesiredObject, ObjectKey
from controller.kinds.base import Kind, View
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import Loaded
from controller.reconcile.planning.change import Action, Change, ObjectPlan
from controller.reconcile.planning.plan import plan_again

MOST = 20  # objects; what is more is no edit by hand, and the full look is as good

Glance = Callable[[Loaded, View, list[ObjectKey]], View]


def quick_changes(engine: Engine, before: Loaded | None, now: Loaded, glance: Glance) -> list[ObjectPlan]:
    """What can be done at once about the objects that `now` says something else of than `before`, which was loaded just before it."""
    last = engine.last(within=2 * now.settings.resync)
    if last is None or before is None or before.graph is now.graph or engine.permit is not None:
        return []
    view, plan = last
    if now.errors or before.errors or now.settings != before.settings:
        return []
    moved = {key for key, obj in now.graph.objects.items() if _differs(before.graph.get(key), obj)}
    keys = [key for key in moved if simple(engine.kinds[key.kind])]
    if not 0 < len(keys) <= MOST or any(key in plan.objects and plan.objects[key].children for key in keys):
        return []
    keys = [key for key in keys if all(other in plan.objects or other in keys for other in now.graph.objects[key].depends_on)]
    if not keys:
        return []
    try:
        fresh = glance(now, view, keys)
    except AccountError:  # the full look says what is wrong
        return []
    return [entry for entry in plan_again(fresh, engine.kinds, keys, plan.objects) if entry.change.runnable and plain(entry.change)]


def _differs(before: DesiredObject | None, now: DesiredObject) -> bool:
    """Whether more was changed than the place in the file."""
    return before is not now and (before is None or replace(before, location=now.location) != now)


def simple(kind: Kind) -> bool:
    """Whether objects of a kind stand for themselves alone: no children, and no room taken or given on a pool."""
    own = type(kind)
    return own.expand is Kind.expand and own.load is Kind.load and own.room is Kind.room


def plain(change: Change) -> bool:
    """Whether a change takes nothing away, so that no look at everything must come before it."""
    return change.action in (Action.CREATE, Action.UPDATE) and not change.destructive
