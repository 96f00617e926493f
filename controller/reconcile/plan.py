"""The pure core: what is wanted, and what one look at the account showed, in; what to do, out. No I/O, no clock, no memory.

`snowcat plan`, the loop, `get` and the tests run this same code. Kinds say what differs and which steps mend it; whether anything may be
done at all (ownership, policy, what must be ready first, what cannot be changed in place) is decided here, once for all kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from controller.api.base import DeletionPolicy, ManagementPolicy, Replace
from controller.api.objects import DesiredObject, ObjectKey
from controller.kinds.base import FieldChange, Health, Observation, Step, View
from controller.reconcile.change import Action, Block, Change, Cost, ObjectPlan, Plan
from controller.reconcile.expand import Expansion, Kinds, Refusal, attempt, expand_all
from controller.reconcile.order import evaluation_order
from controller.reconcile.ownership import Owner, claim
from controller.reconcile.prune import leftovers

INVALID = "InvalidManifest"
_FINE = (Health.HEALTHY, Health.SUSPENDED)


def plan(view: View, kinds: Kinds, *, account: str = "", prune_off: str = "", invalid: Mapping[ObjectKey, str] | None = None) -> Plan:
    """The change of every object, in the order in which they can be carried out.

    Args:
        prune_off: why nothing may be pruned in this look (a file with a problem); '' when leftovers may go.
        invalid: objects whose manifest cannot be used at present and that stand in the graph as they were last good → what is wrong.
            Nothing is done to them; they hold nothing else up.
    """
    expansion = expand_all(view, kinds)
    planner = _Planner(expansion, kinds, invalid or {})
    results: dict[ObjectKey, ObjectPlan] = {}
    for key in evaluation_order(expansion.view.graph):
        results[key] = planner.object(expansion.view.graph.objects[key], results)
    for entry in leftovers(expansion, kinds, prune_off):
        results[entry.key] = entry
    return Plan(view.project.name, account, results, expansion.view.graph)


@dataclass(frozen=True)
class _Planner:
    expansion: Expansion
    kinds: Kinds
    invalid: Mapping[ObjectKey, str]

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
        change = self._change(obj, seen, bool(children))
        if change.pending or change.block is Block.WAITING:
            change = replace(change, after=after)
        cost = attempt(kind.cost, obj, seen, self.view)
        if isinstance(cost, tuple):
            change = replace(change, cost=Cost(*cost))
        settled = change.action is Action.NONE or change.block is Block.HELD or change.block_reason == INVALID
        ready = settled and self._fine(seen, bool(children)) and all(done[c].ready for c in children if c in done)
        return ObjectPlan(obj.key, obj, seen, change, ready, children, seen.mark)

    @staticmethod
    def _fine(seen: Observation, composite: bool) -> bool:
        return seen.health in _FINE and (seen.exists or composite)

    def _without_ignored(self, obj: DesiredObject, seen: Observation) -> Observation:
        ignored = self._lineage(obj)[-1].manifest.metadata.ignore + obj.manifest.metadata.ignore
        kept = tuple(f for f in seen.drift if not any(f.path == path or f.path.startswith(path + ".") for path in ignored))
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
        owned = claim(obj, seen, self.view.project.name)
        if owned.refused:
            return _blocked(obj.key, Refusal(Block.STALLED, owned.message, owned.reason))
        if not seen.exists:
            return self._create(obj, seen, composite, refusal)
        immutable = [f for f in seen.drift if f.immutable]
        if immutable:
            return self._immutable(obj, seen, immutable, owned.owner)
        if owned.owner is Owner.ADOPTABLE or seen.drift:
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
        if any(o.manifest.metadata.suspend for o in line):
            text, reason = "metadata.suspend is true: nothing is changed", "Suspended"
        elif any(o.manifest.metadata.management_policy is ManagementPolicy.OBSERVE for o in line):
            text, reason = "managementPolicy is observe: differences are only reported", "ObserveOnly"
        else:
            return None
        if seen.exists and not seen.drift:
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
        reason = "taken over: it carries no mark yet" if adopting else differences(seen.drift)
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
        keeps_data = manifest.holds_data and manifest.deletion_policy is not DeletionPolicy.DELETE
        kept = keeps_data or manifest.metadata.management_policy is not ManagementPolicy.FULL
        if allowed and not kept:
            kind = self.kinds[obj.key.kind]
            steps = attempt(lambda: _replacement(kind.delete(obj.key, self.view), kind.create(obj, self.view)))
            foreign = attempt(lambda: sorted(kind.foreign_inside(obj.key, self.view)))
            for answer in (steps, foreign):
                if isinstance(answer, Refusal):
                    return replace(_blocked(obj.key, answer), fields=seen.drift)
            if isinstance(steps, tuple) and not foreign:
                reason = f"{', '.join(f.path for f in fields)} cannot be changed in place, and metadata.replace is allowed"
                return Change(obj.key, Action.REPLACE, seen.drift, steps, reason, destructive=True)
        texts = [f"{f.path} is {f.before!r}, the manifest says {f.after!r}, and Snowflake cannot change it in place" for f in fields]
        ways = list(dict.fromkeys(f.way_out for f in fields if f.way_out)) or [
            "put the old value back in the manifest, or set metadata.replace: allowed to have the object dropped and made again"
        ]
        return replace(_blocked(obj.key, Refusal(Block.STALLED, "; ".join(texts + ways), "Immutable")), fields=seen.drift)


def _replacement(delete: Sequence[Step], create: Sequence[Step]) -> tuple[Step, ...]:
    return (*delete, *create)


def differences(drift: Sequence[FieldChange]) -> str:
    """Which fields differ, for a sentence."""
    paths = [f.path for f in drift]
    return f"{', '.join(paths)} {'differs' if len(paths) == 1 else 'differ'}" if paths else "differs"


def _blocked(key: ObjectKey, refusal: Refusal, after: tuple[ObjectKey, ...] = ()) -> Change:
    return Change(key, Action.BLOCKED, reason=refusal.message, after=after, block=refusal.block, block_reason=refusal.reason)
