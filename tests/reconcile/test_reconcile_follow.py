"""What is handed on because something else was just done, and when only a look can tell."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from reconcile_world import World, key, write

from controller.account.errors import Transient
from controller.api.objects import ObjectKey
from controller.kinds.base import View
from controller.kinds.registry import KINDS
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import Loaded, loader
from controller.reconcile.look.follow import Follow
from controller.reconcile.planning.plan import plan
from controller.reconcile.state import State
from controller.reconcile.work.execute import Done

CHAIN = """
    kind: Database
    metadata: {name: db}
    ---
    kind: Schema
    metadata: {name: s, database: db}
    ---
    kind: Stage
    metadata: {name: st, schema: db.s}
    ---
    kind: NetworkRule
    metadata: {name: rule, schema: db.s}
    spec: {values: [example.com]}
    ---
    kind: ExternalAccessIntegration
    metadata: {name: access}
    spec: {networkRules: [db.s.rule]}
    ---
    kind: Warehouse
    metadata: {name: wh}
    spec: {autoSuspend: 60}
    """
POOLS = """
    kind: ComputePool
    metadata: {name: pool}
    spec: {instanceFamily: CPU_X64_XS}
    """
DB, SCHEMA, STAGE, RULE = key("Database", "db"), key("Schema", "db.s"), key("Stage", "db.s.st"), key("NetworkRule", "db.s.rule")
ACCESS, WAREHOUSE, POOL = key("ExternalAccessIntegration", "access"), key("Warehouse", "wh"), key("ComputePool", "pool")


@dataclass
class Run:
    """A plan of an empty account, and the work that is done of it."""

    world: World
    glances: list[set[ObjectKey]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loaded = self.world.load()
        engine = Engine(loader(self.world.folder), KINDS, State(None), None)
        self.follow = Follow(engine, self.glance)
        self.follow.look_begins()
        view = self.world.view(self.loaded)
        self.plan = plan(view, KINDS, invalid=self.loaded.invalid)
        self.follow.begin(self.loaded, view, self.plan)

    def glance(self, loaded: Loaded, view: View, keys: Collection[ObjectKey]) -> View:
        self.glances.append(set(keys))
        return self.world.view(loaded)

    def make(self, what: str, name: str, kind: str) -> Done:
        self.world.account.put(what, name, self.world.comment(kind, name))
        return Done(self.plan.objects[key(kind, name)].change)

    def ended(self, *results: Done) -> tuple[set[ObjectKey], bool]:
        changes, usual = self.follow.ended(results, self.loaded.graph)
        return {change.key for change in changes}, usual


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(World(write(tmp_path / "p", a=CHAIN)))


def test_each_link_follows_as_soon_as_the_one_before_is_made(run: Run) -> None:
    assert {entry.key for entry in run.plan if entry.change.runnable} == {DB, WAREHOUSE}
    assert run.ended(run.make("DATABASES", "db", "Database")) == ({SCHEMA}, True)
    assert run.ended(run.make("SCHEMAS", "db.s", "Schema")) == ({STAGE, RULE}, True)
    assert run.ended(run.make("NETWORK RULES", "db.s.rule", "NetworkRule")) == ({ACCESS}, True)
    assert run.glances == [{DB, SCHEMA}, {SCHEMA, STAGE, RULE}, {RULE, ACCESS}], "and only these are looked at"


def test_what_nothing_waits_for_needs_neither_a_glance_nor_a_look(run: Run) -> None:
    assert run.ended(run.make("WAREHOUSES", "wh", "Warehouse")) == (set(), True)
    assert not run.glances and not run.follow.finished


def test_what_is_not_there_after_all_is_left_to_a_look(run: Run) -> None:
    done = Done(run.plan.objects[DB].change)
    assert run.ended(done) == (set(), False), "the account does not show the database"


def test_a_failure_is_left_to_a_look(run: Run) -> None:
    assert run.ended(Done(run.plan.objects[DB].change, Transient("away"))) == (set(), False)
    assert not run.glances


def test_what_was_planned_from_other_files_is_left_to_a_look(run: Run) -> None:
    done = run.make("DATABASES", "db", "Database")
    assert run.follow.ended([done], run.world.load().graph) == ([], False)


def test_what_ended_during_a_look_is_followed_by_its_plan(run: Run) -> None:
    run.follow.look_begins()
    older = run.world.view(run.loaded)
    run.ended(run.make("DATABASES", "db", "Database"))
    run.follow.begin(run.loaded, older, plan(older, KINDS))
    assert {change.key for change in run.follow.catch_up(run.loaded.graph)} == {SCHEMA}


def test_a_pool_that_nobody_waits_for_needs_no_look_at_once(tmp_path: Path) -> None:
    run = Run(World(write(tmp_path / "p", a=CHAIN, b=POOLS)))
    assert run.ended(Done(run.plan.objects[POOL].change)) == (set(), True)
