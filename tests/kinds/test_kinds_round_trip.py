"""Any valid manifest of a simple kind, made over the wire, leaves an empty plan."""

from __future__ import annotations

from typing import Any

import strategies_simple as simple
from hypothesis import given
from kinds_round_trip import round_trip, told
from strategies_common import over_the_wire

from controller.account.connections import Connection


@over_the_wire
@given(document=simple.warehouses)
def test_warehouse(document: dict[str, Any], account: Connection) -> None:
    plan = round_trip(account, [document])
    assert plan.empty, told(plan)
