"""Hypothesis strategies for valid manifests of the simple kinds, over all their fields."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from strategies_common import comments, manifests, optional

_SIZES = ("xsmall", "Small", "MEDIUM", "large", "X-Large", "xxlarge", "2X-Large", "x4large", "X5LARGE", "x6large")
SCHEMA = {"schema": "db.sch"}


@st.composite
def _warehouse_spec(draw: st.DrawFn) -> dict[str, Any]:
    common = optional(
        autoSuspend=st.integers(0, 100_000),
        autoResume=st.booleans(),
        initiallySuspended=st.booleans(),
        maxConcurrencyLevel=st.integers(1, 32),
        statementQueuedTimeoutSeconds=st.integers(0, 10_000),
        statementTimeoutSeconds=st.integers(0, 604_800),
        comment=comments,
    )
    kind = draw(st.sampled_from(["STANDARD", "snowpark-optimized", "ADAPTIVE", "interactive"]))
    if kind == "ADAPTIVE":
        special = optional(maxQueryPerformanceLevel=st.sampled_from(_SIZES), queryThroughputMultiplier=st.integers(0, 50))
        return {**draw(common), **draw(special), "type": kind}
    special = optional(
        size=st.sampled_from(_SIZES),
        scalingPolicy=st.sampled_from(["standard", "ECONOMY"]),
        queryAcceleration=st.booleans(),
        queryAccelerationMaxScaleFactor=st.integers(0, 100),
        resourceConstraint=st.sampled_from(["MEMORY_1X", "memory_16X_x86"]),
    )
    made = {**draw(common), **draw(special)}
    if kind != "STANDARD" or draw(st.booleans()):
        made["type"] = kind
    elif draw(st.booleans()):
        made["generation"] = draw(st.sampled_from([1, 2, "1", "2"]))
    most = draw(st.integers(1, 10))
    if draw(st.booleans()):
        made |= {"maxClusters": most, "minClusters": draw(st.integers(1, most))}
    return made


warehouses = manifests("Warehouse", _warehouse_spec())
