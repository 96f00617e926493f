"""The queue and its workers: the latest change of each key, one worker on a key, nothing lost, nothing waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reconcile_world import key

from controller.api.objects import ObjectKey
from controller.kinds.base import Sql
from controller.reconcile.meter import Meter
from controller.reconcile.planning.change import Action, Block, Change, ObjectPlan, Plan
from controller.reconcile.work.execute import Done
from controller.reconcile.work.queue import WorkQueue, longest_chains
from controller.reconcile.work.workers import Workers

NAMES = ("a", "b", "c", "d")
PATIENCE = 20.0  # real seconds; only how long a broken queue keeps the tests waiting


def change(name: str, text: str = "", after: tuple[str, ...] = (), priority: int = 0, action: Action = Action.UPDATE) -> Change:
    keys = tuple(key("Warehouse", other) for other in after)
    return Change(key("Warehouse", name), action, steps=(Sql(text or name),), after=keys, priority=priority)


def plan_of(*changes: Change, children: dict[str, tuple[str, ...]] | None = None) -> Plan:
    kids = {key("Warehouse", name): tuple(key("Warehouse", part) for part in parts) for name, parts in (children or {}).items()}
    entries = {c.key: ObjectPlan(c.key, None, None, c, children=kids.get(c.key, ())) for c in changes}
    return Plan("proj", "local", entries)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


class Counted(Meter):
    """What a gauge of the queue's depth would show."""

    def __init__(self) -> None:
        self.waiting: list[ObjectKey] = []

    def queued(self, key: ObjectKey) -> None:
        self.waiting.append(key)

    def dropped(self, key: ObjectKey) -> None:
        self.waiting.remove(key)

    def worker_started(self, key: ObjectKey) -> None:
        self.waiting.remove(key)


def pulled(queue: WorkQueue) -> list[str]:
    return [str(queue.pull().key.name).lower() for _ in range(len(queue))]  # type: ignore[union-attr]


def offer(queue: WorkQueue, *changes: Change) -> None:
    queue.look_begins()
    queue.offer(changes, longest_chains(plan_of(*changes)))


def test_what_is_hastened_during_a_look_is_out_of_reach_of_its_plan() -> None:
    counted = Counted()
    queue = WorkQueue(counted)
    older, newer, other = change("a", "older"), change("a", "newer"), change("b")
    offer(queue, older)
    queue.look_begins()
    queue.hasten([newer, change("c")])
    queue.offer([older, other], {})
    waiting = [queue.pull() for _ in range(3)]
    assert [str(c.steps[0]) for c in waiting if c and c.key == older.key] == ["newer"], "the plan was made from older files"
    assert {str(c.key.name) for c in waiting if c} == {"A", "B", "C"}, "and what it knows nothing of is not dropped"


def test_the_look_that_follows_decides_about_what_was_hastened() -> None:
    queue = WorkQueue()
    queue.look_begins()
    queue.hasten([change("a", "newer")])
    queue.offer([], {})
    assert len(queue) == 1
    offer(queue)
    assert len(queue) == 0


def test_a_drop_is_taken_back_before_the_next_plan_says_so() -> None:
    counted = Counted()
    queue = WorkQueue(counted)
    offer(queue, change("a", action=Action.DELETE), change("b"), change("c", action=Action.DELETE))
    queue.take_back(lambda one: one.action is Action.DELETE and one.key == key("Warehouse", "a"))
    assert [str(one.name) for one in counted.waiting] == ["B", "C"], "the gauge follows"
    assert pulled(queue) == ["b", "c"], "no worker gets it"


def test_when_no_plan_stands_nothing_that_was_hastened_is_done() -> None:
    queue = WorkQueue()
    queue.look_begins()
    queue.hasten([change("a")])
    queue.withdraw()
    assert len(queue) == 0


# ---- order -------------------------------------------------------------------------------------------------------------------------------


def test_what_holds_up_the_longest_chain_goes_first_then_priority_then_age() -> None:
    clock = Clock()
    queue = WorkQueue(now=clock.now)
    old, base, urgent, plain = change("old"), change("base"), change("urgent", priority=5), change("plain")
    middle, top = change("middle", after=("base",)), change("top", after=("middle",))
    queue.offer([old], {})
    clock.time = 1.0
    runnable = [plain, urgent, old, base]
    queue.offer(runnable, longest_chains(plan_of(*runnable, middle, top)))
    assert pulled(queue) == ["base", "urgent", "old", "plain"]


def test_the_parts_of_a_composite_hold_up_what_the_composite_holds_up() -> None:
    whole = Change(key("Warehouse", "whole"), Action.BLOCKED, block=Block.WAITING)
    plan = plan_of(change("part"), whole, change("user", after=("whole",)), change("last", after=("user",)), children={"whole": ("part",)})
    chains = longest_chains(plan)
    assert [chains[key("Warehouse", name)] for name in ("part", "whole", "user", "last")] == [2, 2, 1, 0]


# ---- coalescing --------------------------------------------------------------------------------------------------------------------------


def test_the_latest_change_of_a_key_wins_and_what_is_not_wanted_is_withdrawn() -> None:
    meter = Counted()
    queue = WorkQueue(meter)
    offer(queue, change("a", "first"), change("b"))
    offer(queue, change("a", "second"))
    got = queue.pull()
    assert got is not None and got.statements == ["second"]
    assert len(queue) == 0
    assert meter.waiting == [got.key], "the meter is told of each key once, and of the one that left"


def test_any_number_of_changes_during_work_cost_one_more_run() -> None:
    queue = WorkQueue()
    offer(queue, change("a", "v1"))
    assert queue.pull() is not None
    for version in range(2, 30):
        offer(queue, change("a", f"v{version}"))
        assert len(queue) == 0, "what is worked on is judged by the look after its result"
    queue.release(key("Warehouse", "a"))
    offer(queue, change("a", "v30"))
    got = queue.pull()
    assert got is not None and got.statements == ["v30"] and len(queue) == 0


def test_a_plan_whose_look_began_during_the_work_says_nothing_of_the_key() -> None:
    """The object may have been seen half-way."""
    queue = WorkQueue()
    offer(queue, change("a"))
    queue.look_begins()
    got = queue.pull()
    assert got is not None
    queue.release(got.key)
    queue.offer([change("a", "again")], {})
    assert len(queue) == 0
    offer(queue, change("a", "again"))
    assert len(queue) == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("plan"), st.frozensets(st.sampled_from(NAMES))),
        st.tuples(st.just("look"), st.just(frozenset())),
        st.tuples(st.just("pull"), st.just(frozenset())),
        st.tuples(st.just("end"), st.frozensets(st.sampled_from(NAMES), max_size=1)),
    ),
    max_size=60,
)


@given(STEPS)
def test_never_two_workers_on_a_key_and_nothing_is_lost(steps: list[tuple[str, frozenset[str]]]) -> None:
    """A model beside the queue: what the last plan wanted of keys at rest is there, in its latest version, and nothing else."""
    queue, meter = WorkQueue(), Counted()
    queue.meter = meter
    held: set[str] = set()
    touched: set[str] = set()
    wanted: dict[str, str] = {}
    for number, (what, names) in enumerate(steps):
        if what == "look":
            queue.look_begins()
            touched = set(held)
        elif what == "plan":
            queue.offer([change(name, f"v{number}") for name in sorted(names)], {})
            wanted = dict.fromkeys(names - touched, f"v{number}")
        elif what == "pull" and wanted:
            got = queue.pull()
            assert got is not None
            name = str(got.key.name).lower()
            assert name not in held, "never two on a key"
            assert got.statements == [wanted.pop(name)], "the latest version"
            meter.waiting.remove(got.key)
            held.add(name)
            touched.add(name)
        elif what == "end":
            for name in names & held:
                held.discard(name)
                queue.release(key("Warehouse", name))
        assert len(queue) == len(wanted) == len(meter.waiting)
    queue.look_begins()
    queue.offer([change(name) for name in NAMES], {})
    assert set(pulled(queue)) == set(NAMES) - held, "whatever came before, the next look brings all that is at rest"


# ---- workers -----------------------------------------------------------------------------------------------------------------------------


def eventually(holds: Callable[[], object], why: str) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, why
        time.sleep(0.005)


def test_workers_pull_without_waiting_for_a_cycle_and_results_come_in_batches() -> None:
    queue = WorkQueue()
    running: set[ObjectKey] = set()
    most: list[int] = []
    lock = threading.Lock()

    def run(what: Change, say: Callable[[str], None]) -> Done:
        with lock:
            assert what.key not in running
            running.add(what.key)
            most.append(len(running))
        time.sleep(0.001)
        with lock:
            running.discard(what.key)
        return Done(what)

    workers = Workers(queue, run, size=4)
    offer(queue, *(change(f"w{n}") for n in range(200)))
    workers.staff()
    taken: list[Done] = []
    eventually(lambda: taken.extend(workers.take()) or len(taken) == 200, "all are done from one plan, with no other cycle")
    assert len({done.change.key for done in taken}) == 200
    assert max(most) <= 4
    assert workers.busy == {} and workers.join(5) == []


def test_work_over_its_limit_is_aborted_and_given_up_when_it_does_not_come_back() -> None:
    clock, queue = Clock(), WorkQueue()
    release, started, aborted = threading.Event(), threading.Event(), list[ObjectKey]()

    def run(what: Change, say: Callable[[str], None]) -> Done:
        if str(what.key.name).lower() == "hangs":
            say("hanging")
            started.set()
            release.wait()
        return Done(what)

    workers = Workers(queue, run, abort=aborted.append, size=1, limit=60.0, patience=10.0, now=clock.now)
    offer(queue, change("hangs"))
    workers.staff()
    assert started.wait(PATIENCE)
    hangs = key("Warehouse", "hangs")
    assert workers.watch() == 60.0 and workers.busy == {hangs: "hanging"}
    clock.time = 60.0
    assert workers.watch() == 70.0 and aborted == [hangs]
    clock.time = 70.0
    workers.watch()
    (stuck,) = workers.take()
    assert stuck.change.key == hangs and "hanging: took longer than 60 seconds" in str(stuck.error)
    assert workers.busy == {} and workers.given_up == 1

    offer(queue, change("hangs", "again"), change("other"))
    assert len(queue) == 1, "its thread still runs: never two workers on a key"
    workers.staff()
    done: list[Done] = []
    eventually(lambda: done.extend(workers.take()) or done, "another thread has taken the place")
    assert done[0].change.key == key("Warehouse", "other")

    release.set()
    eventually(lambda: not any(t.name == "worker" and t.is_alive() for t in workers._threads[:1]), "the lost one ends by itself")
    offer(queue, change("hangs", "again"))
    workers.staff()
    eventually(lambda: done.extend(workers.take()) or len(done) == 2, "once it has ended, the object is worked on again")
    assert done[1].change.statements == ["again"], "and what it brought back late is not taken for a result"
    assert workers.join(5) == []


def test_the_number_of_threads_is_bounded_however_many_hang() -> None:
    clock, queue, release, started = Clock(), WorkQueue(), threading.Event(), list[ObjectKey]()

    def run(what: Change, say: Callable[[str], None]) -> Done:
        started.append(what.key)
        release.wait()
        return Done(what)

    workers = Workers(queue, run, size=2, limit=1.0, patience=1.0, now=clock.now)
    for turn in range(5):
        offer(queue, *(change(f"t{turn}_{n}") for n in range(3)))
        workers.staff()
        expected = min(2 * (turn + 1), 4)
        eventually(lambda expected=expected: len(started) == expected, "each place is filled once more, and then no more")
        clock.time += 1.0
        workers.watch()
        clock.time += 1.0
        workers.watch()
        workers.take()
    assert sum(thread.is_alive() for thread in workers._threads) <= 4
    release.set()
    queue.close()


@pytest.mark.parametrize("closed", [True, False])
def test_a_closed_queue_lets_its_workers_go(closed: bool) -> None:
    queue = WorkQueue()
    workers = Workers(queue, lambda what, say: Done(what), size=3)
    offer(queue, change("a"))
    workers.staff()
    eventually(lambda: workers.take(), "it works")
    if closed:
        queue.close()
    assert workers.join(5) == []
    assert not any(thread.is_alive() for thread in workers._threads)
