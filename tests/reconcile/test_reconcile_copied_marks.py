"""Marks that stand on another object than the one they were written for: copied comments, clones, and what was renamed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from reconcile_world import STAGE, WAREHOUSE, World, key, mark, warehouse, write

from controller.kinds.registry import KINDS
from controller.reconcile.destroy import removal
from controller.reconcile.planning.change import Action, Block
from controller.reconcile.planning.plan import plan

COPIED = mark("Warehouse", "wh", delete="yes")
HOME = "existing: [Database/d, Schema/d.s]\n"


def test_a_copied_comment_makes_nothing_ours(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("WAREHOUSES", "wh", world.comment("Warehouse", "wh"), **WAREHOUSE)
    world.account.put("WAREHOUSES", "theirs", COPIED, **WAREHOUSE)
    change = world.change("Warehouse", "theirs")
    assert (change.action, change.block, change.steps) == (Action.BLOCKED, Block.HELD, ())
    assert "its comment is that of Warehouse/wh" in change.reason
    now = removal(world.view(), KINDS)
    assert list(map(str, now.drops)) == ["Warehouse/wh"] and key("Warehouse", "theirs") in now.kept


@pytest.mark.parametrize(("more", "action"), [({}, Action.BLOCKED), ({"adopt": "true"}, Action.ADOPT)])
def test_an_object_that_is_wanted_is_not_ours_by_a_copied_comment(tmp_path: Path, more: dict[str, str], action: Action) -> None:
    world = World(write(tmp_path, all=warehouse("other", **more)))
    world.account.put("WAREHOUSES", "other", COPIED, **{**WAREHOUSE, "auto_suspend": 1})
    change = world.change("Warehouse", "other")
    assert change.action is action
    assert action is Action.ADOPT or "comment is that of Warehouse/wh" in change.reason


def test_ours_gets_its_own_mark_back(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse("other")))
    world.account.put("WAREHOUSES", "other", mark("Warehouse", "wh", delete="yes", paused="yes"), **WAREHOUSE, created_on="today")
    seen = replace(world.view(), births={key("Warehouse", "other"): "today"})
    change = plan(seen, KINDS).objects[key("Warehouse", "other")].change
    assert change.action is Action.UPDATE
    assert mark("Warehouse", "other", delete="yes") in change.statements[0], "nor is it suspended because the other one was"


@pytest.mark.parametrize(
    ("because", "database", "schema", "goes"),
    [
        ("what lies in ours goes", "[snowcat proj/Database/e]", "[snowcat proj/Schema/s]", True),
        ("a clone keeps the comments of what is inside", None, "[snowcat proj/Schema/s]", False),
        ("a clone may keep its own too", "[snowcat proj/Database/d]", "[snowcat proj/Schema/s]", False),
        ("a cloned schema", "[snowcat proj/Database/e]", "[snowcat proj/Schema/other]", False),
    ],
)
def test_what_lies_in_a_clone_stays(tmp_path: Path, because: str, database: str | None, schema: str, goes: bool) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("DATABASES", "e", database)
    world.account.put("SCHEMAS", "e.s", schema)
    world.account.put("STAGES", "e.s.files", mark("Stage", "files", delete="yes"), **STAGE)
    assert (world.change("Stage", "e.s.files").action is Action.DELETE) is goes, because


def test_what_lies_in_a_schema_of_others_that_the_project_may_use_goes(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    (tmp_path / "snowcat.yaml").write_text((tmp_path / "snowcat.yaml").read_text() + HOME)
    world.account.put("STAGES", "d.s.files", mark("Stage", "files", delete="yes"), **STAGE)
    assert world.change("Stage", "d.s.files").action is Action.DELETE
