"""Any valid manifest of a simple kind, made over the wire, leaves an empty plan."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kinds_round_trip import round_trip, told
from strategies_common import comments, manifests, optional, over_the_wire

from controller.account.connections import Connection

warehouses = manifests(
    "Warehouse", optional(comment=comments, size=st.sampled_from(["xsmall", "X-Large"]), autoSuspend=st.integers(0, 999))
)


@over_the_wire
@given(document=warehouses)
def test_warehouse(document: dict[str, Any], account: Connection) -> None:
    plan = round_trip(account, [document])
    assert plan.empty, told(plan)
