"""Broken files: their objects stay as they last were, and nothing else is held up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from reconcile_world import PROJECT, STAGE, WAREHOUSE, World, key, mark, warehouse, write

from controller.kinds.base import Health
from controller.reconcile.engine import Engine, invalid_objects
from controller.reconcile.look.files import NoProject
from controller.reconcile.look.latest import LatestFiles
from controller.reconcile.planning.change import Action, Block


def names(world: World) -> list[str]:
    return sorted(str(k) for k in world.load().graph.objects)


def test_a_broken_file_keeps_its_objects(tmp_path: Path) -> None:
    world = World(write(tmp_path, a=warehouse("one"), b=warehouse("two")))
    assert names(world) == ["Warehouse/one", "Warehouse/two"]
    (tmp_path / "a.yaml").write_text("kind: [")
    loaded = world.load()
    assert sorted(str(k) for k in loaded.graph.objects) == ["Warehouse/one", "Warehouse/two"]
    assert [p.location.file.name for p in loaded.errors] == ["a.yaml"]
    assert [f.name for f in loaded.stale] == ["a.yaml"]


def test_other_files_go_on(tmp_path: Path) -> None:
    world = World(write(tmp_path, a=warehouse("one"), b=warehouse("two")))
    world.load()
    (tmp_path / "a.yaml").write_text("kind: [")
    write(tmp_path, b=warehouse("two", "autoSuspend: 7"))
    assert world.desired("Warehouse", "two").manifest.spec.auto_suspend == 7


def test_an_echo_of_a_broken_file_does_not_hold_up_another(tmp_path: Path) -> None:
    """The second file refers to an object of the first, so the first one's breakage shows in both; only the first is stale."""
    world = World(write(tmp_path, a=warehouse("one"), b=warehouse("two", dependsOn="[Warehouse/one]")))
    world.load()
    (tmp_path / "a.yaml").write_text("kind: [")
    write(tmp_path, b=warehouse("two", "autoSuspend: 7", dependsOn="[Warehouse/one]"))
    loaded = world.load()
    assert [f.name for f in loaded.stale] == ["a.yaml"]
    assert loaded.graph.objects[key("Warehouse", "two")].manifest.spec.auto_suspend == 7


def test_an_invalid_manifest_leaves_its_last_good_form_in_force(tmp_path: Path) -> None:
    world = World(write(tmp_path, a=warehouse("one"), b=warehouse("two", dependsOn="[Warehouse/one]")))
    world.account.put("WAREHOUSES", "one", mark("Warehouse", "one", delete="yes"), **WAREHOUSE)
    world.load()
    write(tmp_path, a=warehouse("one", "autoSuspend: soon"))
    loaded, plan = world.load(), world.plan()
    assert "autoSuspend" in str(loaded.errors[0]) and "a.yaml" in str(loaded.errors[0])
    assert plan.objects[key("Warehouse", "one")].change.action is Action.NONE
    assert plan.objects[key("Warehouse", "two")].change.runnable, "it holds nothing else up"


STAGED = (
    "kind: Stage\nmetadata: {{name: one, schema: db.s, deletionPolicy: delete{}}}\nspec: {{encryption: SNOWFLAKE_SSE, directory: true}}"
)
OURS = mark("Stage", "one", delete="yes")
FROM_MEMORY = [
    ("it was never made, and may have been taken out of the file", "", None, None, Action.CREATE, "not made until"),
    ("it is there", "", OURS, {}, Action.NONE, ""),
    ("it is there and was changed by hand", "", OURS, {"directory_enabled": "N"}, Action.UPDATE, ""),
    ("it is there and is not ours yet", ", adopt: true", None, {}, Action.ADOPT, "not taken over until"),
    ("it would be dropped", ", replace: allowed", OURS, {"type": "INTERNAL"}, Action.REPLACE, "not made again until"),
]


@pytest.mark.parametrize(("reason", "metadata", "comment", "row", "action", "held"), FROM_MEMORY, ids=[case[0] for case in FROM_MEMORY])
def test_of_a_remembered_text_only_what_exists_is_kept(
    reason: str, metadata: str, comment: str | None, row: dict[str, Any] | None, action: Action, held: str, tmp_path: Path
) -> None:
    file, text = tmp_path / "a.yaml", STAGED.format(metadata)
    (tmp_path / "snowcat.yaml").write_text(PROJECT + "existing: [Schema/db.s]\n")
    world = World(write(tmp_path, a=text))
    if row is not None:
        world.account.put("STAGES", "db.s.one", comment, **{**STAGE, **row})
    assert world.change("Stage", "db.s.one").action is action, "while the file is good"
    file.write_text("apiVersion: snowcat/v1\nkind: [")
    loaded, entry = world.load(), world.entry("Stage", "db.s.one")
    assert (entry.change.action is Action.BLOCKED) is bool(held) and entry.change.action in (action, Action.BLOCKED), reason
    if held:
        assert (entry.change.block, entry.change.block_reason, entry.change.steps) == (Block.STALLED, "InvalidManifest", ())
        assert entry.change.reason.startswith(f"{file}:3 is wrong; Stage/one stood in that file before, and is {held}"), reason
        assert entry.ready is (row is not None), "what needs it goes on when it is there"
    (note,) = loaded.notes
    assert re.match(re.escape(f"{file}: until it is mended its last good text of ") + r"[-0-9]{10} [:0-9]{8} UTC is used: ", note)
    write(tmp_path, a=text)
    assert world.change("Stage", "db.s.one").action is action, "mended"
    assert world.load().notes == ()


def test_a_duplicate_stalls_both(tmp_path: Path) -> None:
    world = World(write(tmp_path, a=warehouse("one"), c=warehouse("three")))
    world.load()
    write(tmp_path, b=warehouse("ONE", "autoSuspend: 5"))
    loaded = world.load()
    assert key("Warehouse", "one") in loaded.by_key
    plan = world.plan()
    entry = plan.objects.get(key("Warehouse", "one"))
    assert entry is None or not entry.change.runnable
    assert plan.objects[key("Warehouse", "three")].change.runnable


def test_a_second_declaration_in_a_file_that_was_good_stalls_the_first(tmp_path: Path) -> None:
    world = World(write(tmp_path, a=warehouse("one"), b=warehouse("two")))
    world.load()
    write(tmp_path, b=warehouse("ONE", "autoSuspend: 5"))
    assert list(world.load().invalid) == [key("Warehouse", "one")]
    assert not world.plan().objects[key("Warehouse", "one")].change.runnable


def test_last_good_survives_a_restart(tmp_path: Path) -> None:
    from controller.reconcile.state import State

    folder = write(tmp_path / "m", a=warehouse("one"))
    World(folder, state=State(tmp_path / "s.db")).load()
    (folder / "a.yaml").write_text("\tkind: x")
    assert names(World(folder, state=State(tmp_path / "s.db"))) == ["Warehouse/one"]


def test_a_removed_file_is_not_resurrected(tmp_path: Path) -> None:
    world = World(write(tmp_path, a=warehouse("one"), b=warehouse("two")))
    world.load()
    (tmp_path / "a.yaml").unlink()
    assert names(world) == ["Warehouse/two"]


def test_a_broken_project_file_uses_the_last_good_one(tmp_path: Path) -> None:
    world = World(write(tmp_path, a=warehouse("one")))
    world.load()
    (tmp_path / "snowcat.yaml").write_text("kind: [")
    loaded = world.load()
    assert loaded.project.name == "proj" and loaded.prune_off
    assert list(map(str, loaded.graph.objects)) == ["Warehouse/one"]


def test_a_broken_file_stays_so_while_the_project_file_is_gone(tmp_path: Path) -> None:
    """A branch switch takes both for a moment."""
    world = World(write(tmp_path, a=warehouse("one"), b=warehouse("two")))
    files = LatestFiles(cast(Engine, world))
    files.load()
    (tmp_path / "a.yaml").write_text("kind: [")
    files.load()
    project = (tmp_path / "snowcat.yaml").read_text()
    (tmp_path / "snowcat.yaml").unlink()
    for _ in range(3):
        files.load()
        assert list(files.now.remembered) == [tmp_path / "a.yaml"] and files.now.prune_off
    assert len(files.now.errors) == 2 and list(map(str, files.now.graph.objects)) == ["Warehouse/one", "Warehouse/two"]
    (tmp_path / "snowcat.yaml").write_text(project)
    write(tmp_path, a=warehouse("one"))
    files.load()
    assert not files.now.errors


def test_a_project_file_that_never_was_good_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, a=warehouse("one"))
    (tmp_path / "snowcat.yaml").write_text("kind: [")
    with pytest.raises(NoProject, match=r"snowcat\.yaml"):
        World(tmp_path).load()


def test_a_file_that_a_manifest_names_and_that_has_gone_stalls_it_and_is_named(tmp_path: Path) -> None:
    """What the account has of it is no leftover: a manifest still declares it."""
    stage = "kind: Stage\nmetadata: {name: files, schema: db.s}\nspec:\n  files:\n    - {from: rows.jsonl}"
    tmp_path.joinpath("snowcat.yaml").write_text(PROJECT + "existing: [Schema/db.s]\n")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    world = World(write(tmp_path, a=stage, b=warehouse("gone")))
    world.account.put("STAGES", "db.s.files", mark("Stage", "files", delete="yes"), **STAGE)
    world.account.put("WAREHOUSES", "gone", mark("Warehouse", "gone", delete="yes"), **WAREHOUSE)
    assert names(world) == ["Stage/files", "Warehouse/gone"]
    (tmp_path / "rows.jsonl").unlink()
    (tmp_path / "b.yaml").unlink()
    loaded, plan = world.load(), world.plan()
    assert [str(entry.key) for entry in plan] == ["Warehouse/gone"], "only what no manifest declares any more is a leftover"
    assert "not dropped: 1 problem(s) in the files" in plan.objects[key("Warehouse", "gone")].change.reason
    (status,) = invalid_objects(loaded, plan)
    assert (str(status.key), status.health) == ("Stage/files", Health.DEGRADED)
    assert status.message.startswith(f"{tmp_path / 'a.yaml'}:6: spec.files[0].from: no file matches 'rows.jsonl'")
    assert {c.type: (c.status, c.reason) for c in status.conditions}["Stalled"] == ("True", "InvalidManifest")


def test_a_wrong_manifest_declares_what_it_stands_for_too(tmp_path: Path) -> None:
    world = World(write(tmp_path, a=warehouse("two", "autoSuspend: soon"), b=warehouse("three")))
    part = mark("Warehouse", "part", delete="yes", parent="Warehouse/two")
    world.account.put("WAREHOUSES", "part", part, **WAREHOUSE)
    world.account.put("WAREHOUSES", "two", mark("Warehouse", "two", delete="yes"), **WAREHOUSE)
    assert [str(entry.key) for entry in world.plan()] == ["Warehouse/three"]
