"""What people see of an object, and when `apply` is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reconcile_world import POOL, WAREHOUSE, World, key, mark, warehouse, write

from controller.kinds.base import Health
from controller.reconcile.history import succeeded
from controller.reconcile.report import ObjectStatus, Sync
from controller.reconcile.settled import settled
from controller.reconcile.status import Context, statuses
from controller.reconcile.work.backoff import Failure, FailureClass
from controller.reconcile.work.execute import Done

WH = key("Warehouse", "wh")
OURS = mark("Warehouse", "wh", delete="yes")


def context(**more: Any) -> Context:
    return Context(**{"failures": {}, "working": {}, "generations": {}, **more})


def status(world: World, ctx: Context | None = None) -> ObjectStatus:
    return next(s for s in statuses(world.plan(), ctx or context()) if s.key == WH)


def world_with(folder: Path, comment: str | None = OURS, metadata: dict[str, Any] | None = None, **columns: Any) -> World:
    world = World(write(folder, all=warehouse(**(metadata or {}))))
    world.account.put("WAREHOUSES", "wh", comment, **{**WAREHOUSE, **columns})
    return world


CASES = [
    ("as wanted", OURS, {}, {}, Sync.SYNCED, Health.HEALTHY, {"Ready", "Synced"}),
    ("it differs", OURS, {}, {"auto_suspend": 1}, Sync.OUT_OF_SYNC, Health.HEALTHY, {"Progressing"}),
    ("on its way", OURS, {}, {"state": "RESUMING"}, Sync.SYNCED, Health.PROGRESSING, {"Synced", "Progressing"}),
    ("not ours", "by hand", {}, {}, Sync.OUT_OF_SYNC, Health.HEALTHY, {"Stalled"}),
    ("suspended in its manifest", OURS, {"suspend": "true"}, {}, Sync.SYNCED, Health.HEALTHY, {"Ready", "Synced", "Suspended"}),
    ("observed, and it differs", OURS, {"suspend": "true"}, {"auto_suspend": 1}, Sync.OUT_OF_SYNC, Health.HEALTHY, {"Ready", "Suspended"}),
    (
        "broken for good",
        OURS,
        {"ignore": "[autoResume]"},
        {"state": "SUSPENDED", "auto_resume": "false"},
        Sync.SYNCED,
        Health.DEGRADED,
        {"Synced"},
    ),
]


@pytest.mark.parametrize(("because", "comment", "metadata", "columns", "sync", "health", "true"), CASES)
def test_status(
    tmp_path: Path,
    because: str,
    comment: str,
    metadata: dict[str, Any],
    columns: dict[str, Any],
    sync: Sync,
    health: Health,
    true: set[str],
) -> None:
    found = status(world_with(tmp_path, comment, metadata, **columns))
    assert (found.sync, found.health) == (sync, health), because
    assert {c.type for c in found.conditions if c.status == "True"} == true, because


def test_what_is_missing_says_so(tmp_path: Path) -> None:
    found = status(World(write(tmp_path, all=warehouse())))
    assert (found.sync, found.health, found.action) == (Sync.OUT_OF_SYNC, Health.MISSING, "create")


def test_the_generation_stands_on_every_condition(tmp_path: Path) -> None:
    found = status(world_with(tmp_path), context(generations={WH: 7}))
    assert {c.observed_generation for c in found.conditions} == {7}


def test_a_worker_s_words_are_the_message(tmp_path: Path) -> None:
    found = status(world_with(tmp_path, auto_suspend=1), context(working={WH: "uploading 3 files"}))
    assert found.message == "uploading 3 files"
    assert found.is_true("Progressing") and not found.ready


def test_what_is_ready_no_longer_shows_the_work(tmp_path: Path) -> None:
    found = status(world_with(tmp_path), context(working={WH: "CREATE WAREHOUSE WH"}))
    assert (found.sync, found.health, found.message) == (Sync.SYNCED, Health.HEALTHY, status(world_with(tmp_path)).message)
    assert not found.ready, "until the result is taken"


def test_the_event_of_a_new_object_says_what_was_made(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    succeeded(world.state, Done(world.change("Warehouse", "wh")), 1)
    (event,) = world.state.events(WH)
    assert (event.reason, event.message[:19]) == ("Created", "CREATE WAREHOUSE WH")


def failure(world: World, kind: FailureClass, fingerprint: str | None = None) -> dict[str, Any]:
    mine = fingerprint or world.change("Warehouse", "wh").fingerprint
    return {"failures": {WH: Failure(kind, "Denied", "no privilege on WH", mine)}}


def test_a_failure_stands_while_the_change_is_the_same(tmp_path: Path) -> None:
    world = world_with(tmp_path, auto_suspend=1)
    found = status(world, context(**failure(world, FailureClass.STALLED)))
    assert found.stalled and found.message == "no privilege on WH"
    told = found.condition("Stalled")
    assert told is not None and told.message == f"no privilege on WH ({tmp_path}/all.yaml:3)"
    assert not status(world, context(**failure(world, FailureClass.STALLED, "another"))).stalled
    assert not status(world, context(**failure(world, FailureClass.TRANSIENT))).stalled


def test_a_secret_in_an_error_is_hidden(tmp_path: Path) -> None:
    world, token = world_with(tmp_path, auto_suspend=1), "hf_" + "b" * 30
    mine = Failure(FailureClass.STALLED, "Rejected", f"bad token {token}", world.change("Warehouse", "wh").fingerprint)
    assert token not in str(status(world, context(failures={WH: mine})).as_dict())


# ---- when apply is done ------------------------------------------------------------------------------------------------------------------

PAIR = "kind: ComputePool\nmetadata: {name: pool}\nspec: {instanceFamily: CPU_X64_XS}\n---\n" + warehouse(dependsOn="[ComputePool/pool]")

POOL_AFTER = "kind: ComputePool\nmetadata: {name: pool, dependsOn: [Warehouse/wh]}\nspec: {instanceFamily: CPU_X64_XS}\n"

SETTLED = [
    ("everything is ready", "ours", "IDLE", "ours", True),
    ("a pool is starting", "ours", "STARTING", "ours", False),
    ("something is still to be made", "ours", "IDLE", None, False),
    ("what is missing waits for a pool that is starting", "ours", "STARTING", None, False),
    ("a person must act, and the other one only waits for that", "theirs", "IDLE", None, True),
    ("a person must act, and the other one is fine", "theirs", "IDLE", "ours", True),
]


@pytest.mark.parametrize(("because", "pool", "state", "other", "done"), SETTLED)
def test_settled(tmp_path: Path, because: str, pool: str, state: str, other: str | None, done: bool) -> None:
    world = World(write(tmp_path, all=PAIR))
    comment = world.comment("ComputePool", "pool") if pool == "ours" else None
    world.account.put("COMPUTE POOLS", "pool", comment, **{**POOL, "state": state})
    if other:
        world.account.put("WAREHOUSES", "wh", OURS, **WAREHOUSE)
    plan = world.plan()
    assert settled(plan, statuses(plan, context())) is done, because


def test_what_moves_but_waits_for_a_person_is_not_waited_for(tmp_path: Path) -> None:
    """Its change cannot be made, so it never becomes ready: without this `apply` never ends."""
    world = World(write(tmp_path, all="kind: Warehouse\nmetadata: {name: wh}\n---\n" + POOL_AFTER))
    world.account.put("WAREHOUSES", "wh", None, **WAREHOUSE)
    world.account.put("COMPUTE POOLS", "pool", world.comment("ComputePool", "pool"), **{**POOL, "state": "STARTING", "max_nodes": 9})
    plan = world.plan()
    assert settled(plan, statuses(plan, context()))


def test_a_degraded_object_gets_time_to_recover(tmp_path: Path) -> None:
    world = world_with(tmp_path, OURS, {"ignore": "[autoResume]"}, state="SUSPENDED", auto_resume="false")
    plan = world.plan()
    assert not settled(plan, statuses(plan, context()))
    assert settled(plan, statuses(plan, context()), given_up={WH})
