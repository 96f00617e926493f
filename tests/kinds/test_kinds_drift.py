"""What counts as a difference between a manifest and a row of SHOW, kind by kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kinds_project import comment_of, one, row_for, seen_as, show_of, sql_of, view_of

from controller.kinds.base import Health
from controller.kinds.registry import KINDS

POOL = {
    "state": "IDLE", "min_nodes": 1, "max_nodes": 1, "instance_family": "CPU_X64_S", "auto_suspend_secs": 3600, "auto_resume": "true",
    "active_nodes": 0, "idle_nodes": 1, "target_nodes": 1, "placement_group": None, "backup_instance_families": None,
}  # fmt: skip
WAREHOUSE = {"state": "STARTED", "size": "X-Small", "auto_suspend": 600, "auto_resume": "true"}
STAGE = {"type": "INTERNAL NO CSE", "directory_enabled": "Y"}
FAMILY = "instanceFamily: CPU_X64_S"


@dataclass(frozen=True)
class Case:
    reason: str
    kind: str
    spec: str
    row: dict[str, Any]
    drift: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # path → (before, after)
    update: list[str] = field(default_factory=list)
    metadata: str = "name: thing"


CASES = [
    Case("text booleans and numbers as text are values", "ComputePool", FAMILY, {**POOL, "min_nodes": "1"}),
    Case("families compare without case", "ComputePool", "instanceFamily: cpu_x64_s", POOL),
    Case(
        "several live fields go in one statement",
        "ComputePool",
        FAMILY + "\nminNodes: 2\nmaxNodes: 3\nautoSuspendSeconds: 60",
        POOL,
        {"minNodes": (1, 2), "maxNodes": (1, 3), "autoSuspendSeconds": (3600, 60)},
        ["ALTER COMPUTE POOL THING SET MIN_NODES = 2 MAX_NODES = 3 AUTO_SUSPEND_SECS = 60"],
    ),
    Case(
        "a field left out has its default: a change by hand is drift",
        "ComputePool",
        FAMILY,
        {**POOL, "auto_resume": "false", "auto_suspend_secs": 60},
        {"autoResume": (False, True), "autoSuspendSeconds": (60, 3600)},
        ["ALTER COMPUTE POOL THING SET AUTO_RESUME = TRUE AUTO_SUSPEND_SECS = 3600"],
    ),
    Case("a placement that the manifest never named is the account's", "ComputePool", FAMILY, {**POOL, "placement_group": "A"}),
    Case(
        "backup families in a list text",
        "ComputePool",
        FAMILY + "\nbackupInstanceFamilies: [GEN_X64_G2_4]",
        {**POOL, "backup_instance_families": "[GEN_X64_G2_4]"},
    ),
    Case(
        "backup families gone from the manifest are unset",
        "ComputePool",
        FAMILY,
        {**POOL, "backup_instance_families": "GEN_X64_G2_4,CPU_X64_M"},
        {"backupInstanceFamilies": (("GEN_X64_G2_4", "CPU_X64_M"), ())},
        ["ALTER COMPUTE POOL THING UNSET BACKUP_INSTANCE_FAMILIES"],
    ),
    Case("an older account has no such column", "ComputePool", FAMILY, {k: v for k, v in POOL.items() if k != "placement_group"}),
    Case("X-Small is XSMALL", "Warehouse", "size: xsmall", WAREHOUSE),
    Case("4X-Large is X4LARGE", "Warehouse", "size: x4large", {**WAREHOUSE, "size": "4X-Large"}),
    Case("2X-Large is XXLARGE", "Warehouse", "size: xxlarge", {**WAREHOUSE, "size": "2X-Large"}),
    Case("NULL auto-suspend means never, as 0 does", "Warehouse", "autoSuspend: 0", {**WAREHOUSE, "auto_suspend": None}),
    Case(
        "a size changed by hand goes back",
        "Warehouse",
        "",
        {**WAREHOUSE, "size": "Large"},
        {"size": ("LARGE", "XSMALL")},
        ["ALTER WAREHOUSE THING SET WAREHOUSE_SIZE = XSMALL"],
    ),
    Case("a retention that the manifest leaves out is the account's", "Database", "", {"retention_time": "7"}),
    Case(
        "a retention in the manifest is kept",
        "Schema",
        "dataRetentionDays: 3",
        {"retention_time": "1"},
        {"dataRetentionDays": (1, 3), "mark": ("[snowcat proj/Schema/thing]", "[snowcat proj/Schema/thing set=dataRetentionDays]")},
        ["ALTER SCHEMA DB.THING SET DATA_RETENTION_TIME_IN_DAYS = 3 COMMENT = '[snowcat proj/Schema/thing set=dataRetentionDays]'"],
    ),
    Case(
        "a retention taken out of the manifest is unset",
        "Database",
        "",
        {"retention_time": "3", "comment": "[snowcat proj/Database/thing set=dataRetentionDays]"},
        {
            "dataRetentionDays": (3, "default"),
            "mark": ("[snowcat proj/Database/thing set=dataRetentionDays]", "[snowcat proj/Database/thing]"),
        },
        ["ALTER DATABASE THING UNSET DATA_RETENTION_TIME_IN_DAYS", "ALTER DATABASE THING SET COMMENT = '[snowcat proj/Database/thing]'"],
    ),
    Case("a stage by its type", "Stage", "", STAGE),
    Case("both encryptions", "Stage", "encryption: SNOWFLAKE_FULL", {**STAGE, "type": "INTERNAL"}),
    Case(
        "a directory table switched off by hand",
        "Stage",
        "",
        {**STAGE, "directory_enabled": "N"},
        {"directory": (False, True)},
        ["ALTER STAGE DB.SCH.THING SET DIRECTORY = (ENABLE = TRUE)"],
    ),
    Case("an empty comment is '' for repositories", "ImageRepository", "", {"encryption": "SNOWFLAKE_FULL"}),
    Case(
        "entries are counted where DESCRIBE was not asked",
        "NetworkRule",
        "values: [a.com, b.com]",
        {"type": "HOST_PORT", "mode": "EGRESS", "entries_in_valuelist": "2"},
    ),
    Case(
        "another number of entries",
        "NetworkRule",
        "values: [a.com, b.com]",
        {"type": "HOST_PORT", "mode": "EGRESS", "entries_in_valuelist": 1},
        {"values": ("1 entries", ["a.com", "b.com"])},
        ["ALTER NETWORK RULE DB.SCH.THING SET VALUE_LIST = ('a.com', 'b.com')"],
    ),
    Case(
        "a comment edited by hand keeps its mark and gets its text back",
        "Warehouse",
        "comment: it's ours",
        {**WAREHOUSE, "comment": "hands off [snowcat proj/Warehouse/thing delete=yes]"},
        {"comment": ("hands off", "it's ours")},
        ["ALTER WAREHOUSE THING SET COMMENT = 'it''s ours [snowcat proj/Warehouse/thing delete=yes]'"],
    ),
    Case(
        "a comment left to others keeps their text when the mark is renewed",
        "Warehouse",
        "",
        {**WAREHOUSE, "comment": "of others [snowcat proj/Warehouse/thing]"},
        {
            "comment": ("of others", ""),
            "mark": ("[snowcat proj/Warehouse/thing]", "[snowcat proj/Warehouse/thing delete=yes]"),
        },
        ["ALTER WAREHOUSE THING SET COMMENT = 'of others [snowcat proj/Warehouse/thing delete=yes]'"],
        metadata="name: thing\nignore: [comment]",
    ),
    Case(
        "a deletion policy is a part of the mark",
        "Warehouse",
        "",
        WAREHOUSE | {"comment": "[snowcat proj/Warehouse/thing delete=yes]"},
        {"mark": ("[snowcat proj/Warehouse/thing delete=yes]", "[snowcat proj/Warehouse/thing]")},
        ["ALTER WAREHOUSE THING SET COMMENT = '[snowcat proj/Warehouse/thing]'"],
        metadata="name: thing\ndeletionPolicy: orphan",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}: {case.reason}" for case in CASES])
def test_drift_and_its_repair(case: Case, tmp_path: Path) -> None:
    obj, graph = one(tmp_path, case.kind, case.spec, case.metadata)
    view, seen = seen_as(obj, graph, row_for(obj, **case.row))
    assert seen.exists, case.reason
    assert {change.path: (change.before, change.after) for change in seen.drift} == case.drift, case.reason
    assert not any(change.immutable for change in seen.drift), case.reason
    assert sql_of(KINDS[case.kind].update(obj, seen, view)) == case.update, case.reason


IMMUTABLE = [
    ("Stage", "", {"type": "INTERNAL", "directory_enabled": "Y"}, "encryption"),
    ("ImageRepository", "", {"encryption": "SNOWFLAKE_SSE"}, "encryption"),
    ("NetworkRule", "values: [a.com]", {"type": "IPV4", "mode": "EGRESS", "entries_in_valuelist": 1}, "type"),
    ("NetworkRule", "values: [a.com]", {"type": "HOST_PORT", "mode": "INGRESS", "entries_in_valuelist": 1}, "mode"),
]


@pytest.mark.parametrize(("kind", "spec", "row", "path"), IMMUTABLE)
def test_fields_that_cannot_change_name_a_way_out(kind: str, spec: str, row: dict[str, Any], path: str, tmp_path: Path) -> None:
    obj, graph = one(tmp_path, kind, spec)
    view, seen = seen_as(obj, graph, row_for(obj, **row))
    (change,) = seen.drift
    assert (change.path, change.immutable) == (path, True)
    assert change.way_out.count("manifest") >= 1, "a way out says what to change in the manifest"
    assert KINDS[kind].update(obj, seen, view) == [], "nothing is dropped or altered silently"


ABSENT = {
    "ComputePool": FAMILY,
    "NetworkRule": "values: [a.com]",
    "Role": "",
    "Warehouse": "",
    "Database": "",
    "Schema": "",
    "Stage": "",
    "ImageRepository": "",
    "SecurityIntegration": "",
    "Secret": "valueFrom: {command: [echo, zq81-of-nobody]}",
}


@pytest.mark.parametrize(("kind", "spec"), ABSENT.items())
def test_an_object_that_is_not_there_is_missing(kind: str, spec: str, tmp_path: Path) -> None:
    obj, graph = one(tmp_path, kind, spec)
    seen = KINDS[kind].observe(obj, view_of(graph))
    assert (seen.exists, seen.health, seen.drift) == (False, Health.MISSING, ())


def test_an_object_of_others_has_no_mark_and_shows_its_owner(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "Warehouse")
    _, seen = seen_as(obj, graph, row_for(obj, **WAREHOUSE, comment="", owner="OTHERS") | {"comment": None})
    assert (seen.mark, seen.owner, seen.markable) == (None, "OTHERS", True)
    assert seen.drift == (), "a missing mark is a question of ownership, not drift"


def test_adopting_writes_the_mark(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "Warehouse", metadata="name: thing\nadopt: true")
    view, seen = seen_as(obj, graph, {**row_for(obj, **WAREHOUSE), "comment": None})
    assert sql_of(KINDS["Warehouse"].update(obj, seen, view)) == [f"ALTER WAREHOUSE THING SET COMMENT = '{comment_of(obj)}'"]


def test_same_name_in_another_schema_is_another_object(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "Stage")
    view = view_of(graph, {show_of(obj): [{**row_for(obj, **STAGE), "schema_name": "OTHER"}]})
    assert not KINDS["Stage"].observe(obj, view).exists
