"""Hypothesis strategies for valid manifests of the simple kinds, over all their fields."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from strategies_common import bare_names, comments, manifests, optional

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


@st.composite
def _container_spec(draw: st.DrawFn, **more: st.SearchStrategy[Any]) -> dict[str, Any]:
    transient = draw(st.booleans())
    fields = optional(
        dataRetentionDays=st.integers(0, 1 if transient else 90),
        maxDataExtensionDays=st.integers(0, 90),
        defaultDdlCollation=st.sampled_from(["en-ci", "de", "it's"]),
        logLevel=st.sampled_from(["TRACE", "INFO", "OFF"]),
        comment=comments,
        **more,
    )
    return {**draw(fields), **({"transient": transient} if transient or draw(st.booleans()) else {})}


databases = manifests("Database", _container_spec())
schemas = manifests("Schema", _container_spec(managedAccess=st.booleans()), place={"database": "db"})

_FAMILIES = ("CPU_X64_XS", "cpu_x64_s", "CPU_X64_M", "GPU_NV_S", "highmem_x64_s")


@st.composite
def _pool_spec(draw: st.DrawFn) -> dict[str, Any]:
    families = draw(st.lists(st.sampled_from(_FAMILIES), min_size=1, max_size=3, unique=True))
    least = draw(st.integers(1, 3))
    fields = optional(
        autoSuspendSeconds=st.sampled_from([0, 60, 3600]),
        autoResume=st.booleans(),
        initiallySuspended=st.booleans(),
        application=bare_names,
        placementGroup=st.sampled_from(["A", "us-west-2a", "distributed"]),
        backupInstanceFamilies=st.just(families[1:]),
        comment=comments,
    )
    return {**draw(fields), "instanceFamily": families[0], "minNodes": least, "maxNodes": draw(st.integers(least, 4))}


pools = manifests("ComputePool", _pool_spec(), name=bare_names)

BY_KIND = {
    "ComputePool": pools,
    "Warehouse": warehouses,
    "Database": databases,
    "Schema": schemas,
}
