"""What a compute pool offers, and who waits for it: the account's side of `controller.reconcile.planning.placement`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from controller.account.snapshot import Row
from controller.api.compute_pool import ComputePoolSpec
from controller.api.objects import DesiredObject
from controller.kinds.base import Room, View
from controller.kinds.comments import as_attribute, from_attribute
from controller.kinds.instance_families import family_shown
from controller.kinds.mark import mark_of
from controller.kinds.properties import as_int, as_upper
from controller.kinds.sizes import of_node

_NOTED = 20  # who waits, in the mark; the order of those behind them is by name


def begins_suspended(obj: DesiredObject) -> bool:
    spec = cast(ComputePoolSpec, obj.manifest.spec)
    return spec.initially_suspended or spec.idle == "suspend"


def room_of(obj: DesiredObject, row: Row | None, view: View) -> Room | None:
    """None for a family that neither the account nor the table here knows."""
    spec = cast(ComputePoolSpec, obj.manifest.spec)
    shown: Row = row or {}
    node = family_shown(str(shown.get("instance_family") or spec.instance_family), view.snapshot)
    if node is None:
        return None
    mark = mark_of(shown)
    noted = mark.attributes.get("queue", "") if mark is not None and mark.project == view.project.name else ""
    return Room(
        of_node(node),
        as_int(shown.get("max_nodes")) or spec.max_nodes,
        node.name,
        tuple(from_attribute(name) for name in noted.split(",") if name),
        rests=spec.idle == "suspend",
        state=as_upper(shown.get("state")) or "",
        counted=(as_int(shown.get("num_services")) or 0) + (as_int(shown.get("num_jobs")) or 0),
    )


def queue_attribute(queue: Sequence[str]) -> str:
    return ",".join(as_attribute(name).replace(",", "%2C") for name in queue[:_NOTED])
