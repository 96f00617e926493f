"""Compute pools: what their states mean, and how a family is changed over several cycles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kinds_project import comment_of, one, row_for, seen_as, sql_of, view_of

from controller.account.snapshot import Describe, Show, Snapshot
from controller.kinds.base import Health, Stalled, Waiting
from controller.kinds.instance_families import SHOWN, unknown_families
from controller.kinds.registry import KINDS

POOL = KINDS["ComputePool"]
BASE = {
    "state": "IDLE", "min_nodes": 1, "max_nodes": 2, "instance_family": "CPU_X64_S", "auto_suspend_secs": 3600, "auto_resume": "true",
    "active_nodes": 0, "idle_nodes": 1, "target_nodes": 1, "placement_group": None, "backup_instance_families": None,
}  # fmt: skip
SPEC = "instanceFamily: CPU_X64_S\nmaxNodes: 2"

STATES = [
    ("nodes are there and nothing runs", {"state": "IDLE"}, Health.HEALTHY, "idle, 1 of 2 nodes"),
    ("something runs", {"state": "ACTIVE", "active_nodes": 2, "idle_nodes": 0}, Health.HEALTHY, "active, 2 of 2 nodes"),
    ("the first node is on its way", {"state": "STARTING", "idle_nodes": 0}, Health.PROGRESSING, "starting: node 0 of 1 is up"),
    (
        "more nodes are on their way",
        {"state": "RESIZING", "active_nodes": 1, "target_nodes": 2},
        Health.PROGRESSING,
        "resizing: node 1 of 2",
    ),
    ("it comes back by itself", {"state": "SUSPENDED"}, Health.SUSPENDED, "resumes when a service or job is submitted"),
    ("it does not come back", {"state": "SUSPENDED", "auto_resume": "false"}, Health.DEGRADED, "ALTER COMPUTE POOL THING RESUME"),
    ("jobs still run", {"state": "STOPPING"}, Health.SUSPENDED, "running jobs go on to their end"),
    ("a state of the future is shown as it is", {"state": "HIBERNATING"}, Health.PROGRESSING, "state HIBERNATING"),
]


@pytest.mark.parametrize(("reason", "columns", "health", "message"), STATES)
def test_states(reason: str, columns: dict[str, Any], health: Health, message: str, tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "ComputePool", SPEC)
    _, seen = seen_as(obj, graph, row_for(obj, **{**BASE, **columns}))
    assert seen.health is health, reason
    assert message in seen.message, reason


TROUBLE = [
    ("no machine of that family", "392507", "Compute pool is starting for last 12 minutes", "NoCapacity", "no CPU_X64_S node is to be had"),
    ("services wait", "392508", "Compute pool has reached the maximum node limit.", "AtMaximum", "maxNodes 2 is reached"),
    ("an error of the future", "399999", "Something new.", "PoolError", "Something new. (error 399999)"),
]


@pytest.mark.parametrize(("reason", "code", "told", "name", "message"), TROUBLE)
def test_describe_tells_why_there_are_no_nodes(reason: str, code: str, told: str, name: str, message: str, tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "ComputePool", SPEC)
    question = Describe("COMPUTE POOL", "THING")
    row = row_for(obj, **{**BASE, "state": "STARTING"})
    view, seen = seen_as(obj, graph, row, answers={question: [{"error_code": code, "status_message": told}]})
    assert list(POOL.deep_reads(obj, view)) == [question], "asked while it is not healthy"
    assert (seen.health, seen.reason) == (Health.DEGRADED, name), reason
    assert message in seen.message, reason


def test_a_healthy_pool_is_not_described(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "ComputePool", SPEC)
    view, _ = seen_as(obj, graph, row_for(obj, **BASE))
    assert list(POOL.deep_reads(obj, view)) == []


def test_another_family_goes_by_suspend_set_resume(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "ComputePool", "instanceFamily: CPU_X64_M\nmaxNodes: 2\nautoSuspendSeconds: 60")
    marked = comment_of(obj, resume="yes")

    view, seen = seen_as(obj, graph, row_for(obj, **BASE))
    assert {c.path for c in seen.drift} >= {"instanceFamily", "autoSuspendSeconds"}
    assert sql_of(POOL.update(obj, seen, view)) == [
        f"ALTER COMPUTE POOL THING SET AUTO_SUSPEND_SECS = 60 COMMENT = '{marked}'",
        "ALTER COMPUTE POOL THING SUSPEND",
    ], "what can be set at once is, and the mark remembers to resume"

    stopping = {**BASE, "state": "STOPPING", "auto_suspend_secs": 60, "comment": marked}
    view, seen = seen_as(obj, graph, row_for(obj, **stopping))
    with pytest.raises(Waiting, match="running jobs"):
        POOL.update(obj, seen, view)

    view, seen = seen_as(obj, graph, row_for(obj, **{**stopping, "state": "SUSPENDED"}))
    assert sql_of(POOL.update(obj, seen, view)) == [
        "ALTER COMPUTE POOL THING SET INSTANCE_FAMILY = CPU_X64_M",
        "ALTER COMPUTE POOL THING RESUME",
        f"ALTER COMPUTE POOL THING SET COMMENT = '{comment_of(obj)}'",
    ], "the mark forgets it last"

    crashed = {**stopping, "state": "SUSPENDED", "instance_family": "CPU_X64_M"}
    view, seen = seen_as(obj, graph, row_for(obj, **crashed))
    assert sql_of(POOL.update(obj, seen, view)) == [
        "ALTER COMPUTE POOL THING RESUME",
        f"ALTER COMPUTE POOL THING SET COMMENT = '{comment_of(obj)}'",
    ], "a crash between SET and RESUME is made good"

    view, seen = seen_as(obj, graph, row_for(obj, **{**crashed, "state": "STARTING"}))
    assert sql_of(POOL.update(obj, seen, view)) == [f"ALTER COMPUTE POOL THING SET COMMENT = '{comment_of(obj)}'"]


def test_a_pool_that_was_suspended_by_others_stays_so(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "ComputePool", "instanceFamily: CPU_X64_M\nmaxNodes: 2")
    view, seen = seen_as(obj, graph, row_for(obj, **{**BASE, "state": "SUSPENDED"}))
    assert sql_of(POOL.update(obj, seen, view)) == ["ALTER COMPUTE POOL THING SET INSTANCE_FAMILY = CPU_X64_M"]


def test_the_pools_of_snowflake_are_never_touched(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "ComputePool", SPEC, "name: system_compute_pool_cpu\nadopt: true")
    view, seen = seen_as(obj, graph, row_for(obj, **BASE))
    for attempt in (lambda: POOL.create(obj, view), lambda: POOL.update(obj, seen, view), lambda: POOL.delete(obj.key, view)):
        with pytest.raises(Stalled, match="belongs to Snowflake"):
            attempt()


COSTS = [
    ("a new pool", None, SPEC, (0.0, 0.11)),
    ("a new pool that starts suspended", None, SPEC + "\ninitiallySuspended: true", (0.0, 0.0)),
    ("more nodes are kept", {}, "instanceFamily: CPU_X64_S\nminNodes: 2\nmaxNodes: 2", (0.11, 0.22)),
    ("suspended costs nothing", {"state": "SUSPENDED"}, SPEC, (0.0, 0.0)),
    ("a family with no known rate", {}, "instanceFamily: GPU_L40S_G1_8", (0.11, None)),
]


@pytest.mark.parametrize(("reason", "columns", "spec", "cost"), COSTS)
def test_cost(reason: str, columns: dict[str, Any] | None, spec: str, cost: tuple[float, float], tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "ComputePool", spec)
    view = view_of(graph, {Show("COMPUTE POOLS"): [] if columns is None else [row_for(obj, **{**BASE, **columns})]})
    assert POOL.cost(obj, POOL.observe(obj, view), view) == cost, reason


def test_services_of_others_keep_a_pool_from_being_dropped(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "ComputePool", SPEC)
    inside = [
        {"name": "OURS", "database_name": "D", "schema_name": "S", "comment": "[snowcat proj/Service/ours]"},
        {"name": "THEIRS", "database_name": "D", "schema_name": "S", "comment": "[snowcat another/Service/theirs]"},
        {"name": "NOBODYS", "database_name": "D", "schema_name": "S", "comment": None},
    ]
    (question,) = POOL.drop_reads(obj.key)
    assert list(POOL.foreign_inside(obj.key, view_of(graph, {question: inside}))) == ["service D.S.THEIRS", "service D.S.NOBODYS"]


FAMILIES = [
    ("one that the table here knows", "GPU_NV_S", [], None),
    ("one that nobody knows", "GPU_NV_SMALL", [], "unknown family 'GPU_NV_SMALL'; did you mean GPU_NV_SM"),
    ("one of this year that the account has", "GPU_B300_1", ["GPU_B300_1"], None),
    (
        "one that the account does not have",
        "GPU_NV_S",
        ["GPU_NV_M", "CPU_X64_S"],
        "the account has no family 'GPU_NV_S'; did you mean GPU_NV_M?",
    ),
]


@pytest.mark.parametrize(("reason", "family", "listed", "says"), FAMILIES)
def test_a_family_that_nobody_knows_is_worth_a_warning(
    reason: str, family: str, listed: list[str], says: str | None, tmp_path: Path
) -> None:
    obj, _ = one(tmp_path, "ComputePool", f"instanceFamily: {family}")
    snapshot = Snapshot({SHOWN: tuple({"name": name} for name in listed)})
    found = list(unknown_families([obj], snapshot))
    assert [problem.is_error for problem in found] == ([False] if says else []), reason
    assert says is None or says in str(found[0])
