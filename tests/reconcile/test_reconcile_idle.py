"""A pool with nothing left to run, in a running account."""

from __future__ import annotations

from reconcile_live import Live, eventually

POOL = "kind: ComputePool\nmetadata: {name: pool_@}\nspec: {instanceFamily: CPU_X64_XS, idle: suspend}"


def test_a_pool_that_nobody_needs_is_given_back(live: Live) -> None:
    """Also when somebody has resumed it by hand."""
    live.write(pool=POOL)
    assert live.apply().ready
    row = live.row("COMPUTE POOLS", "pool_@")
    assert row is not None and row["state"] == "SUSPENDED", "made suspended: no node was started for nothing"
    live.by_hand("ALTER COMPUTE POOL pool_@ RESUME")
    with live.daemon():
        eventually(lambda: live.row("COMPUTE POOLS", "pool_@")["state"] == "SUSPENDED", "it is suspended again")  # type: ignore[index]
    assert live.apply().ready
    engine = live.engine()
    loaded = engine.load()
    assert engine.plan(loaded, engine.look(loaded)).empty
