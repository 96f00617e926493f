"""A report that makes again only what has moved says what one says that makes everything again, whatever moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from reconcile_world import WAREHOUSE, World, key, mark, warehouse, write

from controller.api.objects import ObjectKey
from controller.kinds.base import Health, Observation
from controller.kinds.registry import KINDS
from controller.reconcile import status as status_module
from controller.reconcile.clock import Timing
from controller.reconcile.lead.leadership import Standing
from controller.reconcile.planning.change import Action, Change, ObjectPlan, Plan
from controller.reconcile.planning.plan import plan
from controller.reconcile.planning.prune import Absences
from controller.reconcile.report import ObjectStatus, Report
from controller.reconcile.reporter import Reporter
from controller.reconcile.rest import Rest
from controller.reconcile.state import State
from controller.reconcile.status import Context, made_again, status_of, statuses
from controller.reconcile.work.backoff import Backoff, Failure, FailureClass
from controller.reconcile.work.failures import Failures

NAMES = ("one_wh", "two_wh", "three_wh")
ONE, TWO = key("Warehouse", "one_wh"), key("Warehouse", "two_wh")


@dataclass
class Side:
    """A reporter with all that it needs. `forgetful`: it makes everything again at each look."""

    clock: list[float]
    forgetful: bool
    state: State = field(init=False)
    failures: Failures = field(init=False)
    reporter: Reporter = field(init=False)

    def __post_init__(self) -> None:
        self.state = State(None, wall=lambda: self.clock[0])
        self.failures, timing = Failures(self.state, Backoff()), Timing()
        rest = Rest(timing, self.failures, Absences(timing.prune_gap))
        self.reporter = Reporter(self.state, timing, self.failures, rest)

    def look(self, world: World, now: Plan, busy: dict[ObjectKey, str]) -> tuple[Report, float]:
        """What it says, and how long it would rest."""
        if self.forgetful:
            self.reporter._made, self.reporter._counted = {}, {}
        self.reporter.take_plan(now)
        report = self.reporter.looked(world.load(), now, busy, 0.0, full=True, unread=0)
        return replace(report, plan=None), self.reporter.rest.poll


@dataclass
class Pair:
    """Both ways side by side."""

    world: World
    clock: list[float] = field(default_factory=lambda: [1_000_000.0])
    busy: dict[ObjectKey, str] = field(default_factory=dict)
    last: Plan | None = None

    def __post_init__(self) -> None:
        self.careful, self.whole = Side(self.clock, forgetful=False), Side(self.clock, forgetful=True)

    def row(self, at: int = 0) -> dict[str, Any]:
        return self.world.account.rows["WAREHOUSES"][at]

    def fail(self, failure: Failure) -> None:
        for side in (self.careful, self.whole):
            side.failures.known[ONE] = replace(failure, fingerprint=self.last.objects[ONE].change.fingerprint if self.last else "")

    def hasten(self) -> None:
        assert self.last is not None
        for side in (self.careful, self.whole):
            side.reporter.hastened([self.last.objects[ONE]])

    def look(self) -> tuple[tuple[Report, float], tuple[Report, float]]:
        self.clock[0] += 10
        loaded = self.world.load()
        before = self.last.objects if self.last else None
        self.last = plan(self.world.view(loaded), KINDS, prune=self.world.rules, invalid=loaded.invalid, before=before)
        return self.careful.look(self.world, self.last, self.busy), self.whole.look(self.world, self.last, self.busy)


def edit(pair: Pair, **files: str) -> None:
    write(pair.world.folder, **files)


STALLED = Failure(FailureClass.STALLED, "Denied", "no privilege", "")

STEPS: list[tuple[Callable[[Pair], object], int, str]] = [
    (lambda p: None, 0, "nothing has moved"),
    (lambda p: p.row().update(auto_suspend=7), 1, "one has drifted"),
    (lambda p: p.fail(STALLED), 1, "its repair was refused"),
    (lambda p: p.busy.update({ONE: "ALTER WAREHOUSE"}), 1, "it is worked on"),
    (lambda p: p.busy.clear(), 1, "and not any more"),
    (lambda p: p.row().update(auto_suspend=60), 1, "it is as wanted again"),
    (lambda p: p.row(1).update(state="RESUMING"), 1, "another one is on its way"),
    (lambda p: p.hasten(), 1, "work began on one before a look had seen the difference"),
    (lambda p: edit(p, one_wh=warehouse("one_wh", "size: xsmall, autoSuspend: 61")), 1, "a manifest was edited"),
    (lambda p: p.row().update(auto_suspend=61), 1, "and done"),
    (lambda p: edit(p, one_wh="# a line more\n" + warehouse("one_wh", "size: xsmall, autoSuspend: 61")), 1, "it stands in another line"),
    (lambda p: p.row(2).update(comment="by hand"), 1, "a mark was written over"),
    (lambda p: p.world.account.rows["WAREHOUSES"].pop(1), 1, "one is gone from the account"),
    (lambda p: (p.world.folder / "two_wh.yaml").unlink(), 0, "and from the files"),
    (lambda p: edit(p, twice=warehouse("one_wh") + "\n---\n" + warehouse("one_wh")), 1, "one is declared twice, and kept as it was"),
    (lambda p: (p.world.folder / "twice.yaml").unlink(), 1, "and once again"),
]


def test_what_has_not_moved_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ObjectKey] = []
    dated: list[int] = []

    def spy(entry: ObjectPlan, *more: Any) -> ObjectStatus:
        made.append(entry.key)
        return status_of(entry, *more)

    def transitions(state: State, found: Iterable[ObjectStatus], **more: Any) -> list[ObjectStatus]:
        moved = list(found)
        dated.append(len(moved))
        return real(state, moved, **more)

    real = State.transitions
    monkeypatch.setattr(status_module, "status_of", spy)
    monkeypatch.setattr(State, "transitions", transitions)
    world = World(write(tmp_path, **{name: warehouse(name) for name in NAMES}))
    for name in NAMES:
        world.account.put("WAREHOUSES", name, mark("Warehouse", name, delete="yes"), **WAREHOUSE)
    pair = Pair(world)
    pair.look()
    for step, moved, reason in STEPS:
        step(pair)
        made.clear()
        dated.clear()
        careful, whole = pair.look()
        assert careful == whole, reason
        assert pair.careful.reporter.generations == pair.whole.reporter.generations, reason
        assert pair.careful.state._rows("SELECT * FROM conditions ORDER BY 1, 2") == pair.whole.state._rows(
            "SELECT * FROM conditions ORDER BY 1, 2"
        ), reason
        again = len(made) - len(careful[0].statuses)
        assert again <= moved, f"{reason}: {made}"
        assert not dated or dated[0] <= moved, reason


def test_what_another_process_has_written_meanwhile_counts(tmp_path: Path) -> None:
    world = World(write(tmp_path, one_wh=warehouse("one_wh")))
    world.account.put("WAREHOUSES", "one_wh", mark("Warehouse", "one_wh", delete="yes"), **WAREHOUSE)
    pair = Pair(world)
    (first, _), _ = pair.look()
    assert [(s.ready, s.generation) for s in first.statuses] == [(True, 1)]
    state = pair.careful.state
    state.generations({ONE: "another"})  # `apply`, with another manifest and what came of it
    state.transitions([replace(s, conditions=tuple(replace(c, status="False") for c in s.conditions)) for s in first.statuses])
    pair.careful.reporter.standby(world.load(), {}, Standing(leads=False))
    (second, _), _ = pair.look()
    assert [(s.ready, s.generation) for s in second.statuses] == [(True, 3)]
    moments = [[c.last_transition for c in report.statuses[0].conditions if c.status == "True"] for report in (first, second)]
    assert None not in moments[0] + moments[1] and max(moments[0]) < min(moments[1])  # type: ignore[type-var]


def composite(parent: str, *children: ObjectKey) -> ObjectPlan:
    at = key("Stage", parent)
    return ObjectPlan(at, None, Observation(exists=True, health=Health.HEALTHY), Change(at, Action.NONE), True, children)


def of(*entries: ObjectPlan) -> Plan:
    return Plan("p", "a", {entry.key: entry for entry in entries})


def part(name: str, health: Health = Health.HEALTHY) -> ObjectPlan:
    at = key("Warehouse", name)
    return ObjectPlan(at, None, Observation(exists=True, health=health), Change(at, Action.NONE), health is Health.HEALTHY)


ABOVE = composite("db.s.whole", ONE, TWO)
OTHER = composite("db.s.other", key("Warehouse", "three_wh"))
FIRST, SECOND, THIRD = part("one_wh"), part("two_wh"), part("three_wh")
MOVES: list[tuple[Plan, set[str], str]] = [
    (of(FIRST, SECOND, THIRD, ABOVE, OTHER), set(), "nothing"),
    (of(part("one_wh", Health.DEGRADED), SECOND, THIRD, ABOVE, OTHER), {"ONE_WH", "WHOLE"}, "a part, and with it the whole"),
    (of(SECOND, THIRD, ABOVE, OTHER), {"WHOLE"}, "a part is gone"),
    (of(part("one_wh"), SECOND, THIRD, ABOVE, OTHER), set(), "made anew, and equal"),
]


@pytest.mark.parametrize(("now", "wanted", "reason"), MOVES, ids=[reason for _, _, reason in MOVES])
def test_a_composite_moves_with_its_parts(now: Plan, wanted: set[str], reason: str) -> None:
    nothing = Context({}, {}, {})
    before = made_again(of(FIRST, SECOND, THIRD, ABOVE, OTHER), nothing, {})
    after = made_again(now, nothing, before)
    assert {str(at.name.name) for at, made in after.items() if made is not before.get(at)} == wanted, reason
    assert [made.status for made in after.values()] == statuses(now, nothing)


def test_what_is_in_no_manifest_any_more_stays_told_between_full_looks(tmp_path: Path) -> None:
    """Only a full look finds it; a project that comes to no rest, as with a broken file, has others all the time."""
    world, side = World(write(tmp_path, one_wh=warehouse("one_wh"))), Side([1_000_000.0], forgetful=False)
    for name in ("one_wh", "kept"):
        world.account.put("WAREHOUSES", name, mark("Warehouse", name), **WAREHOUSE)
    full = plan(world.view(), KINDS, prune=world.rules)
    lesser = replace(full, objects={ONE: full.objects[ONE]})
    told = []
    for now in (full, lesser, full, lesser, full):
        side.reporter.take_plan(now)
        report = side.reporter.looked(world.load(), now, {}, 0.0, full=now is full, unread=0)
        assert {status.key for status in report.statuses} == {ONE, key("Warehouse", "kept")}
        told.append([event.reason for event in report.events if "KEPT" in str(event.object).upper()])
    assert told[0] and not any(told[1:])
    world.account.rows["WAREHOUSES"].pop(1)
    now = plan(world.view(), KINDS, prune=world.rules)
    assert len(side.reporter.looked(world.load(), now, {}, 0.0, full=True, unread=0).statuses) == 1
