"""Who gets the room of a compute pool: what may start, what is suspended to make room, who waits and behind whom. Pure, and without memory.

Every look decides anew from what runs and who wants to run. The same account gives the same answer, so a restart changes nothing, and
two looks in a row cannot contradict each other:

- Strictly by rank: priority, then jobs before services (a job ends, a service does not), then who came first. Nothing overtakes: while
  the first in line waits, nobody behind it starts in room that it may need.
- Only what is preemptible, and of lower priority than the one who waits, is ever suspended, and only when that is enough to start it
  right away. What was suspended stands in line again with its own priority, and comes back in that order.
- What could not start even if every job had ended is told so, and holds nobody up.

Where Snowflake places an instance is not told by any SHOW. So a pool counts as full when the instances cannot be packed onto its nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from controller.kinds.sizes import Size


class State(StrEnum):
    ON = "on"  # runs, or is starting: it has its room
    SUBMITTED = "submitted"  # a job in the account that has not started; Snowflake starts it when there is room
    LEAVING = "leaving"  # its room will be free soon
    HELD = "held"  # suspended by us to make room, and wants to come back
    WAITING = "waiting"  # wants to start


@dataclass(frozen=True)
class Item:
    """One thing that runs, or wants to run, on a pool. `name` is what people read, and how it is told apart."""

    name: str
    size: Size  # of one instance
    state: State
    instances: int = 1
    priority: int = 0
    job: bool = False
    preemptible: bool = False
    ours: bool = True


class Why(StrEnum):
    """Why something that is not on does not start now."""

    MAKING_ROOM = "making room"  # others are being suspended for it, or are on their way out
    FULL = "full"  # what runs goes first
    BEHIND = "behind"  # somebody before it in the line waits too
    TOO_BIG = "too big"  # no node holds one instance
    TOO_MANY = "too many"  # not all instances fit, even if the pool were empty
    NO_ROOM = "no room"  # what runs for good, and may not be suspended for it, leaves no room


_LOOKED_AT = 20  # of those that have room, to find the one in the way

HOPELESS = frozenset({Why.TOO_BIG, Why.TOO_MANY, Why.NO_ROOM})


@dataclass(frozen=True)
class Verdict:
    """Why an item does not start. `by` names whose room, or whose turn, it is, the first one first."""

    why: Why
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """For one pool, by names of items.

    `start` are those that may start or come back now, in the order of rank. `hold` are to be suspended now → for whom. `off` are all
    others that do not run → why. `queue` are those that wait for their first start, in line. `arrived` is the same in order of arrival,
    to be remembered.
    """

    start: tuple[str, ...] = ()
    hold: Mapping[str, str] = field(default_factory=dict)
    off: Mapping[str, Verdict] = field(default_factory=dict)
    queue: tuple[str, ...] = ()
    arrived: tuple[str, ...] = ()


def decide(nodes: Sequence[Size], items: Iterable[Item], arrived: Sequence[str] = ()) -> Decision:
    """Decide for one pool.

    Args:
        nodes: what each node offers, as many as the pool may have.
        arrived: names of those that waited in the last look, in order of arrival.
    """
    return _Decider(nodes, sorted(items, key=lambda item: item.name), arrived).decide()


class Packing:
    """Instances on nodes. What could not be packed makes it overfull, and then nothing more fits."""

    def __init__(self, nodes: Sequence[Size], items: Iterable[Item] = ()) -> None:
        instances = [item.size for item in items for _ in range(item.instances)]
        for order in (_by_gpu, _by_memory, _by_cpu):  # packing is hard: the first order that works will do
            self.free = list(nodes)
            self.overfull = not self._place_all(sorted(instances, key=order, reverse=True))
            if not self.overfull:
                break

    def fits(self, item: Item) -> bool:
        if self.overfull:
            return False
        before = list(self.free)
        done = self._place_all([item.size] * item.instances)
        self.free = before
        return done

    def add(self, item: Item) -> None:
        done = self._place_all([item.size] * item.instances)
        self.overfull = self.overfull or not done

    def copy(self) -> Packing:
        same = Packing(())
        same.free, same.overfull = list(self.free), self.overfull
        return same

    def _place_all(self, sizes: Sequence[Size]) -> bool:
        """Each on the first node that holds it. The next of the same size need not look at the nodes before."""
        everyone, last, number = True, None, 0
        for size in sizes:
            number = number if size == last else 0
            last = size
            while number < len(self.free) and not self.free[number].holds(size):
                number += 1
            if number < len(self.free):
                self.free[number] -= size
            else:
                everyone = False
        return everyone


def _by_gpu(size: Size) -> tuple[int, int, int]:
    return size.gpus, size.memory, size.cpu


def _by_memory(size: Size) -> tuple[int, int, int]:
    return size.memory, size.gpus, size.cpu


def _by_cpu(size: Size) -> tuple[int, int, int]:
    return size.cpu, size.gpus, size.memory


class _Decider:
    """One decision. `on` grows with what starts, so that everything is judged beside what goes before it."""

    def __init__(self, nodes: Sequence[Size], items: Sequence[Item], arrived: Sequence[str]) -> None:
        self.nodes = nodes
        self.items = items
        self.arrived = arrived
        self.on = [item for item in items if item.state is State.ON]
        self.leaving = [item for item in items if item.state is State.LEAVING]
        self.start: list[str] = []
        self.hold: dict[str, str] = {}
        self.off: dict[str, Verdict] = {}
        self.now = Packing(nodes, [*self.on, *self.leaving])  # as it is
        self.soon = Packing(nodes, self.on) if self.leaving else self.now.copy()  # when those that leave are gone
        self.lasting: dict[int, tuple[list[Item], Packing]] = {}  # by the priority that they do not yield to

    def decide(self) -> Decision:
        first: Item | None = None  # the first in line that has to wait
        for item in self._line():
            if first is None and self.now.fits(item):
                self._take(item)
            elif (hopeless := self._hopeless(item)) is not None:
                self.off[item.name] = hopeless
            elif first is not None:
                self.off[item.name] = Verdict(Why.BEHIND, (first.name,))
            elif not item.ours:
                continue  # it waits in the account; no room is made for it, and nothing of ours waits for it
            else:
                self.off[item.name] = self._wait(item)
                first = item
        waiting = [item.name for item in self._line() if item.state is State.WAITING]
        queue = tuple(name for name in waiting if name in self.off and self.off[name].why not in HOPELESS)
        known = [name for name in self.arrived if name in waiting and (name in self.start or name in queue)]
        return Decision(tuple(self.start), self.hold, self.off, queue, (*known, *(name for name in queue if name not in known)))

    def _line(self) -> list[Item]:
        """All that want room, in order. What is in the account already goes first: it is there, and nothing can take it back."""
        place = {name: number for number, name in enumerate(self.arrived)}
        wanting = [item for item in self.items if item.state in (State.SUBMITTED, State.HELD, State.WAITING)]
        kinds = {State.SUBMITTED: 0, State.HELD: 1, State.WAITING: 2}
        return sorted(
            wanting,
            key=lambda item: (
                item.state is not State.SUBMITTED,
                -item.priority,
                not item.job,
                kinds[item.state],
                place.get(item.name, len(place)),
                item.name,
            ),
        )

    def _take(self, item: Item) -> None:
        self.now.add(item)
        self.soon.add(item)
        self.on.append(item)
        self.lasting.clear()
        if item.state is not State.SUBMITTED:
            self.start.append(item.name)

    def _hopeless(self, item: Item) -> Verdict | None:
        """Why it can never start as things are declared, or None. Jobs end, and what others run may go; neither counts here."""
        if not any(node.holds(item.size) for node in self.nodes):
            return Verdict(Why.TOO_BIG)
        if not Packing(self.nodes).fits(item):
            return Verdict(Why.TOO_MANY)
        if item.priority not in self.lasting:
            stay = [other for other in self.on if other.ours and not other.job and not _yields(other, item)]
            self.lasting[item.priority] = (stay, Packing(self.nodes, stay))
        stay, packed = self.lasting[item.priority]
        if stay and not packed.fits(item):
            return Verdict(Why.NO_ROOM, tuple(other.name for other in sorted(stay, key=_rank)))
        return None

    def _wait(self, item: Item) -> Verdict:
        """For the first in line: make room if suspending is all that it takes, else wait for what runs."""
        if self.soon.fits(item):
            return Verdict(Why.MAKING_ROOM, tuple(other.name for other in self.leaving))
        victims = self._victims(item)
        if victims:
            self.hold.update({victim.name: item.name for victim in victims})
            return Verdict(Why.MAKING_ROOM, tuple(victim.name for victim in victims))
        return Verdict(Why.FULL, self._in_the_way(item))

    def _in_the_way(self, item: Item) -> tuple[str, ...]:
        """All that has room, those first without whom alone it could start."""
        holders = sorted([*self.on, *self.leaving], key=_rank)
        enough = {other.name for other in holders[:_LOOKED_AT] if self._fits_without(item, [other])}
        return tuple(other.name for other in sorted(holders, key=lambda other: (other.name not in enough, *_rank(other))))

    def _victims(self, item: Item) -> list[Item]:
        """As few as will do, the lowest priority first, of equal ones the largest; none when all together would not do."""
        candidates = sorted((other for other in self.on if _yields(other, item)), key=lambda o: (o.priority, _reversed(o.size), o.name))
        chosen: list[Item] = []
        for candidate in candidates:
            chosen.append(candidate)
            if self._fits_without(item, chosen):
                break
        else:
            return []
        for spared in reversed(chosen[:-1]):  # what was added on the way and is not needed stays on, the highest priority first
            rest = [victim for victim in chosen if victim is not spared]
            if self._fits_without(item, rest):
                chosen = rest
        return chosen

    def _fits_without(self, item: Item, victims: Sequence[Item]) -> bool:
        return Packing(self.nodes, [other for other in self.on if other not in victims]).fits(item)


def _yields(other: Item, item: Item) -> bool:
    """Whether `other` may be suspended for `item`."""
    return other.ours and other.preemptible and not other.job and other.state is not State.SUBMITTED and other.priority < item.priority


def _rank(item: Item) -> tuple[int, str]:
    return -item.priority, item.name


def _reversed(size: Size) -> tuple[int, int, int]:
    return -size.gpus, -size.memory, -size.cpu
