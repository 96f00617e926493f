"""Between two looks of the loop: which results are looked at soon, and how long work that waits may put a look off."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reconcile_world import World, key, warehouse, write

from controller.account.errors import Transient
from controller.kinds.registry import KINDS
from controller.reconcile.clock import Clock, Timing
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import loader
from controller.reconcile.loop import Reconciler
from controller.reconcile.planning.plan import plan
from controller.reconcile.report import Report
from controller.reconcile.state import State
from controller.reconcile.work.execute import Done

ONE, OTHER = key("Warehouse", "one"), key("Warehouse", "other")


class StandingClock(Clock):
    """Moves only while somebody waits."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.time += seconds
        return event.is_set()


class Between:
    """A loop that has planned two warehouses and works on the second one."""

    def __init__(self, folder: Path) -> None:
        world = World(write(folder, a=warehouse("one"), b=warehouse("other")))
        pool: Any = SimpleNamespace(size=10)
        self.clock = StandingClock()
        self.loop = Reconciler(Engine(loader(folder), KINDS, State(None), pool), clock=self.clock, timing=Timing(resync=30))
        self.results: list[Done] = []
        workers: Any = self.loop._workers
        self.busy = {OTHER: "create"}
        self.loop._workers = SimpleNamespace(  # type: ignore[assignment]
            take=self.take, busy=self.busy, staff=lambda: None, watch=lambda: float("inf"), join=workers.join
        )
        self.loop._files.load()
        loaded, view = self.loop._files.now, world.view()
        self.plan = plan(view, KINDS)
        self.loop._follow.begin(loaded, view, self.plan)
        self.loop._dirty = False

    def take(self) -> list[Done]:
        taken, self.results = self.results, []
        return taken

    def ends(self, error: Exception | None = None) -> None:
        self.results.append(Done(self.plan.objects[ONE].change, error))


@pytest.fixture
def between(tmp_path: Path) -> Between:
    return Between(tmp_path / "p")


@pytest.mark.parametrize(
    ("error", "needs_a_look", "reason"), [(None, False, "nothing follows from it"), (Transient("away"), True, "only a look can follow it")]
)
def test_a_result_that_came_while_details_were_read_counts(
    between: Between, error: Exception | None, needs_a_look: bool, reason: str
) -> None:
    between.ends(error)
    between.loop._meanwhile()
    assert between.loop._carry_on() is not needs_a_look, reason
    assert between.loop._carry_on(), "and once is enough, while the other one is worked on"


@pytest.mark.parametrize(("took", "waits", "reason"), [(2.0, 8.0, "four times as long"), (1000.0, 30.0, "a resync at the most")])
def test_work_that_waits_puts_the_next_look_off(between: Between, took: float, waits: float, reason: str) -> None:
    between.loop._queue.hasten([between.plan.objects[ONE].change])
    between.loop._cycle_took = took
    between.loop._wait(Report("proj"), None)
    assert between.clock.time == pytest.approx(waits), reason
