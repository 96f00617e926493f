"""A saved plan: what it rests on, what it lets through, and what it refuses. On rows and files, without an account."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reconcile_world import POOL, STAGE, WAREHOUSE, World, key, mark, warehouse, write

from controller.account.redact import redact
from controller.api.objects import ObjectKey
from controller.kinds.base import FieldChange, Sql
from controller.kinds.registry import KINDS
from controller.reconcile.look.facts import FileHashes
from controller.reconcile.planning.change import Action, Block, Change, ObjectPlan, Plan
from controller.reconcile.planning.evidence import Evidence, collect
from controller.reconcile.planning.plan import plan
from controller.reconcile.planning.prune import Rules
from controller.reconcile.planning.saved_plan import BadPlanFile, Promise, SavedPlan, read, save

POOL_SPEC = "kind: ComputePool\nmetadata: {name: pool}\nspec: {instanceFamily: CPU_X64_XS}"
FILES = "kind: Stage\nmetadata: {name: st, schema: db.sch}\nspec: {files: [{from: data.csv}, {from: 'more/*.txt'}]}"
BASE = "kind: Database\nmetadata: {name: db}\n---\nkind: Schema\nmetadata: {name: sch, database: db}"


def world(folder: Path) -> World:
    """A warehouse that is too slow to fall asleep, a pool as it should be, and a stage that is not there."""
    (folder / "more").mkdir()
    (folder / "data.csv").write_text("a,b\n")
    for name in ("one.txt", "zero.txt"):
        (folder / "more" / name).write_text(name)
    made = World(write(folder, all="\n---\n".join((warehouse(), POOL_SPEC, BASE, FILES))))
    made.account.put("WAREHOUSES", "wh", mark("Warehouse", "wh", delete="yes"), **{**WAREHOUSE, "auto_suspend": 999})
    made.account.put("COMPUTE POOLS", "pool", mark("ComputePool", "pool", delete="yes"), **POOL)
    made.account.put("DATABASES", "db", made.comment("Database", "db"), retention_time="1")
    made.account.put("SCHEMAS", "db.sch", made.comment("Schema", "db.sch"), retention_time="1")
    return made


def look(of: World) -> tuple[Plan, Evidence]:
    loaded = of.load()
    view = of.view(loaded)
    now = replace(plan(view, KINDS, prune=Rules(loaded.prune_off), invalid=loaded.invalid), account="acme")
    return now, collect(loaded, view, now, KINDS, FileHashes())


def saved(of: World, path: Path) -> SavedPlan:
    save(path, *look(of))
    return read(path)


def _row(of: World, what: str) -> dict[str, Any]:
    return of.account.rows[what][0]


def _set(what: str, **columns: Any) -> Callable[[World], None]:
    return lambda of: _row(of, what).update(columns)


def _write(name: str, text: str) -> Callable[[World], None]:
    return lambda of: (of.folder / name).write_text(text) and None


MOVES: list[tuple[str, Callable[[World], Any], list[str]]] = [
    ("nothing", lambda of: None, []),
    ("a pool starts", _set("COMPUTE POOLS", state="STARTING", active_nodes=1, idle_nodes=0, target_nodes=2), []),
    ("a warehouse wakes", _set("WAREHOUSES", state="STARTED", running=3, queued=1, resumed_on="now", updated_on="now"), []),
    ("a file gets another time", lambda of: (of.folder / "data.csv").touch(), []),
    ("a column by hand", _set("WAREHOUSES", auto_suspend=77), ["Warehouse/WH: auto_suspend has changed in the account"]),
    ("one that the manifest leaves out", _set("WAREHOUSES", scaling_policy="ECONOMY"), ["Warehouse/WH: scaling_policy has changed"]),
    ("an object that is as it should be", _set("COMPUTE POOLS", max_nodes=3), ["ComputePool/POOL: max_nodes has changed"]),
    ("a comment", _set("COMPUTE POOLS", comment="mine"), ["ComputePool/POOL: comment has changed"]),
    ("an object goes", lambda of: of.account.rows["COMPUTE POOLS"].clear(), ["ComputePool/POOL is gone"]),
    ("an object comes", lambda of: of.account.put("STAGES", "db.sch.st", None, **STAGE), ["Stage/DB.SCH.ST exists now"]),
    ("a manifest", _write("all.yaml", (f"apiVersion: snowcat/v1\n{warehouse()}\n")), ["all.yaml has changed"]),
    ("a new manifest", _write("new.yaml", f"apiVersion: snowcat/v1\n{warehouse('w2')}\n"), ["new.yaml is new"]),
    ("a data file", _write("data.csv", "c,d\n"), ["data.csv has changed, of Stage/DB.SCH.ST"]),
    ("one more file of a pattern", _write("more/two.txt", "2"), ["more/two.txt is new, of Stage/DB.SCH.ST"]),
    ("a file goes", lambda of: (of.folder / "more" / "one.txt").unlink(), ["more/one.txt is gone, of Stage/DB.SCH.ST"]),
]


@pytest.mark.parametrize(("reason", "move", "told"), MOVES, ids=[move[0] for move in MOVES])
def test_what_counts_as_moved(reason: str, move: Callable[[World], Any], told: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    of = world(folder)
    before = saved(of, tmp_path / "plan.json")
    move(of)
    lines = before.moved(look(of)[1])
    assert len(lines) >= len(told) and bool(lines) is bool(told), reason
    for text, line in zip(told, lines, strict=False):
        assert line.startswith(text)


def test_the_file_is_private_whole_and_without_a_secret(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    redact.learn(["open-sesame-99"])
    of = world(folder)
    of.account.rows["COMPUTE POOLS"][0]["comment"] = "open-sesame-99"
    path = tmp_path / "plan.json"
    found = saved(of, path)
    assert path.stat().st_mode & 0o777 == 0o600 and "sesame" not in path.read_text()
    document = json.loads(path.read_text())
    assert document["format"] == "snowcat-plan/1" and document["plan"]["changes"] and set(document["hashes"]) == {"manifests", "columns"}
    assert (found.project, found.account) == ("proj", "acme")
    assert not found.mismatch("proj", "acme") and "project" in found.mismatch("other", "acme") and "account" in found.mismatch("proj", "x")
    assert "version" in replace(found, snowcat="0.0.1").mismatch("proj", "acme")
    assert not list(tmp_path.glob(".plan.json.*"))


@pytest.mark.parametrize(
    ("reason", "change", "told"),
    [
        ("no JSON", lambda text: "hello", "is no plan"),
        ("other JSON", lambda text: "{}", "is no plan"),
        ("a list", lambda text: "[1]", "is no plan"),
        ("another format", lambda text: text.replace("snowcat-plan/1", "snowcat-plan/9"), "format 'snowcat-plan/9'"),
        ("changed by hand", lambda text: text.replace('"destructive": false', '"destructive": true'), "was changed after"),
    ],
)
def test_a_file_that_is_no_plan(reason: str, change: Callable[[str], str], told: str, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    path = tmp_path / "plan.json"
    save(path, *look(world(folder)))
    path.write_text(change(path.read_text()))
    with pytest.raises(BadPlanFile, match=told):
        read(path)


def test_a_file_that_cannot_be_written_is_named_as_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        save(tmp_path / "nope/x.json", Plan("proj", "acme", {}), Evidence({}, {}))
    assert caught.value.filename == str(tmp_path / "nope/x.json")


# ---- what is let through ---------------------------------------------------------------------------------------------------------------


def promise(of: World, path: Path) -> Promise:
    return Promise(saved(of, path), of.folder)


def planned(of: World, through: Promise) -> dict[str, Change]:
    loaded = of.load()
    now = plan(of.view(loaded), KINDS, prune=Rules(loaded.prune_off), invalid=loaded.invalid, permit=through)
    return {str(change.key): change for change in now.changes}


def test_what_was_planned_is_done_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    of = world(folder)
    through = promise(of, tmp_path / "plan.json")
    assert {name for name, change in planned(of, through).items() if change.pending} == {"Warehouse/wh", "Stage/st"}
    _row(of, "COMPUTE POOLS")["max_nodes"] = 3  # by hand, while the plan is carried out
    _row(of, "WAREHOUSES")["auto_resume"] = "false"
    now = planned(of, through)
    assert (now["ComputePool/pool"].block, now["ComputePool/pool"].block_reason) == (Block.HELD, "NotInPlan")
    assert now["Warehouse/wh"].block is Block.HELD and "autoResume moved" in now["Warehouse/wh"].reason
    assert set(through.refused) == {"ComputePool/pool", "Warehouse/wh"}


def test_a_file_that_is_saved_meanwhile_is_left_for_the_next_plan(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    of = world(folder)
    through = promise(of, tmp_path / "plan.json")
    (folder / "data.csv").write_text("x")
    assert "data.csv has changed" in planned(of, through)["Stage/st"].reason


def test_what_is_made_may_be_finished(tmp_path: Path) -> None:
    """A stage of the plan that was made, and then lacks its files."""
    folder = tmp_path / "project"
    folder.mkdir()
    of = world(folder)
    through = promise(of, tmp_path / "plan.json")
    of.account.put("STAGES", "db.sch.st", of.comment("Stage", "db.sch.st"), **STAGE)
    assert planned(of, through)["Stage/st"].action is Action.UPDATE


FOLLOWS: list[tuple[str, Action, list[str], Action, list[str], bool, bool]] = [
    ("as planned", Action.UPDATE, ["a", "b"], Action.UPDATE, ["a"], False, True),
    ("its own mark", Action.UPDATE, ["a"], Action.UPDATE, ["mark"], False, True),
    ("one more field", Action.UPDATE, ["a"], Action.UPDATE, ["a", "c"], False, False),
    ("replaced in place of changed", Action.UPDATE, ["a"], Action.REPLACE, ["a"], True, False),
    ("made again in place of changed", Action.UPDATE, ["a"], Action.CREATE, [], False, False),
    ("taken over", Action.ADOPT, [], Action.ADOPT, [], False, True),
    ("the second half of a replacement", Action.REPLACE, ["a"], Action.CREATE, [], False, True),
    ("dropped", Action.DELETE, [], Action.DELETE, [], True, True),
    ("dropped in place of made", Action.CREATE, [], Action.DELETE, [], True, False),
    ("not in the plan", Action.NONE, [], Action.UPDATE, ["a"], False, False),
    ("waited in the plan", Action.BLOCKED, [], Action.CREATE, [], False, True),
    ("waited in the plan, but loses something", Action.BLOCKED, [], Action.REPLACE, [], True, False),
]


@pytest.mark.parametrize(("reason", "then", "fields", "now", "differs", "lost", "allowed"), FOLLOWS, ids=[row[0] for row in FOLLOWS])
def test_what_may_follow(
    reason: str, then: Action, fields: list[str], now: Action, differs: list[str], lost: bool, allowed: bool, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    thing = key("Stage", "db.sch.st")
    block = Block.WAITING if then is Action.BLOCKED else None
    save(path, _plan_of(Change(thing, then, _fields(fields), (Sql("SAID"),), block=block)), Evidence({}, {}))
    through = Promise(read(path), tmp_path)
    assert (through(Change(thing, now, _fields(differs), (Sql("SAID"),), destructive=lost), None) == "") is allowed, reason


def test_what_is_made_is_made_as_planned_whichever_attempt_it_is(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    job = key("FineTuneJob", "db.sch.job")

    def step(run: str, attempt: int) -> Sql:
        comment = f"[snowcat p/FineTuneJob/job attempt={attempt} run={run}]"
        return Sql(f"EXECUTE JOB SERVICE\n  NAME = DB.SCH.JOB_{run}_{attempt}\n  COMMENT = '{comment}'")

    save(path, _plan_of(Change(job, Action.CREATE, steps=(step("ab12", 1),))), Evidence({}, {}))
    through = Promise(read(path), tmp_path)
    assert through(Change(job, Action.CREATE, steps=(step("ab12", 1),)), None) == ""
    assert through(Change(job, Action.CREATE, steps=(step("ab12", 2),)), None) == ""
    assert "differently" in through(Change(job, Action.CREATE, steps=(step("ffff", 1),)), None)


def _fields(paths: list[str]) -> tuple[FieldChange, ...]:
    return tuple(FieldChange(path, 1, 2) for path in paths)


def _plan_of(change: Change) -> Plan:
    entries: dict[ObjectKey, ObjectPlan] = {change.key: ObjectPlan(change.key, None, None, change)}
    return Plan("proj", "acme", entries)
