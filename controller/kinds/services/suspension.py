"""A service that is suspended: by whom, and whether that is a difference from the manifest."""

from __future__ import annotations

from collections.abc import Iterable

from controller.account.snapshot import Row, Show
from controller.api.objects import DesiredObject
from controller.kinds.base import FieldChange, KindError, View
from controller.kinds.mark import Mark, mark_of
from controller.kinds.properties import as_int, as_upper
from controller.kinds.services import source

POOLS = Show("COMPUTE POOLS")


def pool_row(row: Row, view: View) -> Row | None:
    """The row of the pool that a service runs in."""
    if not view.snapshot.asked(POOLS):
        return None
    return next((pool for pool in view.snapshot.rows(POOLS) if pool.get("name") == as_upper(row.get("compute_pool"))), None)


def suspended_by_hand(obj: DesiredObject, row: Row, mark: Mark | None, view: View) -> Iterable[FieldChange]:
    """`suspended` where nobody who may has done it: neither the service itself, nor somebody on purpose, nor its pool."""
    if as_upper(row.get("status")) != "SUSPENDED":
        return
    pool = pool_row(row, view)
    pool_mark = mark_of(pool)
    declared = view.graph.referred(obj, "computePool")
    on_purpose = any(m is not None and ("paused" in m.attributes or "held" in m.attributes) for m in (mark, pool_mark))
    kept_down = declared is not None and declared.manifest.metadata.suspend
    by_itself = bool(as_int(row.get("auto_suspend_secs"))) or _suspends_itself(obj, view)
    if not (on_purpose or kept_down or by_itself):
        yield FieldChange("suspended", True, False)


def _suspends_itself(obj: DesiredObject, view: View) -> bool:
    try:
        management = source.specification_of(obj, view).spec.resource_management
    except KindError:
        return False
    return management is not None and management.auto_scaling_policies.suspend is not None
