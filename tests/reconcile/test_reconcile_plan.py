"""What is planned for one object, and for objects that need each other: tables over manifests and rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reconcile_world import POOL, STAGE, WAREHOUSE, World, key, mark, warehouse, words, write

from controller.kinds.registry import KINDS
from controller.reconcile.planning.plan import plan

OURS = mark("Warehouse", "wh", delete="yes")

ONE_OBJECT = [
    ("what is not there is made", {}, None, {}, "create", "", []),
    ("what is as wanted is left", {}, OURS, {}, "none", "", []),
    ("what differs is set", {}, OURS, {"auto_suspend": 10}, "update", "", ["autoSuspend"]),
    ("no mark, no change", {}, "made by hand", {"auto_suspend": 10}, "blocked", "NotOwned", []),
    ("an object without a mark is not ours even if equal", {}, None, {"there": True}, "blocked", "NotOwned", []),
    ("adoption is a declared act", {"adopt": "true"}, "made by hand", {}, "adopt", "", ["comment"]),
    ("another project's object is never touched", {}, mark("Warehouse", "wh", "rival"), {}, "blocked", "OwnedByOtherProject", []),
    ("not even when adopted", {"adopt": "true"}, mark("Warehouse", "wh", "rival"), {}, "blocked", "OwnedByOtherProject", []),
    ("a suspended object is only reported", {"suspend": "true"}, OURS, {"auto_suspend": 1}, "blocked", "Suspended", ["autoSuspend"]),
    (
        "an observed object is only reported",
        {"managementPolicy": "observe"},
        mark("Warehouse", "wh"),
        {"auto_suspend": 1},
        "blocked",
        "ObserveOnly",
        ["autoSuspend"],
    ),
    ("an ignored field is left to others", {"ignore": "[autoSuspend]"}, OURS, {"auto_suspend": 1}, "none", "", []),
    ("with or without spec. before it", {"ignore": "[spec.autoSuspend]"}, OURS, {"auto_suspend": 1}, "none", "", []),
    ("the other fields are not", {"ignore": "[size]"}, OURS, {"auto_suspend": 1, "size": "Large"}, "update", "", ["autoSuspend"]),
]


@pytest.mark.parametrize(("because", "metadata", "comment", "columns", "action", "reason", "fields"), ONE_OBJECT, ids=lambda v: str(v)[:40])
def test_one_object(
    tmp_path: Path,
    because: str,
    metadata: dict[str, Any],
    comment: str | None,
    columns: dict[str, Any],
    action: str,
    reason: str,
    fields: list[str],
) -> None:
    world = World(write(tmp_path, all=warehouse(**metadata)))
    if comment is not None or columns:
        world.account.put("WAREHOUSES", "wh", comment, **{**WAREHOUSE, **columns})
    assert words(world.change("Warehouse", "wh")) == {"action": action, "reason": reason, "fields": fields}, because


def test_a_blocked_object_sends_nothing(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("WAREHOUSES", "wh", "made by hand", **{**WAREHOUSE, "auto_suspend": 10})
    change = world.change("Warehouse", "wh")
    assert not change.runnable and not change.steps
    assert "adopt: true" in change.reason


CHAIN = """
    kind: Database
    metadata: {name: db, deletionPolicy: delete}
    ---
    kind: Schema
    metadata: {name: sch, database: db, deletionPolicy: delete}
    ---
    kind: Stage
    metadata: {name: st, schema: db.sch, deletionPolicy: delete}
    ---
    kind: Warehouse
    metadata: {name: wh}
"""


def test_only_dependents_of_what_is_not_ready_wait(tmp_path: Path) -> None:
    plan = World(write(tmp_path, all=CHAIN)).plan()
    after = {str(c.key): [str(k) for k in c.after] for c in plan.changes}
    assert after["Database/db"] == [] and after["Warehouse/wh"] == []
    assert after["Schema/sch"] == ["Database/db"]
    assert "Schema/sch" in after["Stage/st"]
    assert [str(c.key) for c in plan.changes if c.runnable] == ["Database/db", "Warehouse/wh"]


def test_changes_stand_in_the_order_in_which_they_can_be_made(tmp_path: Path) -> None:
    order = [str(c.key) for c in World(write(tmp_path, all=CHAIN)).plan().changes]
    assert order.index("Database/db") < order.index("Schema/sch") < order.index("Stage/st")


def test_document_order_means_nothing(tmp_path: Path) -> None:
    reverse = "\n    ---\n".join(reversed(CHAIN.split("\n    ---\n")))
    one, other = World(write(tmp_path / "a", all=CHAIN)).plan(), World(write(tmp_path / "b", all=reverse)).plan()
    assert one.as_dict() == other.as_dict()


STAGED = """
    kind: Stage
    metadata: {{name: st, schema: db.sch{extra}}}
    spec: {{encryption: SNOWFLAKE_SSE, directory: true}}
"""

IMMUTABLE = [
    ("a field that cannot be changed stalls the object", "", True, "blocked", "Immutable"),
    ("data is not lost unless the manifest lets it go", ", replace: allowed", True, "blocked", "Immutable"),
    ("both permissions together replace", ", replace: allowed, deletionPolicy: delete", True, "replace", ""),
    (
        "a foreign object is not replaced by adopting it",
        ", replace: allowed, deletionPolicy: delete, adopt: true",
        False,
        "blocked",
        "Immutable",
    ),
]


@pytest.mark.parametrize(("because", "extra", "ours", "action", "reason"), IMMUTABLE)
def test_immutable_fields(tmp_path: Path, because: str, extra: str, ours: bool, action: str, reason: str) -> None:
    folder = write(tmp_path, all=STAGED.format(extra=extra))
    (folder / "snowcat.yaml").write_text((folder / "snowcat.yaml").read_text() + "existing: [Schema/db.sch]\n")
    world = World(folder)
    comment = world.comment("Stage", "db.sch.st") if ours else None
    world.account.put("STAGES", "db.sch.st", comment, **{**STAGE, "type": "INTERNAL"})
    change = world.change("Stage", "db.sch.st")
    assert (change.action.value, change.block_reason) == (action, reason), because
    assert change.destructive is (action == "replace")
    if action == "replace":
        assert [s.split()[0] for s in change.statements] == ["DROP", "CREATE"]
    else:
        assert "another name" in change.reason, "the message says the way out"


def test_a_dependency_with_a_pending_change_is_not_ready(tmp_path: Path) -> None:
    """A job must not start on a table whose new rows are not loaded yet."""
    world = World(write(tmp_path, all=warehouse("first") + "\n---\n" + warehouse("second", dependsOn="[Warehouse/first]")))
    world.account.put("WAREHOUSES", "first", mark("Warehouse", "first", delete="yes"), **{**WAREHOUSE, "auto_suspend": 1})
    assert [str(k) for k in world.change("Warehouse", "second").after] == ["Warehouse/first"]
    world.account.rows["WAREHOUSES"][0]["auto_suspend"] = 60
    assert world.change("Warehouse", "second").runnable


def test_an_unhealthy_dependency_is_waited_for(tmp_path: Path) -> None:
    pool = "kind: ComputePool\nmetadata: {name: pool}\nspec: {instanceFamily: CPU_X64_XS}"
    world = World(write(tmp_path, all=pool + "\n---\n" + warehouse(dependsOn="[ComputePool/pool]")))
    row = world.account.put("COMPUTE POOLS", "pool", world.comment("ComputePool", "pool"), **{**POOL, "state": "STARTING"})
    assert [str(k) for k in world.change("Warehouse", "wh").after] == ["ComputePool/pool"]
    row["state"] = "IDLE"
    assert world.change("Warehouse", "wh").runnable


def test_offline_everything_is_created(tmp_path: Path) -> None:
    from controller.kinds.registry import KINDS
    from controller.reconcile.engine import Engine
    from controller.reconcile.look.files import loader
    from controller.reconcile.state import State

    engine = Engine(loader(write(tmp_path, all=CHAIN)), KINDS, State(None), None)
    loaded = engine.load()
    plan = engine.plan(loaded, engine.look(loaded))
    assert {c.action.value for c in plan.changes} == {"create"}
    assert all(c.statements for c in plan.changes)
    assert [s.split("\n")[0] for c in plan.changes for s in c.statements] == [
        "CREATE DATABASE DB",
        "CREATE WAREHOUSE WH",
        "CREATE SCHEMA DB.SCH",
        "CREATE STAGE DB.SCH.ST",
    ]


def test_the_json_form(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("WAREHOUSES", "wh", OURS, **{**WAREHOUSE, "auto_suspend": 10})
    (row,) = world.plan().as_dict()["changes"]
    assert row["object"] == "Warehouse/wh"
    assert row["fields"] == [{"path": "autoSuspend", "from": 10, "to": 60}]
    assert row["statements"] == ["ALTER WAREHOUSE WH SET AUTO_SUSPEND = 60"]
    assert set(row) == {"object", "action", "fields", "statements", "effects", "reason", "after", "cost", "destructive", "blocked"}


def test_only_what_has_moved_gets_a_new_entry(tmp_path: Path) -> None:
    """Of thousands of objects few move: a second plan shares the entries of the others, and is the same as one made from nothing."""
    world = World(write(tmp_path, all=f"{warehouse('one')}\n---\n{warehouse('two')}\n---\n{warehouse('new')}"))
    rows = {name: world.account.put("WAREHOUSES", name, mark("Warehouse", name, delete="yes"), **WAREHOUSE) for name in ("one", "two")}
    first = plan(world.view(), KINDS)
    rows["one"]["auto_suspend"] = 7
    second = plan(world.view(), KINDS, before=first.objects)
    kept = {k.name.sql for k, entry in second.objects.items() if entry is first.objects[k]}
    assert kept == {"TWO", "NEW"}
    assert [str(c.key) for c in second.pending] == ["Warehouse/new", "Warehouse/one"]
    assert second.as_dict() == plan(world.view(), KINDS).as_dict()


def test_an_object_whose_kind_fails_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = "kind: ComputePool\nmetadata: {name: pool}\nspec: {instanceFamily: CPU_X64_XS}"
    world = World(write(tmp_path, all=pool + "\n---\n" + warehouse()))

    def broken(*_: object) -> object:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(type(KINDS["ComputePool"]), "observe", broken)
    planned = world.plan()
    assert planned.objects[key("ComputePool", "pool")].change.block_reason == "InternalError"
    assert planned.objects[key("Warehouse", "wh")].change.runnable
