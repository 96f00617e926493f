"""Any valid manifest of a simple kind, made over the wire, leaves an empty plan."""

from __future__ import annotations

import pytest
import strategies_simple as simple
from hypothesis import given
from hypothesis import strategies as st
from kinds_round_trip import round_trip, told
from strategies_common import over_the_wire

from controller.account.connections import Connection


@pytest.mark.parametrize("kind", simple.BY_KIND)
@over_the_wire
@given(data=st.data())
def test_apply_then_plan_is_empty(kind: str, data: st.DataObject, account: Connection) -> None:
    plan = round_trip(account, data.draw(simple.BY_KIND[kind]))
    assert plan.empty, told(plan)
