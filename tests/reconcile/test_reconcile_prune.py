"""What is in no manifest any more: what may go, what must stay, and when."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reconcile_world import PROJECT, STAGE, WAREHOUSE, World, key, mark, warehouse, write

from controller.reconcile.planning.change import Action, Block, Plan
from controller.reconcile.planning.prune import Absences


def drops(plan: Plan) -> list[str]:
    return [str(c.key) for c in plan.changes if c.action is Action.DELETE]


LEFTOVERS = [
    ("ours, and its last manifest let it go", mark("Warehouse", "old", delete="yes"), True),
    ("ours, but its last manifest kept it", mark("Warehouse", "old"), False),
    ("another project's", mark("Warehouse", "old", "rival", delete="yes"), False),
    ("made by hand", "nightly", False),
    ("no comment at all", None, False),
]


@pytest.mark.parametrize(("because", "comment", "goes"), LEFTOVERS)
def test_leftovers(tmp_path: Path, because: str, comment: str | None, goes: bool) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("WAREHOUSES", "old", comment, **WAREHOUSE)
    assert drops(world.plan()) == (["Warehouse/old"] if goes else []), because


def test_a_file_problem_turns_pruning_off(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("WAREHOUSES", "old", mark("Warehouse", "old", delete="yes"), **WAREHOUSE)
    (tmp_path / "broken.yaml").write_text("kind: [")
    change = world.change("Warehouse", "old")
    assert change.block is Block.HELD and not change.runnable
    assert "broken.yaml" in change.reason


def test_only_what_a_wrong_manifest_means_itself_is_no_leftover(tmp_path: Path) -> None:
    """Another one of the same name, in another schema, still is."""
    (tmp_path / "snowcat.yaml").write_text(PROJECT + "existing: [Schema/db.s, Schema/db.other]\n")
    world = World(write(tmp_path, all="kind: Stage\nmetadata: {name: files, schema: db.s}\nspec: {nothing: 1}"))
    for schema in ("s", "other"):
        world.account.put("STAGES", f"db.{schema}.files", mark("Stage", "files", delete="yes"), **STAGE)
    world.account.put("STAGES", "db.other.mine", mark("Stage", "mine", delete="yes"), **STAGE)
    held = {str(change.key.name) for change in world.plan().changes if change.block is Block.HELD}
    assert {"DB.OTHER.FILES", "DB.OTHER.MINE"} <= held and "DB.S.FILES" not in held


def test_an_empty_file_turns_pruning_off(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse(), other=warehouse("old")))
    world.load()
    world.account.put("WAREHOUSES", "old", mark("Warehouse", "old", delete="yes"), **WAREHOUSE)
    (tmp_path / "other.yaml").write_text("")
    assert not world.change("Warehouse", "old").runnable
    (tmp_path / "other.yaml").unlink()
    assert world.change("Warehouse", "old").runnable


def test_a_container_with_foreign_content_stays(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("DATABASES", "db", mark("Database", "db", delete="yes"))
    world.account.put("STAGES", "db.public.theirs", None)
    change = world.change("Database", "db")
    assert change.block is Block.STALLED and not change.steps
    assert "stage THEIRS" in change.reason


def test_a_container_goes_after_what_is_in_it(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("DATABASES", "db", mark("Database", "db", delete="yes"))
    world.account.put("SCHEMAS", "db.sch", mark("Schema", "sch", delete="yes"))
    world.account.put("STAGES", "db.sch.st", mark("Stage", "st", delete="yes"))
    plan = world.plan()
    assert drops(plan) == ["Stage/st", "Schema/sch", "Database/db"]
    assert [str(c.key) for c in plan.changes if c.action is Action.DELETE and c.runnable] == ["Stage/st"]


def test_a_container_stays_for_what_is_kept_in_it(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse()))
    world.account.put("DATABASES", "db", mark("Database", "db", delete="yes"))
    world.account.put("SCHEMAS", "db.public", mark("Schema", "public", delete="yes"))
    world.account.put("STAGES", "db.public.data", mark("Stage", "data"))  # deletionPolicy: orphan
    plan = world.plan()
    assert drops(plan) == []
    assert "Stage/data" in plan.objects[key("Database", "db")].change.reason


def test_two_complete_loads_ten_seconds_apart() -> None:
    gone, absences = key("Warehouse", "old"), Absences(gap=10)
    absences.note([gone], True, now=0)
    assert not absences.confirmed(gone, 0)
    assert absences.next_due(4) == 6
    absences.note([gone], True, now=9.9)
    assert not absences.confirmed(gone, 9.9)
    absences.note([gone], True, now=10)
    assert absences.confirmed(gone, 10)


@pytest.mark.parametrize("between", [([], True), (["old"], False)], ids=["it was back", "a load was incomplete"])
def test_the_wait_starts_over(between: tuple[list[str], bool]) -> None:
    gone, absences = key("Warehouse", "old"), Absences(gap=10)
    absences.note([gone], True, now=0)
    absences.note([key("Warehouse", name) for name in between[0]], between[1], now=5)
    absences.note([gone], True, now=12)
    assert not absences.confirmed(gone, 12)
    absences.note([gone], True, now=22)
    assert absences.confirmed(gone, 22)


COMMENTS = st.sampled_from(
    [None, "", "theirs", mark("Warehouse", "w0", "rival", delete="yes"), mark("Warehouse", "w0"), mark("Warehouse", "w0", delete="yes")]
)
ROWS = st.dictionaries(st.sampled_from([f"w{i}" for i in range(6)]), st.tuples(COMMENTS, st.integers(1, 3)), max_size=6)
MANIFESTS = st.dictionaries(st.sampled_from([f"w{i}" for i in range(6)]), st.booleans(), min_size=1, max_size=4)


@given(rows=ROWS, manifests=MANIFESTS)
def test_foreign_objects_survive_any_plan(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, tuple[str | None, int]], manifests: dict[str, bool]
) -> None:
    """Whatever stands in the account, and whatever the manifests say, no destructive change names what is not ours."""
    text = "\n---\n".join(warehouse(name, "autoSuspend: 1", adopt=str(adopt).lower()) for name, adopt in manifests.items())
    world = World(write(tmp_path_factory.mktemp("w"), all=text))
    for name, (comment, seconds) in rows.items():
        world.account.put("WAREHOUSES", name, comment, **{**WAREHOUSE, "auto_suspend": seconds})
    first, second = world.plan(), world.plan()
    assert first.as_dict() == second.as_dict(), "the same input gives the same plan"
    for change in first.changes:
        comment = rows.get(str(change.key.name).lower(), (None, 0))[0]
        ours = "[snowcat proj/" in (comment or "")
        name = str(change.key.name).lower()
        if change.destructive:
            assert ours and "delete=yes" in (comment or "")
        if change.steps and name in rows:
            assert ours or (manifests[name] and "rival" not in (comment or ""))
