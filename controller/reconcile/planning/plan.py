"""The pure core: what is wanted, and what one look at the account showed, in; what to do, out. No I/O, no clock, no memory.

`snowcat plan`, the loop, `get` and the tests run this same code. Kinds say what differs and which steps mend it; whether anything may be
done at all (ownership, policy, what must be ready first, what cannot be changed in place) is decided here, once for all kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from controller.api.base import DeletionPolicy, ManagementPolicy, Replace
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import FieldChange, Forecast, Health, Observation, View
from controller.kinds.mark import Mark
from controller.reconcile.pause import PAUSED, families, is_paused, told
from controller.reconcile.planning.change import Action, Block, Change, Cost, ObjectPlan, Permit, Plan
from controller.reconcile.planning.expand import Expansion, Kinds, Refusal, attempt, expand_all
from controller.reconcile.planning.look_again import guarded
from controller.reconcile.planning.order import evaluation_order
from controller.reconcile.planning.ownership import Owner, claim, may_drop, say_renamed, written_for
from controller.reconcile.planning.placement import arrange
from controller.reconcile.planning.prune import Rules, astray, contents, inventory, leftovers, listed

INVALID = "InvalidManifest"
_BY_OWNER = {
    Owner.ADOPTABLE: "taken over: it carries no mark yet",
    Owner.MARK_LOST: "its comment was written over, and the mark with it",
}
_NOT_FROM_MEMORY = {Action.CREATE: "made", Action.REPLACE: "made again", Action.ADOPT: "taken over"}
"""What is not done for an object that only the last good text of a broken file asks for: it may be wanted no more."""
_FINE = (Health.HEALTHY, Health.SUSPENDED)


def plan(
    view: View,
    kinds: Kinds,
    *,
    account: str = "",
    prune: Rules | None = None,
    invalid: Mapping[ObjectKey, str] | None = None,
    remembered: Mapping[Path, str] | None = None,
    permit: Permit | None = None,
    failed: Mapping[ObjectKey, str] | None = None,
    before: Mapping[ObjectKey, ObjectPlan] | None = None,
) -> Plan:
    """The change of every object, in the order in which they can be carried out.

    Args:
        prune: when leftovers may go.
        invalid: objects whose manifest cannot be used at present → what is wrong. Nothing is done to them, whether they stand in the
            graph or not; they are no leftovers and hold nothing else up.
        remembered: files that stand with their last good text → the place of what is wrong in them now. What exists of their objects is
            kept as that text says; none is made, replaced or taken over.
        permit: which changes may be made in this run, all when None; the others stand in the plan as held.
        failed: objects whose last try stalled → fingerprint of the change that was tried; no room is made on a pool for it.
        before: entries of an earlier plan. Those that come out equal are taken from it, so that a second plan of thousands takes no room.
    """
    known = before or {}
    expansion = expand_all(view, kinds)
    found = inventory(expansion.view, kinds)
    planner = _Planner(expansion, kinds, invalid or {}, families(found.values()), permit, remembered or {})
    results: dict[ObjectKey, ObjectPlan] = {}
    for key in evaluation_order(expansion.view.graph):
        entry, old = planner.object(expansion.view.graph.objects[key], results), known.get(key)
        results[key] = old if old is not None and old == entry else entry
    results = arrange(expansion.view, kinds, results, frozenset(invalid or ()), failed or {})
    for entry in leftovers(expansion, kinds, prune or Rules(), found, invalid or ()):
        results[entry.key] = planner.leftover(entry)
    return Plan(view.project.name, account, say_renamed(results, view.project.name), expansion.view.graph)


def plan_again(view: View, kinds: Kinds, keys: Iterable[ObjectKey], before: Mapping[ObjectKey, ObjectPlan]) -> list[ObjectPlan]:
    """Some simple objects anew, in the order in which they can be made; `before` says how the others stand that they depend on. Pure.

    See `controller.reconcile.look.quick` and `controller.reconcile.look.follow`.
    """
    planner = _Planner(Expansion(view, {}, {}), kinds, {}, {})
    results = dict(before)
    order = evaluation_order(Graph({key: view.graph.objects[key] for key in keys}))
    for key in order:
        results[key] = planner.object(view.graph.objects[key], results)
    return [results[key] for key in order]


@dataclass(frozen=True)
class _Planner:
    expansion: Expansion
    kinds: Kinds
    invalid: Mapping[ObjectKey, str]
    families: Mapping[str, Mark]  # composites that are suspended as a whole
    permit: Permit | None = None
    remembered: Mapping[Path, str] = field(default_factory=dict)

    @property
    def view(self) -> View:
        return self.expansion.view

    def object(self, obj: DesiredObject, done: dict[ObjectKey, ObjectPlan]) -> ObjectPlan:
        kind = self.kinds[obj.key.kind]
        children = self.expansion.children.get(obj.key, ())
        after = tuple(sorted(key for key in obj.depends_on if key != obj.parent and key in done and not done[key].ready))
        seen = attempt(kind.observe, obj, self.view)
        if isinstance(seen, Refusal):
            if not self.view.snapshot.offline:
                return ObjectPlan(obj.key, obj, None, _blocked(obj.key, seen, after), children=children)
            seen = Observation(exists=False, health=Health.MISSING)
        seen = self._without_ignored(obj, seen)
        change = self._not_from_memory(self._change(obj, seen, bool(children)), obj)
        if change.pending or change.block is Block.WAITING:
            change = replace(change, after=after)
        change = _priced(self._permitted(change, obj), attempt(kind.cost, obj, seen, self.view))
        if change.action is not Action.NONE:
            change = _forecast(change, attempt(kind.forecast, obj, self.view))
        settled = change.action is Action.NONE or change.block is Block.HELD or change.block_reason == INVALID
        ready = settled and self._fine(seen, bool(children)) and all(done[c].ready for c in children if c in done)
        return ObjectPlan(obj.key, obj, seen, change, ready, children, seen.mark)

    def leftover(self, entry: ObjectPlan) -> ObjectPlan:
        """With its cost, and held where this run may not drop it."""
        cost = attempt(self.kinds[entry.key.kind].leftover_cost, entry.key, self.view)
        return replace(entry, change=_priced(self._permitted(entry.change, None), cost))

    def _not_from_memory(self, change: Change, obj: DesiredObject) -> Change:
        done, fault = _NOT_FROM_MEMORY.get(change.action), self.remembered.get(obj.location.file)
        if change.action is Action.UPDATE and self.kinds[obj.key.kind].update_makes and not all(field.own for field in change.fields):
            done = "made anew"
        if done is None or fault is None:
            return change
        text = f"{fault} is wrong; {obj.key} stood in that file before, and is not {done} until the file is mended"
        return replace(_blocked(obj.key, Refusal(Block.STALLED, text, INVALID)), fields=change.fields)

    def _permitted(self, change: Change, obj: DesiredObject | None) -> Change:
        refused = self.permit(change, obj) if self.permit is not None and change.pending else ""
        if not refused:
            return change
        return Change(change.key, Action.BLOCKED, fields=change.fields, reason=refused, block=Block.HELD, block_reason="NotInPlan")

    @staticmethod
    def _fine(seen: Observation, composite: bool) -> bool:
        return seen.health in _FINE and (seen.exists or composite)

    def _without_ignored(self, obj: DesiredObject, seen: Observation) -> Observation:
        ignored = self._lineage(obj)[-1].manifest.metadata.ignore + obj.manifest.metadata.ignore
        kept = tuple(f for f in seen.drift if not any(f.path == path or f.path.startswith((path + ".", path + "[")) for path in ignored))
        return seen if len(kept) == len(seen.drift) else replace(seen, drift=kept)

    def _lineage(self, obj: DesiredObject) -> list[DesiredObject]:
        """The object, its parent, and so on."""
        line = [obj]
        while line[-1].parent and (parent := self.view.graph.get(line[-1].parent)) and parent not in line:
            line.append(parent)
        return line

    # ---- one object ------------------------------------------------------------------------------------------------------------------

    def _change(self, obj: DesiredObject, seen: Observation, composite: bool) -> Change:
        held = self._held(obj, seen)
        if held:
            return held
        refusal = self.expansion.refused.get(obj.key)
        owned = claim(obj, seen, self.view.project.name, self.view.births.get(obj.key, ""))
        if owned.refused:
            return _blocked(obj.key, Refusal(Block.STALLED, owned.message, owned.reason))
        if not seen.exists:
            return self._create(obj, seen, composite, refusal)
        immutable = [f for f in seen.drift if f.immutable]
        if immutable:
            return self._immutable(obj, seen, immutable, owned.owner)
        if owned.owner in (Owner.ADOPTABLE, Owner.MARK_LOST) or seen.drift:
            return self._update(obj, seen, owned.owner, composite)
        if refusal:
            return _blocked(obj.key, refusal)
        return Change(obj.key, Action.NONE)

    def _held(self, obj: DesiredObject, seen: Observation) -> Change | None:
        """Where a person asked that nothing be done: for the object or for the composite that it is part of."""
        line = self._lineage(obj)
        wrong = next((self.invalid[o.key] for o in line if o.key in self.invalid), None)
        if wrong is not None:
            return replace(_blocked(obj.key, Refusal(Block.STALLED, wrong, INVALID)), fields=seen.drift)
        own = seen.mark is not None and is_paused(seen.mark) and written_for(seen.mark, obj.key)
        paused = seen.mark if own else next((self.families[str(o.key)] for o in line if str(o.key) in self.families), None)
        if paused is not None:
            text, reason = told(paused), PAUSED
        elif any(o.manifest.metadata.suspend for o in line):
            text, reason = "metadata.suspend is true: nothing is changed", "Suspended"
        elif any(o.manifest.metadata.management_policy is ManagementPolicy.OBSERVE for o in line):
            text, reason = _observed(seen), "ObserveOnly"
        else:
            return None
        if seen.exists and not seen.drift and paused is None:
            return Change(obj.key, Action.NONE)
        return Change(obj.key, Action.BLOCKED, fields=seen.drift, reason=text, block=Block.HELD, block_reason=reason)

    def _create(self, obj: DesiredObject, seen: Observation, composite: bool, refusal: Refusal | None) -> Change:
        steps = attempt(lambda: tuple(self.kinds[obj.key.kind].create(obj, self.view)))
        if isinstance(steps, Refusal):
            return _blocked(obj.key, steps)
        if steps:
            return Change(obj.key, Action.CREATE, steps=steps, reason=seen.message or "does not exist")
        if refusal:
            return _blocked(obj.key, refusal)
        if composite:
            return Change(obj.key, Action.NONE)
        return _blocked(obj.key, Refusal(Block.WAITING, seen.message or f"{obj.key} does not exist yet", seen.reason or "Waiting"))

    def _update(self, obj: DesiredObject, seen: Observation, owner: Owner, composite: bool) -> Change:
        steps = attempt(lambda: tuple(self.kinds[obj.key.kind].update(obj, seen, self.view)))
        if isinstance(steps, Refusal):
            return replace(_blocked(obj.key, steps), fields=seen.drift)
        adopting = owner is Owner.ADOPTABLE
        reason = _BY_OWNER.get(owner) or differences(seen.drift)
        if not steps and composite:
            return Change(obj.key, Action.NONE)
        if not steps:
            text = seen.message or f"{differences(seen.drift)}, and this role cannot change it"
            return replace(_blocked(obj.key, Refusal(Block.STALLED, text, seen.reason or "CannotChange")), fields=seen.drift)
        return Change(obj.key, Action.ADOPT if adopting else Action.UPDATE, fields=seen.drift, steps=steps, reason=reason)

    def _immutable(self, obj: DesiredObject, seen: Observation, fields: Sequence[FieldChange], owner: Owner) -> Change:
        """What Snowflake cannot change in place: a person decides, unless the manifest did so beforehand."""
        manifest = obj.manifest
        allowed = manifest.metadata.replace is Replace.ALLOWED and owner is Owner.OURS
        if allowed and not _kept(obj):
            replaced = self._replace(obj, seen, fields)
            return replace(_blocked(obj.key, replaced), fields=seen.drift) if isinstance(replaced, Refusal) else replaced
        texts = [f"{f.path} is {f.before!r}, the manifest says {f.after!r}, and Snowflake cannot change it in place" for f in fields]
        ways = list(dict.fromkeys(f.way_out for f in fields if f.way_out)) or [
            "put the old value back in the manifest, or set metadata.replace: allowed to have the object dropped and made again"
        ]
        return replace(_blocked(obj.key, Refusal(Block.STALLED, "; ".join(texts + ways), "Immutable")), fields=seen.drift)

    def _replace(self, obj: DesiredObject, seen: Observation, fields: Sequence[FieldChange]) -> Change | Refusal:
        """Drop it and make it again, unless it is a container of something that must stay."""
        kind = self.kinds[obj.key.kind]
        declared = [other.key for other in self.view.graph if _kept(other)]
        marked = inventory(self.view, self.kinds).items()  # in no manifest and not to be dropped, or suspended
        stray = astray(dict(marked), self.view)
        left = [
            key
            for key, item in marked
            if is_paused(item.mark) or key in stray or (key not in self.view.graph and not may_drop(item.mark, self.view.project.name))
        ]
        staying = dict.fromkeys([*declared, *left])
        held = contents(obj.key, staying, self.view, self.kinds)
        if isinstance(held, Refusal):
            return held
        if held:
            text = f"{obj.key} would have to be dropped and made again, and is not because it holds {listed(held)}"
            return Refusal(Block.STALLED, text, "HoldsForeignObjects")
        steps = attempt(lambda: (*guarded(kind, obj.key, self.view), *kind.create(obj, self.view)))
        if isinstance(steps, Refusal):
            return steps
        reason = f"{', '.join(f.path for f in fields)} cannot be changed in place, and metadata.replace is allowed"
        return Change(obj.key, Action.REPLACE, seen.drift, steps, reason, destructive=True)


def _priced(change: Change, cost: tuple[float | None, float | None] | Refusal | None) -> Change:
    """With its cost; what is not carried out goes on costing what it does."""
    if not isinstance(cost, tuple):
        return change
    before, after = cost
    return replace(change, cost=Cost(before, before if change.action is Action.BLOCKED else after))


def _forecast(change: Change, told: Forecast | Refusal | None) -> Change:
    return replace(change, forecast=told) if isinstance(told, Forecast) else change


def _kept(obj: DesiredObject) -> bool:
    """Whether a drop would lose what its manifest does not let go."""
    manifest = obj.manifest
    keeps_data = manifest.keeps_data and manifest.deletion_policy is not DeletionPolicy.DELETE
    return keeps_data or manifest.metadata.management_policy is not ManagementPolicy.FULL


def differences(drift: Sequence[FieldChange]) -> str:
    """Which fields differ, for a sentence."""
    paths = [f.path for f in drift]
    return f"{', '.join(paths)} {'differs' if len(paths) == 1 else 'differ'}" if paths else "differs"


def _observed(seen: Observation) -> str:
    if not seen.exists:
        return "managementPolicy is observe, and there is none: nothing makes it"
    paths = ", ".join(change.path for change in seen.drift)
    return f"managementPolicy is observe: differences are only reported{f', in {paths}' if paths else ''}"


def _blocked(key: ObjectKey, refusal: Refusal, after: tuple[ObjectKey, ...] = ()) -> Change:
    return Change(key, Action.BLOCKED, reason=refusal.message, after=after, block=refusal.block, block_reason=refusal.reason)
