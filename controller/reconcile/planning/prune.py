"""Leftovers: what carries this project's mark in the account and is in no manifest any more.

Four gates stand before a drop. The mark must say that its last manifest allowed it, and be the object's own (copies and clones carry those
of others), else the object stays and is named as such; nothing foreign may be inside; the object must have been absent from two complete
loads at least ten seconds apart, so that a half-checked-out or broken folder never drops anything; and no more than a share of the project
may go at once, unless a person has counted and said so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from controller.api.names import Identifier, QualifiedName
from controller.api.objects import Graph, ObjectKey
from controller.kinds.base import Health, Inventory, Kind, Observation, View
from controller.reconcile.pause import PAUSED, is_paused, told
from controller.reconcile.planning.change import Action, Block, Change, ObjectPlan
from controller.reconcile.planning.expand import Expansion, Kinds, Refusal, attempt
from controller.reconcile.planning.look_again import guarded
from controller.reconcile.planning.order import drop_order, inside
from controller.reconcile.planning.ownership import may_drop, named_in, parent_of, written_for

GAP = 10.0
"""Seconds between the two loads."""

FEW = 2
"""So many objects may always go by themselves, however small the project is."""


@dataclass(frozen=True)
class Rules:
    """When leftovers may go.

    `off` says why none may at present, '' when they may. `share` of the project's objects may go at once by themselves; `allowed` is how
    many a person has allowed for this run, None when nobody was asked.
    """

    off: str = ""
    share: float = 0.3
    allowed: int | None = None

    def refusal(self, going: int, total: int) -> str:
        """Why so many of the project's objects may not go at once; '' when they may."""
        if going <= max(FEW, int(self.share * total)) or (self.allowed is not None and going <= self.allowed):
            return ""
        allowed = "" if self.allowed is None else f" and more than the {self.allowed} that were allowed"
        return (
            f"{going} of the project's {total} objects are in no manifest any more, more than {self.share:.0%}{allowed}; "
            f"if that is meant, 'snowcat apply --allow-prune {going}' drops them"
        )


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
    return _undeclared(expansion, inventory(expansion.view, kinds))


def _undeclared(expansion: Expansion, found: Mapping[ObjectKey, Inventory]) -> dict[ObjectKey, Inventory]:
    undecided = {str(key) for key in expansion.refused}
    graph = expansion.view.graph
    return {key: item for key, item in found.items() if key not in graph and parent_of(item.mark) not in undecided}


def astray(found: Mapping[ObjectKey, Inventory], view: View) -> dict[ObjectKey, str]:
    """Objects in no manifest that carry a mark of this project which was not written for them → why they are left alone."""
    made = {key for key, item in found.items() if key.kind in ("Database", "Schema") and written_for(item.mark, key)}
    result = {}
    for key, item in found.items():
        if key in view.graph:
            continue
        if not written_for(item.mark, key):
            result[key] = f"its comment is that of {named_in(item.mark)}: copied, or from before it was renamed or cloned"
        elif outside := [
            str(place) for place in _containers(key) if not (place in made or place in view.graph or place in view.project.existing)
        ]:
            result[key] = f"it lies in {outside[0]}, which is none of this project: a clone, or renamed by hand"
    return result


def _containers(key: ObjectKey) -> list[ObjectKey]:
    """The database and schema that an object lives in. The schema PUBLIC comes with its database."""
    places = [ObjectKey(kind, QualifiedName(key.name.parts[:size])) for size, kind in ((1, "Database"), (2, "Schema"))]
    return [place for place in places[: len(key.name.parts) - 1] if place.kind == "Database" or place.name.name != Identifier("PUBLIC")]


def leftovers(
    expansion: Expansion, kinds: Kinds, rules: Rules, found: Mapping[ObjectKey, Inventory], invalid: Collection[ObjectKey] = ()
) -> Iterator[ObjectPlan]:
    """What becomes of each leftover of the `inventory`: first those that stay, then the drops, in an order in which they can go.

    The `invalid`, and what they stand for, are none: a manifest declares them, but is wrong at present.
    """
    view = expansion.view
    parents = {(str(key), key.name.parent) for key in invalid}
    every = {
        key: item
        for key, item in _undeclared(expansion, found).items()
        if key not in invalid and (parent_of(item.mark), key.name.parent) not in parents
    }
    stray = astray(found, view)
    going = {key: item for key, item in every.items() if key not in stray and may_drop(item.mark, view.project.name)}
    for key in sorted(every.keys() - going.keys()):
        yield _orphan(key, every[key], stray.get(key, ""))
    many = rules.refusal(_manifests(going), _manifests(found))
    for key in drop_order(going, Graph({})):
        change = _drop(key, going, {*every, *invalid, *view.graph.objects} - going.keys(), view, kinds)
        if rules.off and change.pending:
            change = Change(key, Action.BLOCKED, reason=f"not dropped: {rules.off}", block=Block.HELD, block_reason="PruneOff")
        elif many and change.pending:
            change = Change(key, Action.BLOCKED, reason=f"not dropped: {many}", block=Block.STALLED, block_reason="PruneLimit")
        yield ObjectPlan(key, None, None, change, mark=going[key].mark)


def _manifests(items: Mapping[ObjectKey, Inventory]) -> int:
    """How many manifests objects come from: a composite counts once, however many it stands for."""
    composites = {(parent, key.name.parent) for key, item in items.items() if (parent := parent_of(item.mark)) is not None}
    return len(composites) + sum(parent_of(item.mark) is None for item in items.values())


def _orphan(key: ObjectKey, item: Inventory, stray: str) -> ObjectPlan:
    """A leftover that stays: nothing is done to it, and it holds nothing up, but nobody should forget it."""
    if is_paused(item.mark) and not stray:
        text = f"in no manifest any more, and {told(item.mark)}"
        seen = Observation(True, Health.SUSPENDED, text, PAUSED, mark=item.mark)
        change = Change(key, Action.BLOCKED, reason=text, block=Block.HELD, block_reason=PAUSED)
        return ObjectPlan(key, None, seen, change, ready=True, mark=item.mark)
    text = (
        f"in no manifest, and left alone: {stray}"
        if stray
        else (
            "in no manifest any more, and kept: its last manifest did not say deletionPolicy: delete; "
            "to drop it put the manifest back with that, apply, and remove it again"
        )
    )
    seen = Observation(True, Health.HEALTHY, text, "Orphaned", mark=item.mark, conditions={"Orphaned": (True, "NoManifest", text)})
    change = Change(key, Action.BLOCKED, reason=text, block=Block.HELD, block_reason="Orphaned")
    return ObjectPlan(key, None, seen, change, ready=True, mark=item.mark)


def _drop(key: ObjectKey, going: Collection[ObjectKey], staying: Collection[ObjectKey], view: View, kinds: Kinds) -> Change:
    held = contents(key, staying, view, kinds)
    if isinstance(held, Refusal):
        return Change(key, Action.BLOCKED, reason=held.message, block=held.block, block_reason=held.reason)
    if held:
        text = f"{key} is in no manifest, and is not dropped because it holds {listed(held)}"
        return Change(key, Action.BLOCKED, reason=text, block=Block.STALLED, block_reason="HoldsForeignObjects")
    steps = attempt(lambda: guarded(kinds[key.kind], key, view))
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


def listed(names: list[str], most: int = 5) -> str:
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
