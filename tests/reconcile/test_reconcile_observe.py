"""One look at the account: how many questions it takes, which DESCRIBEs are granted, and what composites do to a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from reconcile_world import WAREHOUSE, Account, World, key, mark, warehouse, write

from controller.account.errors import TimedOut
from controller.account.snapshot import Describe, Missing, Row, Show, Snapshot, Unanswered
from controller.api.objects import DesiredObject
from controller.kinds.base import Health, Observation, Step, View, Waiting
from controller.kinds.registry import KINDS
from controller.kinds.warehouse import WarehouseKind
from controller.reconcile.look.deep import DeepReads
from controller.reconcile.planning.expand import expand_all
from controller.reconcile.planning.plan import plan
from controller.reconcile.status import Context, statuses

KEYS = [key("NetworkRule", f"db.sch.r{n}") for n in range(5)]
SCHEMA = """
    kind: Database
    metadata: {name: db}
    ---
    kind: Schema
    metadata: {name: sch, database: db}
"""
RULE = """
    kind: NetworkRule
    metadata: {name: r%d, schema: db.sch}
    spec: {values: [example.com]}
"""
WANTED = {k: (Describe("NETWORK RULE", k.name.sql),) for k in KEYS}


def asked(deep: DeepReads, stamps: dict[str, str] | None = None, *, full: bool = True) -> list[str]:
    account = Account()
    deep.look(WANTED, {k: (stamps or {}).get(str(k), "same") for k in KEYS}, account.ask, full=full)
    return [q.name.rpartition(".")[2] for q in account.asked if isinstance(q, Describe)]


def test_describes_stay_within_their_budget_and_take_turns() -> None:
    deep = DeepReads(budget=2)
    assert [asked(deep) for _ in range(5)] == [["R0", "R1"], ["R2", "R3"], ["R4", "R0"], ["R1", "R2"], ["R3", "R0"]]


def test_what_was_never_read_is_counted() -> None:
    deep = DeepReads(budget=2)
    asked(deep)
    assert deep.unread == 3
    asked(deep)
    asked(deep)
    assert deep.unread == 0


def test_a_row_that_moved_goes_first() -> None:
    deep = DeepReads(budget=5)
    asked(deep)
    deep.budget = 1
    assert asked(deep, {"NetworkRule/r3": "moved"}) == ["R3"]


def test_rows_that_always_move_leave_a_quarter_of_a_full_look_to_the_others() -> None:
    deep = DeepReads(budget=5)
    asked(deep)
    deep.budget = 4
    deep.forget(KEYS[4], done=True)  # nobody waits for it, but it has its turn too
    looks = [asked(deep, {str(k): f"moved {n}" for k in KEYS[:4]}) for n in range(2)]
    assert looks == [["R0", "R1", "R2", "R4"], ["R0", "R1", "R2", "R4"]]
    assert asked(deep, {str(k): "once more" for k in KEYS[:4]}, full=False) == ["R0", "R1", "R2", "R3"], "all of one that only waits"


def test_a_look_that_only_waits_reads_again_what_moved_and_nothing_else() -> None:
    deep = DeepReads(budget=5)
    asked(deep)
    assert asked(deep, full=False) == []
    deep.forget(KEYS[2])
    assert asked(deep, full=False) == ["R2"]


def test_details_that_all_hang_do_not_cost_the_look(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", a=SCHEMA, **{f"r{n}": RULE % n for n in range(2)})
    world = World(folder, deep=DeepReads(budget=2))
    for n in range(2):
        world.account.put("NETWORK RULES", f"db.sch.r{n}", mark("NetworkRule", f"db.sch.r{n}"))
    answer, hung = world.account.ask, []

    def ask(reads: Any) -> dict[Any, tuple[Row, ...] | Missing]:
        questions = list(reads)
        if any(isinstance(question, Describe) for question in questions):
            hung.append(len(questions))
            raise TimedOut("nobody answers")
        return answer(questions)

    world.account.ask = ask  # type: ignore[method-assign]
    loaded = world.load()
    for _ in range(2):
        view = world.view(loaded)
        assert view.snapshot.rows(Show("NETWORK RULES", "SCHEMA DB.SCH")), "what SHOW tells is there"
    assert hung == [2, 2] and world.deep.unread == 0, "in both looks, of which the second is not worked out again"


def test_what_was_seen_stands_when_it_is_asked_again_and_nobody_answers() -> None:
    deep, account = DeepReads(budget=5), Account()
    stamps = dict.fromkeys(KEYS, "same")
    before = deep.look(WANTED, stamps, account.ask, full=True)
    assert deep.look(WANTED, stamps, lambda _: {}, full=True) == before and deep.unread == 0
    deep.budget = 2
    assert [asked(deep), asked(deep)] == [["R0", "R1"], ["R2", "R3"]], "and it has had its turn"
    moved = deep.look(WANTED, {**stamps, KEYS[4]: "moved"}, lambda _: {}, full=True)
    assert moved[WANTED[KEYS[4]][0]] != before[WANTED[KEYS[4]][0]], "but not for a row that moved"
    assert isinstance(moved[WANTED[KEYS[4]][0]], Unanswered), "which is not to say that it may not be seen"


def test_what_was_changed_and_never_read_since_has_an_age(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("controller.reconcile.look.deep.time.monotonic", lambda: now)
    deep = DeepReads(budget=5)
    asked(deep)
    now = 110.0
    deep.forget(KEYS[0], done=True)
    now = 120.0
    deep.forget(KEYS[0], done=True)  # what else DESCRIBE would tell is as old as the first time
    now, deep.budget = 150.0, 4
    asked(deep, dict.fromkeys(map(str, KEYS[1:]), "moved"), full=False)
    assert (deep.age, deep.unread) == (40.0, 0)
    deep.budget = 5
    asked(deep)
    assert deep.age == 0.0


def test_an_answer_of_before_does_not_stand_for_a_row_that_moved() -> None:
    deep, account = DeepReads(budget=5), Account()
    deep.look(WANTED, dict.fromkeys(KEYS, "old"), account.ask, full=True)
    deep.budget = 1
    answers = deep.look(WANTED, dict.fromkeys(KEYS, "new"), account.ask, full=True)
    assert len(answers) == 1


def test_shows_do_not_grow_with_the_number_of_objects(tmp_path: Path) -> None:
    counts = []
    for number in (1, 30):
        text = "\n---\n".join(warehouse(f"w{n}") for n in range(number))
        world = World(write(tmp_path / str(number), all=text))
        world.plan()
        counts.append(len(world.account.asked))
    assert counts[0] == counts[1]


def test_no_question_is_asked_twice_in_a_look(tmp_path: Path) -> None:
    world = World(write(tmp_path, all=warehouse("one") + "\n---\n" + warehouse("two")))
    world.plan()
    shows = [q for q in world.account.asked if isinstance(q, Show)]
    assert len(shows) == len(set(shows))


# ---- composites --------------------------------------------------------------------------------------------------------------------------


class Twin(WarehouseKind):
    """A composite: a warehouse called TWIN… stands for two others."""

    ready = True

    def expand(self, obj: DesiredObject, view: View) -> Sequence[DesiredObject]:
        if obj.parent is not None or not str(obj.key.name).startswith("TWIN"):
            return ()
        if not self.ready:
            raise Waiting("the model is not trained yet")
        return [DesiredObject(key("Warehouse", f"{obj.key.name}_{s}"), obj.manifest, obj.location, parent=obj.key) for s in "ab"]

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        if obj.parent is None and str(obj.key.name).startswith("TWIN"):
            return Observation(exists=True, markable=False)
        return super().observe(obj, view)

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        return super().create(obj, view)

    def reads(self, obj: DesiredObject, graph: object) -> Iterable[Show]:
        return (Show("WAREHOUSES"),)


def twin(folder: Path, *, ready: bool = True) -> tuple[World, dict[str, WarehouseKind]]:
    kind = Twin()
    kind.ready = ready
    return World(write(folder, all=warehouse("twin") + "\n---\n" + warehouse("user", dependsOn="[Warehouse/twin]"))), {
        **KINDS,
        "Warehouse": kind,
    }  # type: ignore[dict-item]


def test_a_composite_is_ready_when_its_children_are(tmp_path: Path) -> None:
    world, kinds = twin(tmp_path)
    now = plan(world.view(), kinds)
    assert [str(c) for c in now.objects[key("Warehouse", "user")].change.after] == ["Warehouse/twin"]
    found = {str(s.key): s for s in statuses(now, Context({}, {}, {}))}
    assert found["Warehouse/twin"].health is Health.PROGRESSING and not found["Warehouse/twin"].ready
    for name in ("twin_a", "twin_b"):
        world.account.put("WAREHOUSES", name, mark("Warehouse", name, delete="yes", parent="Warehouse/twin"), **WAREHOUSE)
    now = plan(world.view(), kinds)
    assert now.objects[key("Warehouse", "user")].change.runnable


def test_children_of_a_composite_that_waits_are_no_leftovers(tmp_path: Path) -> None:
    world, kinds = twin(tmp_path, ready=False)
    world.account.put("WAREHOUSES", "twin_a", mark("Warehouse", "twin_a", delete="yes", parent="Warehouse/twin"), **WAREHOUSE)
    world.account.put("WAREHOUSES", "loner", mark("Warehouse", "loner", delete="yes", parent="Warehouse/other"), **WAREHOUSE)
    deleted = [str(c.key) for c in plan(world.view(), kinds).changes if c.action == "delete"]
    assert deleted == ["Warehouse/loner"]


def test_a_child_inherits_suspension(tmp_path: Path) -> None:
    world, kinds = twin(tmp_path)
    write(tmp_path, all=warehouse("twin", suspend="true"))
    changes = {str(c.key): c.block_reason for c in plan(world.view(), kinds).changes}
    assert changes["Warehouse/twin_a"] == "Suspended"


def test_expansion_is_pure(tmp_path: Path) -> None:
    world, kinds = twin(tmp_path)
    view = View(world.load().project, world.load().graph, Snapshot(offline=True))
    assert expand_all(view, kinds) == expand_all(view, kinds)
    assert len(view.graph.objects) == 2, "the view that went in is as it was"
