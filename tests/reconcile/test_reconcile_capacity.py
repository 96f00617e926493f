"""Who gets the room of a pool: decisions as tables with their reasons, and what must hold for any pool, jobs and services."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.kinds.sizes import Size
from controller.reconcile.planning.capacity import HOPELESS, Decision, Item, Packing, State, Verdict, Why, decide

GPU = Size(4000, 16 << 30, 1)
SMALL = Size(1000, 1 << 30)
NODE = Size(6000, 28 << 30, 1)
ON, HELD, WAITING, LEAVING, SUBMITTED = State.ON, State.HELD, State.WAITING, State.LEAVING, State.SUBMITTED


def service(name: str, state: State = ON, priority: int = 0, size: Size = GPU, *, preemptible: bool = True, **more: int) -> Item:
    return Item(name, size, state, priority=priority, preemptible=preemptible, **more)


def job(name: str, state: State = WAITING, priority: int = 10, size: Size = GPU, **more: int) -> Item:
    return Item(name, size, state, priority=priority, job=True, **more)


OTHERS = replace(service("others"), ours=False)

DECISIONS = [
    ("an empty pool takes the first", [job("a")], Decision(start=("a",))),
    ("what fits beside it starts too", [job("a"), service("s", WAITING, size=SMALL)], Decision(start=("a", "s"))),
    (
        "a deployment that may yield makes room for a job of higher priority",
        [service("base"), job("a")],
        Decision(hold={"base": "a"}, off={"a": Verdict(Why.MAKING_ROOM, ("base",))}, queue=("a",), arrived=("a",)),
    ),
    (
        "while it stops, the job waits, and nothing more is suspended",
        [service("base", LEAVING), service("other", size=SMALL), job("a")],
        Decision(off={"a": Verdict(Why.MAKING_ROOM, ("base",))}, queue=("a",), arrived=("a",)),
    ),
    (
        "when its room is free the job starts, and it stays suspended",
        [service("base", HELD), job("a")],
        Decision(start=("a",), off={"base": Verdict(Why.FULL, ("a",))}),
    ),
    (
        "and while the job runs",
        [service("base", HELD), job("a", ON)],
        Decision(off={"base": Verdict(Why.FULL, ("a",))}),
    ),
    ("it comes back when the job has ended", [service("base", HELD)], Decision(start=("base",))),
    (
        "the tuned model goes first where there is room for one, for good",
        [service("base", HELD), service("tuned", WAITING, 5)],
        Decision(start=("tuned",), off={"base": Verdict(Why.NO_ROOM, ("tuned",))}),
    ),
    (
        "of equal priority nothing yields: the job says what would help",
        [service("base", priority=10), job("a")],
        Decision(off={"a": Verdict(Why.NO_ROOM, ("base",))}),
    ),
    (
        "what is not preemptible is never suspended",
        [service("base", preemptible=False), job("a")],
        Decision(off={"a": Verdict(Why.NO_ROOM, ("base",))}),
    ),
    (
        "for what others run one can only wait: it may go",
        [OTHERS, job("a")],
        Decision(off={"a": Verdict(Why.FULL, ("others",))}, queue=("a",), arrived=("a",)),
    ),
    (
        "nothing is suspended as long as that alone would not do",
        [OTHERS, service("base", size=SMALL), job("a")],
        Decision(off={"a": Verdict(Why.FULL, ("others", "base"))}, queue=("a",), arrived=("a",)),
    ),
    (
        "jobs wait in line by priority",
        [job("run", ON), job("a", priority=1), job("b", priority=2)],
        Decision(off={"b": Verdict(Why.FULL, ("run",)), "a": Verdict(Why.BEHIND, ("b",))}, queue=("b", "a"), arrived=("b", "a")),
    ),
    (
        "nothing overtakes, even if it would fit",
        [job("run", ON), job("a", priority=2), job("b", priority=1, size=SMALL)],
        Decision(off={"a": Verdict(Why.FULL, ("run",)), "b": Verdict(Why.BEHIND, ("a",))}, queue=("a", "b"), arrived=("a", "b")),
    ),
    (
        "a job goes before a service of its priority, since it ends",
        [job("a", priority=0), service("s", WAITING)],
        Decision(start=("a",), off={"s": Verdict(Why.FULL, ("a",))}, queue=("s",), arrived=("s",)),
    ),
    (
        "more GPUs than a node has",
        [job("a", size=Size(1000, 1 << 30, 2))],
        Decision(off={"a": Verdict(Why.TOO_BIG)}),
    ),
    (
        "more instances than nodes",
        [job("a", instances=2)],
        Decision(off={"a": Verdict(Why.TOO_MANY)}),
    ),
    (
        "what can never start holds nobody up",
        [job("a", priority=20, instances=2), job("b")],
        Decision(start=("b",), off={"a": Verdict(Why.TOO_MANY)}),
    ),
    (
        "a job that hangs in the account for lack of room gets it too",
        [service("base"), job("a", SUBMITTED)],
        Decision(hold={"base": "a"}, off={"a": Verdict(Why.MAKING_ROOM, ("base",))}),
    ),
    (
        "another's job that hangs there gets none",
        [service("base"), replace(job("a", SUBMITTED), ours=False), job("b", size=SMALL)],
        Decision(start=("b",)),
    ),
    (
        "they come back in order of priority",
        [service("low", HELD, 1, SMALL), service("high", HELD, 2, SMALL)],
        Decision(start=("high", "low")),
    ),
    (
        "the one of higher priority is waited for",
        [job("run", ON, size=Size(2500, 1 << 30)), service("low", HELD, 1, Size(2000, 1)), service("high", HELD, 2, Size(4000, 1))],
        Decision(off={"high": Verdict(Why.FULL, ("run",)), "low": Verdict(Why.BEHIND, ("high",))}),
    ),
]


@pytest.mark.parametrize(("reason", "items", "decision"), DECISIONS, ids=[row[0] for row in DECISIONS])
def test_one_node(reason: str, items: list[Item], decision: Decision) -> None:
    assert decide([NODE], items) == decision, reason


VICTIMS = [
    ("the lowest priority first", [service("a", priority=2, size=SMALL), service("b", priority=1, size=SMALL)], SMALL, {"b"}),
    (
        "of equal ones the largest, so that it is one and not two",
        [service("a", size=SMALL), service("b", size=Size(2000, 1))],
        Size(2000, 1),
        {"b"},
    ),
    ("what was found too small on the way is spared", [service("a", size=SMALL), service("b", priority=1, size=GPU)], GPU, {"b"}),
    ("as many as it takes", [service("a", size=SMALL), service("b", size=SMALL), service("c", size=SMALL)], Size(2000, 1), {"a", "b"}),
]


@pytest.mark.parametrize(("reason", "running", "wanted", "victims"), VICTIMS)
def test_who_yields(reason: str, running: list[Item], wanted: Size, victims: set[str]) -> None:
    taken = sum((item.size for item in running), Size())
    node = taken  # exactly full
    decision = decide([node], [*running, job("job", size=wanted)])
    assert set(decision.hold) == victims, reason


def test_who_came_first_is_remembered_and_goes_first() -> None:
    """By name `a` would be first; it came later, and the account says so."""
    decision = decide([NODE], [job("run", ON), job("a"), job("z")], ["z"])
    assert decision.queue == ("z", "a") and decision.arrived == ("z", "a")
    assert decide([NODE], [job("a"), job("z")], decision.arrived).start == ("z",)


# ---- what must hold for any of them ------------------------------------------------------------------------------------------------------

SIZES = st.builds(lambda cpu, memory, gpus: Size(cpu * 500, memory << 30, gpus), st.integers(1, 8), st.integers(1, 16), st.integers(0, 1))
THINGS = st.lists(
    st.builds(
        lambda size, priority, is_job, preemptible, instances: (size, priority, is_job, preemptible and not is_job, instances),
        SIZES, st.integers(0, 3), st.booleans(), st.booleans(), st.integers(1, 2),
    ),
    min_size=1, max_size=8,
)  # fmt: skip
NODES = st.lists(st.just(Size(4000, 16 << 30, 1)), min_size=1, max_size=3)


@dataclass
class Simulation:
    """A pool in which things come one after the other, jobs end some rounds later, and the decisions are carried out step by step."""

    nodes: list[Size]
    items: dict[str, Item]
    later: list[Item]
    arrived: tuple[str, ...] = ()
    ran: list[str] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    held_for: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: list[Size], things: list[tuple[Size, int, bool, bool, int]]) -> Simulation:
        items = [
            Item(f"{n}", size, WAITING, instances, priority, is_job, pre)
            for n, (size, priority, is_job, pre, instances) in enumerate(things)
        ]
        return cls(nodes, {}, items)

    def round(self, number: int, order: list[int]) -> Decision:
        """One look, and what comes of it before the next."""
        if self.later:
            new = self.later.pop(order[number % len(order)] % len(self.later))
            self.items[new.name] = new
        for name in [name for name, end in self.ends.items() if end <= number]:
            del self.items[name], self.ends[name]
        decision = decide(self.nodes, self.items.values(), self.arrived)
        again = decide(self.nodes, reversed(list(self.items.values())), self.arrived)
        assert again == decision, "the order in which things are looked at decides nothing"
        self._check(decision)
        for item in list(self.items.values()):
            if item.state is LEAVING:
                self.items[item.name] = replace(item, state=HELD)
        for name in decision.start:
            self._start(name, number)
        for name in decision.hold:
            self.items[name] = replace(self.items[name], state=LEAVING)
        self.arrived = decision.arrived
        return decision

    def _start(self, name: str, number: int) -> None:
        item = self.items[name]
        self.items[name] = replace(item, state=ON)
        self.ran.append(name)
        if item.job:
            self.ends[name] = number + 3

    def _check(self, decision: Decision) -> None:
        taking = [i for i in self.items.values() if i.state in (ON, LEAVING) or i.name in decision.start]
        assert not Packing(self.nodes, taking).overfull, "more than the pool has"
        for name, by in decision.hold.items():
            victim, winner = self.items[name], self.items[by]
            assert victim.preemptible and not victim.job and victim.priority < winner.priority, "what must not be suspended"
            spared = [i for i in self.items.values() if i.state is ON and (i.name not in decision.hold or i.name == name)]
            spared += [self.items[n] for n in decision.start]
            assert not Packing(self.nodes, spared).fits(winner), "one less would have done"
        back = [self.items[n] for n in decision.start]
        kept = [self.items[n] for n in decision.off if self.items[n].state is HELD and decision.off[n].why not in HOPELESS]
        assert all(held.priority <= one.priority for held in kept for one in back if one.state is HELD), "back in order of priority"
        assert not set(decision.start) & set(decision.hold), "nothing is started and suspended in one look"


@given(NODES, THINGS, st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_any_pool(nodes: list[Size], things: list[tuple[Size, int, bool, bool, int]], order: list[int]) -> None:
    """Never more than there is; only what may be is suspended; no job is left over that can run; in the end nothing moves any more."""
    world = Simulation.of(nodes, things)
    decision = Decision()
    for number in range(8 * len(things) + 10):
        decision = world.round(number, order)
    assert not decision.start and not decision.hold, "it has come to rest"
    left = {name: item for name, item in world.items.items() if item.state is not ON}
    assert all(decision.off[name].why in HOPELESS for name in left), f"waits for nothing: {decision.off}"
    assert not [name for name, item in world.items.items() if item.job and item.state is ON], "every job has ended"
    twice = [name for name in world.ran if world.ran.count(name) > 1 and name not in world.items]
    assert not twice, "a job that ran is not run again"
