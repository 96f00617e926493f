"""How much may vanish at once, what stays and is named, and the last look before a container is dropped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reconcile_world import STAGE, WAREHOUSE, World, key, mark, warehouse, write

from controller.account.errors import Rejected
from controller.account.session import Result
from controller.kinds.base import Project, Stalled
from controller.kinds.registry import KINDS
from controller.reconcile.planning.change import Action, Block
from controller.reconcile.planning.look_again import LookAgain
from controller.reconcile.planning.plan import plan
from controller.reconcile.planning.prune import Rules
from controller.reconcile.status import Context, statuses

LIMITS = [
    ("two may always go", 2, 2, 0.3, None, True),
    ("a share of many may go", 3, 10, 0.3, None, True),
    ("one more than that may not", 4, 10, 0.3, None, False),
    ("never all of three", 3, 3, 0.3, None, False),
    ("as many as a person has allowed", 10, 10, 0.3, 10, True),
    ("fewer than allowed", 8, 10, 0.3, 10, True),
    ("not more than allowed", 10, 10, 0.3, 9, False),
    ("a project that allows all", 10, 10, 1.0, None, True),
]


@pytest.mark.parametrize(("because", "going", "total", "share", "allowed", "may"), LIMITS)
def test_how_many_may_go_at_once(because: str, going: int, total: int, share: float, allowed: int | None, may: bool) -> None:
    assert (Rules(share=share, allowed=allowed).refusal(going, total) == "") is may, because


def world_of(tmp_path: Path, left: int, gone: int, **rules: Any) -> World:
    world = World(write(tmp_path, all="\n---\n".join(warehouse(f"w{i}") for i in range(left))), rules=Rules(**rules))
    for i in range(left + gone):
        world.account.put("WAREHOUSES", f"w{i}", mark("Warehouse", f"w{i}", delete="yes"), **WAREHOUSE)
    return world


def test_a_vanished_half_waits_for_a_person_and_says_the_command(tmp_path: Path) -> None:
    now = world_of(tmp_path, 4, 4).plan()
    held = [c for c in now.changes if c.block_reason == "PruneLimit"]
    assert len(held) == 4 and not now.pending and not now.empty
    assert {c.block for c in held} == {Block.STALLED}
    assert "4 of the project's 8 objects" in held[0].reason and "'snowcat apply --allow-prune 4'" in held[0].reason


def test_what_was_allowed_goes(tmp_path: Path) -> None:
    now = world_of(tmp_path, 4, 4, allowed=4).plan()
    assert [c.action for c in now.changes if c.key not in now.graph] == [Action.DELETE] * 4


def existing_schema(folder: Path) -> None:
    with (folder / "snowcat.yaml").open("a") as file:
        file.write("existing: [Database/d, Schema/d.s]\n")


def test_a_composite_counts_once(tmp_path: Path) -> None:
    world = World(write(tmp_path, all="\n---\n".join(warehouse(f"w{i}") for i in range(3))), rules=Rules())
    for i in range(3):
        world.account.put("WAREHOUSES", f"w{i}", mark("Warehouse", f"w{i}", delete="yes"), **WAREHOUSE)
    existing_schema(tmp_path)
    for i in range(4):  # four objects of one removed manifest: one of four, and one may always go
        world.account.put("STAGES", f"d.s.part{i}", mark("Stage", f"part{i}", delete="yes", parent="ModelDeployment/m"), **STAGE)
    assert len([c for c in world.plan().changes if c.action is Action.DELETE]) == 4


def test_what_holds_data_stays_and_is_named(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("WAREHOUSES", "wh", world.comment("Warehouse", "wh"), **WAREHOUSE)
    existing_schema(tmp_path)
    world.account.put("STAGES", "d.s.data", mark("Stage", "data"), **STAGE)
    now = world.plan()
    change = now.objects[key("Stage", "d.s.data")].change
    assert (change.block, change.block_reason) == (Block.HELD, "Orphaned")
    assert "deletionPolicy: delete" in change.reason
    assert now.empty, "nobody has to do anything about it"
    (status,) = [s for s in statuses(now, Context({}, {}, {})) if s.key.kind == "Stage"]
    assert status.ready and status.is_true("Orphaned"), "it holds nothing up"


def test_a_renamed_project_says_so(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse("a") + "\n---\n" + warehouse("b")))
    for name in "ab":
        world.account.put("WAREHOUSES", name, mark("Warehouse", name, "before", delete="yes"), **WAREHOUSE)
    changes = world.plan().changes
    assert {c.block_reason for c in changes} == {"ProjectRenamed"}
    assert all("renamed to 'proj'" in c.reason and "project: before" in c.reason and not c.steps for c in changes)


def test_two_projects_side_by_side_are_no_rename(tmp_path: Path) -> None:
    world = World(write(tmp_path, all="\n---\n".join(warehouse(n) for n in "abc")))
    world.account.put("WAREHOUSES", "a", world.comment("Warehouse", "a"), **WAREHOUSE)
    for name in "bc":
        world.account.put("WAREHOUSES", name, mark("Warehouse", name, "rival", delete="yes"), **WAREHOUSE)
    assert [c.block_reason for c in world.plan().changes] == ["", "OwnedByOtherProject", "OwnedByOtherProject"]


def test_a_comment_written_over_by_hand_gets_its_mark_back(tmp_path: Path) -> None:
    """The object of the very moment in which ours was made is ours; one that was made later under its name is not."""
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("WAREHOUSES", "wh", "mine now", **WAREHOUSE, created_on="2026-01-01")
    seen = world.view()
    ours = plan(replace(seen, births={key("Warehouse", "wh"): "2026-01-01"}), KINDS).objects[key("Warehouse", "wh")].change
    assert ours.action is Action.UPDATE and "[snowcat proj/Warehouse/wh" in ours.statements[0]
    theirs = plan(replace(seen, births={key("Warehouse", "wh"): "2025-12-31"}), KINDS).objects[key("Warehouse", "wh")].change
    assert theirs.block_reason == "NotOwned" and not theirs.steps


def test_a_replaced_container_must_not_take_data_along(tmp_path: Path) -> None:
    """A schema that may be replaced, with a stage inside that its manifest keeps."""
    documents = """
    kind: Database
    metadata: {name: d}
    ---
    kind: Schema
    metadata: {name: s, database: d, replace: allowed, deletionPolicy: delete}
    spec: {transient: true}
    ---
    kind: Stage
    metadata: {name: st, schema: d.s}
    """
    world = World(write(tmp_path, all=documents))
    world.account.put("DATABASES", "d", world.comment("Database", "d"))
    world.account.put("SCHEMAS", "d.s", world.comment("Schema", "d.s"), options="")
    change = world.change("Schema", "d.s")
    assert change.block is Block.STALLED and "Stage/st" in change.reason and not change.steps


class Answering:
    """A session that answers SHOWs from a table and notes what it was sent."""

    def __init__(self, rows: dict[str, tuple[dict[str, Any], ...]]) -> None:
        self.rows = rows
        self.sent: list[str] = []

    def execute(self, statement: str) -> Result:
        self.sent.append(statement)
        if "GATEWAYS" in statement:
            raise Rejected("unsupported feature")
        found = next((rows for what, rows in self.rows.items() if statement.startswith(f"SHOW {what} ")), ())
        return Result(("name",), found)


class Context1:
    def __init__(self, session: Answering) -> None:
        self.session = session
        self.workdir = Path()

    def progress(self, message: str) -> None: ...


def test_the_last_look_finds_what_came_since(tmp_path: Path) -> None:
    step = LookAgain(key("Schema", "d.s"), KINDS["Schema"], Project("proj", tmp_path))
    ours = {"name": "OURS", "comment": mark("Stage", "ours")}
    step.run(Context1(Answering({"STAGES": (ours,)})))
    session = Answering({"STAGES": (ours, {"name": "THEIRS", "comment": None})})
    with pytest.raises(Stalled, match="stage THEIRS"):
        step.run(Context1(session))
    assert session.sent[0] == "USE SECONDARY ROLES ALL" and session.sent[-1] == "USE SECONDARY ROLES NONE"


def test_every_drop_of_a_container_looks_again(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("DATABASES", "db", mark("Database", "db", delete="yes"))
    steps = world.change("Database", "db").steps
    assert isinstance(steps[0], LookAgain) and str(steps[1]).startswith("DROP DATABASE")
