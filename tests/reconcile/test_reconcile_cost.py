"""Credits per hour in a plan: of what is kept running, now and after; what is not known is never counted as nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reconcile_world import POOL, WAREHOUSE, World, mark, warehouse, write

OURS = mark("Warehouse", "wh", delete="yes")
RUNNING = {**WAREHOUSE, "auto_suspend": 0, "state": "STARTED"}
WAREHOUSES: list[tuple[str, str, dict[str, Any] | None, tuple[float | None, float | None] | None]] = [
    ("one that suspends itself", "size: large, autoSuspend: 60", RUNNING | {"auto_suspend": 60}, None),
    ("one that never does", "size: xsmall, autoSuspend: 0", RUNNING, (1.0, 1.0)),
    ("larger", "size: large, autoSuspend: 0", RUNNING, (1.0, 8.0)),
    ("made to suspend itself", "size: xsmall, autoSuspend: 60", RUNNING, (1.0, 0.0)),
    ("suspended", "size: large, autoSuspend: 0", RUNNING | {"state": "SUSPENDED"}, None),
    ("new, and running", "size: small, autoSuspend: 0, initiallySuspended: false", None, (0.0, 2.0)),
    ("new, and suspended", "size: small, autoSuspend: 0", None, None),
    ("more clusters", "autoSuspend: 0, minClusters: 2, maxClusters: 3", RUNNING, (1.0, 2.0)),
    ("of another type", "type: snowpark-optimized, size: medium, autoSuspend: 0", RUNNING, (1.0, None)),
]


@pytest.mark.parametrize(("reason", "spec", "columns", "cost"), WAREHOUSES, ids=[row[0] for row in WAREHOUSES])
def test_warehouses(reason: str, spec: str, columns: dict[str, Any] | None, cost: Any, tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse(spec=spec)))
    if columns is not None:
        world.account.put("WAREHOUSES", "wh", OURS, **columns)
    found = world.change("Warehouse", "wh").cost
    assert (found and (found.before, found.after)) == cost, reason


def test_a_pool_that_is_dropped_saves_what_it_costs(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("COMPUTE POOLS", "old", mark("ComputePool", "old", delete="yes"), **POOL)
    world.account.put("COMPUTE POOLS", "odd", mark("ComputePool", "odd", delete="yes"), **{**POOL, "instance_family": "GEN_X64_G2_2"})
    world.account.put("COMPUTE POOLS", "kept", mark("ComputePool", "kept"), **POOL)
    plan = world.plan()
    assert plan.cost is not None and (plan.cost.before, plan.cost.after) == (0.12, 0.06)
    assert [str(key) for key in plan.unpriced] == ["ComputePool/odd"]


def test_what_is_not_carried_out_goes_on_costing(tmp_path: Path) -> None:
    pool = (
        "kind: ComputePool\nmetadata: {name: pool, managementPolicy: observe}\nspec: {instanceFamily: CPU_X64_XS, minNodes: 3, maxNodes: 3}"
    )
    world = World(write(tmp_path, all=pool))
    world.account.put("COMPUTE POOLS", "pool", None, **POOL)
    found = world.change("ComputePool", "pool").cost
    assert found is not None and (found.before, found.after) == (0.06, 0.06)
