"""Leftovers: what carries this project's mark in the account and is in no manifest any more.

Three gates stand before a drop. The mark must say that its last manifest allowed it; nothing foreign may be inside; and the object must
have been absent from two complete loads at least ten seconds apart, so that a half-checked-out or broken folder never drops anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from controller.api.objects import Graph, ObjectKey
from controller.kinds.base import Inventory, Kind, View
from controller.reconcile.change import Action, Block, Change, ObjectPlan
from controller.reconcile.expand import Expansion, Kinds, Refusal, attempt
from controller.reconcile.order import drop_order, inside
from controller.reconcile.ownership import may_drop, parent_of

GAP = 10.0
"""Seconds between the two loads."""


def inventory(view: View, kinds: Kinds) -> dict[ObjectKey, Inventory]:
    """All objects in the account that carry this project's mark, as far as the snapshot shows them."""
    found: dict[ObjectKey, Inventory] = {}
    for kind in kinds.values():
        answer = attempt(_ours, kind, view)
        if not isinstance(answer, Refusal):
            found.update({item.key: item for item in answer})
    return found


def _ours(kind: Kind, view: View) -> list[Inventory]:
    return [item for item in kind.inventory(view) if item.mark.project == view.project.name]


def undeclared(expansion: Expansion, kinds: Kinds) -> dict[ObjectKey, Inventory]:
    """Those of them that no manifest asks for, leaving out children whose parent cannot be expanded yet."""
    graph = expansion.view.graph
    undecided = {str(key) for key in expansion.refused}
    return {
        key: item for key, item in inventory(expansion.view, kinds).items() if key not in graph and parent_of(item.mark) not in undecided
    }


def leftovers(expansion: Expansion, kinds: Kinds, off: str) -> Iterator[ObjectPlan]:
    """The planned drop of each leftover that may go, in an order in which they can go."""
    view = expansion.view
    every = undeclared(expansion, kinds)
    going = {key: item for key, item in every.items() if may_drop(item.mark, view.project.name)}
    for key in drop_order(going, Graph({})):
        change = _drop(key, going, {*every, *view.graph.objects} - going.keys(), view, kinds)
        if off and change.pending:
            change = Change(key, Action.BLOCKED, reason=f"not dropped: {off}", block=Block.HELD, block_reason="PruneOff")
        yield ObjectPlan(key, None, None, change, mark=going[key].mark)


def _drop(key: ObjectKey, going: Collection[ObjectKey], staying: Collection[ObjectKey], view: View, kinds: Kinds) -> Change:
    held = contents(key, staying, view, kinds)
    if isinstance(held, Refusal):
        return Change(key, Action.BLOCKED, reason=held.message, block=held.block, block_reason=held.reason)
    if held:
        text = f"{key} is in no manifest, and is not dropped because it holds {_listed(held)}"
        return Change(key, Action.BLOCKED, reason=text, block=Block.STALLED, block_reason="HoldsForeignObjects")
    steps = attempt(lambda: tuple(kinds[key.kind].delete(key, view)))
    if isinstance(steps, Refusal):
        return Change(key, Action.BLOCKED, reason=steps.message, block=steps.block, block_reason=steps.reason)
    after = tuple(sorted(other for other in going if inside(other, key)))
    return Change(key, Action.DELETE, steps=steps, reason="in no manifest any more", after=after, destructive=True)


def contents(key: ObjectKey, staying: Collection[ObjectKey], view: View, kinds: Kinds) -> list[str] | Refusal:
    """What a drop of a container would take with it that must stay: foreign objects, and those of ours that are kept."""
    foreign = attempt(lambda: sorted(set(kinds[key.kind].foreign_inside(key, view))))
    if isinstance(foreign, Refusal):
        return foreign
    return foreign + sorted(str(other) for other in staying if inside(other, key))


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@dataclass
class Absences:
    """Remembers since when leftovers have been absent from complete loads. One for each loop, in memory: a restart waits again."""

    gap: float = GAP
    since: dict[ObjectKey, float] = field(default_factory=dict)

    def note(self, candidates: Collection[ObjectKey], complete: bool, now: float) -> None:
        """Take in one load; an incomplete one starts the wait over."""
        self.since = {key: self.since.get(key, now) for key in candidates} if complete else {}

    def confirmed(self, key: ObjectKey, now: float) -> bool:
        return key in self.since and now - self.since[key] >= self.gap

    def next_due(self, now: float) -> float | None:
        """Seconds until the next candidate is confirmed; None when none waits."""
        waits = [self.gap - (now - start) for start in self.since.values() if now - start < self.gap]
        return min(waits) if waits else None
