"""The sentences about room on pools: who waits, where in the line, behind whom, who has the room, and what a person can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from controller.api.objects import ObjectKey
from controller.kinds.base import Load, Room
from controller.kinds.instance_families import FAMILIES
from controller.kinds.sizes import of_node
from controller.reconcile.planning.capacity import Decision, Verdict, Why

_MOST = 3
_ADVISED = 2  # instance families


@dataclass(frozen=True)
class Names:
    """What the sentences are made of. `loads` are the project's own, by name."""

    key: ObjectKey
    room: Room
    loads: Mapping[str, Load]
    decision: Decision

    @property
    def pool(self) -> str:
        return self.key.name.name.text

    def ranked(self, name: str) -> str:
        """With its priority, where it has one."""
        load = self.loads.get(name)
        return f"{name} (priority {load.priority})" if load is not None and load.priority else name

    def place(self, name: str) -> tuple[int, int] | None:
        """Where in the line, from 1, and how many wait."""
        queue = self.decision.queue
        return (queue.index(name) + 1, len(queue)) if name in queue else None

    def listed(self, names: Sequence[str]) -> str:
        more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
        return ", ".join(self.ranked(name) for name in names[:_MOST]) + more


def waiting_text(names: Names, name: str, verdict: Verdict) -> str:
    """Why something that wants to start does not."""
    load, room, pool = names.loads[name], names.room, names.pool
    if verdict.why is Why.TOO_BIG:
        return (
            f"asks for {load.size} on one node, and a node of {pool} ({room.family}) has {room.node}: "
            f"ask for less{_or_larger(load, names.key)}"
        )
    if verdict.why is Why.TOO_MANY:
        nodes = f"{room.nodes} node{'s' if room.nodes > 1 else ''}"
        many = f"its {load.instances} instances of {load.size} each"
        return f"{many} do not fit onto the {nodes} of {pool} at once: raise maxNodes of {names.key}"
    if verdict.why is Why.NO_ROOM:
        return (
            f"does not fit onto {pool} beside {names.listed(verdict.by)}: raise maxNodes of {names.key}, ask for less, "
            f"or let it go first by a higher priority, with `preemptible: true` on what is to yield"
        )
    place = names.place(name)
    start = f"{_ordinal(place[0])} of {place[1]} in the queue for {pool}" if place else f"waits for room on {pool}"
    if verdict.why is Why.BEHIND:
        return f"{start}, behind {names.ranked(_before(names, name, verdict))}; {_holders(names)}"
    if verdict.why is Why.MAKING_ROOM:
        return f"{start}; {names.listed(verdict.by)} makes room"
    return f"{start}; the pool is held by {names.listed(verdict.by)}"


def _or_larger(load: Load, pool: ObjectKey) -> str:
    """The other way out, with the cheapest families that have enough."""
    enough = [f for f in FAMILIES.values() if of_node(f).holds(load.size) and bool(f.gpus) is bool(load.size.gpus)]
    enough.sort(key=lambda f: inf if f.credits is None else f.credits)
    if not enough:
        return ": no instanceFamily that is known here has so much"
    return f", or choose another instanceFamily for {pool}, such as {' or '.join(f.name for f in enough[:_ADVISED])}"


def held_text(names: Names, by: str, verdict: Verdict | None) -> str:
    """Why something that ran is suspended. `verdict` None: it is only just stopping."""
    if verdict is not None and verdict.why is Why.NO_ROOM:
        return f"suspended: its room on {names.pool} is taken by {names.listed(verdict.by)}, which goes first"
    if verdict is not None and verdict.why is Why.MAKING_ROOM:
        return f"suspended; comes back on {names.pool} as soon as {names.listed(verdict.by)} has stopped"
    return f"suspended to make room for {names.ranked(by)} on {names.pool}; comes back by itself"


def _before(names: Names, name: str, verdict: Verdict) -> str:
    """Who is next before it in the line."""
    place = names.place(name)
    return names.decision.queue[place[0] - 2] if place and place[0] > 1 else verdict.by[0]


def _holders(names: Names) -> str:
    """What the first in line waits for."""
    for off in names.decision.off.values():
        if off.why is Why.FULL and off.by:
            return f"the pool is held by {names.listed(off.by)}"
        if off.why is Why.MAKING_ROOM and off.by:
            return f"{names.listed(off.by)} makes room"
    return "the pool is full"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
