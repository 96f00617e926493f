"""Room on compute pools as part of a plan: what does not fit waits in line, what may yield makes room, what was suspended comes back.

This is a pass over a plan that is otherwise complete. Kinds say what each object takes of which pool (`Kind.load`) and what a pool offers
(`Kind.room`); one SHOW of all services says what is there; `capacity` decides; and here the decision is written into the changes. A
change that may not start is blocked, one that suspends or resumes takes the place of none. Whether something was suspended by us,
and who waits since when, stands in the marks of services and pools, so that nothing is lost with the daemon or its state file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controller.api.base import ManagementPolicy
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import FieldChange, Health, Load, Observation, Room, Step, View
from controller.kinds.tenants import SERVICES, Phase, Tenant, size_of, tenants
from controller.reconcile.events import Reason
from controller.reconcile.planning.capacity import HOPELESS, Decision, Item, State, Verdict, Why, decide
from controller.reconcile.planning.change import Action, Block, Change, ObjectPlan
from controller.reconcile.planning.expand import Kinds, Refusal, attempt
from controller.reconcile.planning.placement_text import Names, held_text, waiting_text

CONDITION = "CapacityHeld"
Entries = Mapping[ObjectKey, ObjectPlan]
_PHASES = {Phase.RUNNING: State.ON, Phase.SUBMITTED: State.SUBMITTED, Phase.LEAVING: State.LEAVING}


def arrange(
    view: View, kinds: Kinds, entries: Entries, invalid: Collection[ObjectKey], failed: Mapping[ObjectKey, str]
) -> dict[ObjectKey, ObjectPlan]:
    """The same plan with each pool's room shared out.

    Args:
        view: with the children of composites.
        invalid: objects that nothing is done to, since their manifests cannot be used.
        failed: objects whose last try stalled → fingerprint of the change that was tried. What cannot even be submitted gets no room.
    """
    result = dict(entries)
    if view.snapshot.offline or not view.snapshot.asked(SERVICES):
        return result
    members = _members(view, kinds, entries, invalid)
    everyone = tenants(view)
    for key, entry in entries.items():
        room = attempt(kinds[key.kind].room, entry.desired, view) if entry.desired is not None else None
        if isinstance(room, Room):
            pool = _Pool(entry, room, members.get(key, []), everyone.get(key.name.name.text, []), view, kinds, failed)
            result.update(pool.arranged(result))
    return result


@dataclass(frozen=True)
class _Member:
    """An object of the project that runs on a pool. `fixed`: nothing is done to it, as somebody asked."""

    entry: ObjectPlan
    obj: DesiredObject
    load: Load
    name: str
    fixed: bool


def _members(view: View, kinds: Kinds, entries: Entries, invalid: Collection[ObjectKey]) -> dict[ObjectKey, list[_Member]]:
    """By pool. Objects of one name in two schemas are told apart by their full names."""
    found = []
    for entry in entries.values():
        load = attempt(kinds[entry.key.kind].load, entry.desired, view) if entry.desired is not None else None
        if isinstance(load, Load) and entry.desired is not None:
            found.append((entry, entry.desired, load))
    shown = [obj.parent or obj.key for _, obj, _ in found]
    often = Counter(str(key) for key in shown)
    result: dict[ObjectKey, list[_Member]] = {}
    for (entry, obj, load), key in zip(found, shown, strict=True):
        name = str(key) if often[str(key)] == 1 else f"{key.kind}/{key.name}"
        result.setdefault(load.pool, []).append(_Member(entry, obj, load, name, _left_alone(obj, view.graph, invalid)))
    return result


def _left_alone(obj: DesiredObject, graph: Graph, invalid: Collection[ObjectKey]) -> bool:
    """Whether a person asked that nothing be done to it, or to the composite that it is part of."""
    metadata = obj.manifest.metadata
    if obj.key in invalid or metadata.suspend or metadata.management_policy is ManagementPolicy.OBSERVE:
        return True
    parent = graph.get(obj.parent) if obj.parent is not None else None
    return parent is not None and _left_alone(parent, graph, invalid)


@dataclass
class _Pool:
    """One pool's part of the plan."""

    entry: ObjectPlan
    room: Room
    members: Sequence[_Member]
    tenants: Sequence[Tenant]
    view: View
    kinds: Kinds
    failed: Mapping[ObjectKey, str]
    states: dict[str, State] = field(default_factory=dict)  # of members, by name

    def __post_init__(self) -> None:
        self.here: dict[ObjectKey, Tenant] = {tenant.key: tenant for tenant in self.tenants if tenant.key is not None}
        self.decision: Decision = Decision()

    def arranged(self, entries: Entries) -> dict[ObjectKey, ObjectPlan]:
        """The entries that differ now."""
        items = [*self._there(), *self._wanting()]
        self.decision = decide([self.room.node] * self.room.nodes, items, self.room.queue)
        names = Names(self.entry.key, self.room, {member.name: member.load for member in self.members}, self.decision)
        changed: dict[ObjectKey, ObjectPlan] = {}
        for member in self.members:
            entry = self._member(member, names)
            if entry is not member.entry:
                changed[entry.key] = entry
                changed.update(_parents(entry, {**entries, **changed}))
        changed[self.entry.key] = self._pool(entries, items)
        return changed

    # ---- what there is -----------------------------------------------------------------------------------------------------------------

    def _there(self) -> Iterator[Item]:
        """What has room, or had it until now."""
        by_key = {member.entry.key: member for member in self.members}
        for tenant in self.tenants:
            member = by_key.get(tenant.key) if tenant.key is not None else None
            if tenant.phase is Phase.AT_REST:
                continue
            if member is None:
                size = size_of(tenant, self.room, self.view)
                yield Item(tenant.shown, size, _PHASES[tenant.phase], tenant.instances, job=tenant.job, ours=False)
                continue
            name, load = member.name, member.load
            if load.job and (tenant is not self.here[member.entry.key] or self._wants(member, tenant)):
                name = f"{member.name} (job {tenant.name.name})"  # of an earlier run, while another is due
            else:
                self.states[name] = _PHASES[tenant.phase]
            preemptible = load.preemptible and not (member.fixed or tenant.paused)
            yield Item(name, load.size, _PHASES[tenant.phase], tenant.instances, load.priority, load.job, preemptible)

    def _wanting(self) -> Iterator[Item]:
        for member in self.members:
            if member.name in self.states or member.fixed:
                continue
            tenant, load, state = self.here.get(member.entry.key), member.load, None
            if tenant is not None and tenant.held and not tenant.paused and not load.job:
                state = State.HELD
            elif self._wants(member, tenant):
                state = State.WAITING
            elif load.job and _finishing(member.entry):
                state = State.ON  # its result is on its way, and decides who is next
            if state is not None:
                self.states[member.name] = state
                yield Item(member.name, load.size, state, load.instances, load.priority, load.job, load.preemptible)

    def _wants(self, member: _Member, tenant: Tenant | None) -> bool:
        """Whether its change would start something now."""
        change = member.entry.change
        if not change.runnable or self.failed.get(change.key) == change.fingerprint:
            return False
        return member.load.job or tenant is None or any(f.path == "suspended" for f in change.fields)

    # ---- what becomes of it ------------------------------------------------------------------------------------------------------------

    def _member(self, member: _Member, names: Names) -> ObjectPlan:
        entry, name, tenant = member.entry, member.name, self.here.get(member.entry.key)
        if entry.change.pending and member.load.priority:
            entry = replace(entry, change=replace(entry.change, priority=member.load.priority))
        verdict = self.decision.off.get(name)
        held = tenant.held if tenant is not None and not member.load.job else ""
        state = self.states.get(name)
        if name in self.decision.hold:
            return self._hold(entry, member, names, self.decision.hold[name])
        if verdict is not None and state is State.HELD:
            return self._stay_held(entry, member, names, verdict, held)
        if verdict is not None:
            return _waiting(entry, names, name, verdict, submitted=state is State.SUBMITTED)
        if state is State.LEAVING and held:
            return _told(entry, held_text(names, held, None), "Preempted", Health.SUSPENDED, ready=False)
        if held and not member.fixed and (name in self.decision.start or state is State.ON):
            return self._release(entry, member, names, held)
        if name in self.decision.start and self._asleep and self.room.rests:
            return replace(entry, change=replace(entry.change, after=(self.entry.key,)))
        return entry

    def _hold(self, entry: ObjectPlan, member: _Member, names: Names, by: str) -> ObjectPlan:
        text = f"makes room on {names.pool} for {names.ranked(by)}"
        steps = attempt(self.kinds[entry.key.kind].hold, member.obj, by, self.view)
        fields = (FieldChange("suspended", False, True),)
        return _changed(_told(entry, text, "Preempted", None, ready=False), steps, text, Reason.PREEMPTED, fields)

    def _stay_held(self, entry: ObjectPlan, member: _Member, names: Names, verdict: Verdict, held: str) -> ObjectPlan:
        """Its mark names whom it is held for; when that one is gone and another has its room, it names the other."""
        lasting = verdict.why is Why.NO_ROOM
        alive = held in self.states and self.states[held] is not State.LEAVING
        by = held if (alive and not lasting) or not verdict.by else verdict.by[0]
        text = held_text(names, by, verdict)
        told = _told(entry, text, "Displaced" if lasting else "Preempted", Health.SUSPENDED, ready=lasting)
        if entry.change.action in (Action.CREATE, Action.REPLACE):
            return replace(told, change=_blocked(entry.change, text, Block.WAITING, "Preempted"))
        if by == held or entry.change.pending:
            return told
        steps = attempt(self.kinds[entry.key.kind].hold, member.obj, by, self.view)
        return _changed(told, steps, text, Reason.PREEMPTED, (FieldChange("heldFor", held, by),))

    def _release(self, entry: ObjectPlan, member: _Member, names: Names, held: str) -> ObjectPlan:
        """What else is to be changed goes first, while it is suspended: it comes back as its manifest says."""
        change = entry.change
        if change.runnable and self.failed.get(entry.key) != change.fingerprint:
            return replace(entry, ready=False)
        if self._asleep and self.room.rests:
            return replace(entry, ready=False)
        text = f"comes back after {held}"
        steps = attempt(self.kinds[entry.key.kind].release, member.obj, self.view)
        fields = (FieldChange("suspended", True, False),) if self.states.get(member.name) is State.HELD else ()
        return _changed(replace(entry, ready=False), steps, text, Reason.RESUMED, fields)

    # ---- the pool itself ---------------------------------------------------------------------------------------------------------------

    @property
    def _asleep(self) -> bool:
        return self.room.state == "SUSPENDED"

    def _pool(self, entries: Entries, items: Sequence[Item]) -> ObjectPlan:
        entry = self.entry
        if entry.observation is None or not entry.observation.exists:
            return entry
        holders = [item.name for item in items if item.state in (State.ON, State.SUBMITTED, State.LEAVING)]
        held = sorted(name for name, state in self.states.items() if state is State.HELD)
        lists = {"holders": sorted(holders), "queue": list(self.decision.queue), "suspended": held}
        waits = ", ".join(self.decision.queue)
        conditions = {**entry.observation.conditions}
        if waits:
            conditions[CONDITION] = (True, "Queue", f"waiting for room, in this order: {waits}")
        observed = {**entry.observation.observed, **{key: value for key, value in lists.items() if value}}
        entry = replace(entry, observation=replace(entry.observation, observed=observed, conditions=conditions))
        if entry.desired is None or entry.mark is None or entry.change.action is not Action.NONE:
            return entry
        if _left_alone(entry.desired, self.view.graph, ()):
            return entry
        kind = self.kinds[entry.key.kind]
        if list(self.decision.arrived) != list(self.room.queue):
            steps = attempt(kind.note_queue, entry.desired, self.decision.arrived, self.view)
            return _changed(entry, steps, "who waits for its room has changed", None)
        if not self.room.rests:
            return entry
        if self._asleep and self.decision.start:
            text = f"{self.decision.start[0]} is to run on it"
            steps = attempt(kind.release, entry.desired, self.view)
            return _changed(replace(entry, ready=False), steps, text, Reason.RESUMED, (FieldChange("suspended", True, False),))
        if self.room.state in ("IDLE", "ACTIVE") and not self._needed(entries):
            steps = attempt(kind.hold, entry.desired, "", self.view)
            text = "nothing is left to run, and idle is suspend"
            return _changed(replace(entry, ready=False), steps, text, None, (FieldChange("suspended", False, True),))
        return entry

    def _needed(self, entries: Entries) -> bool:
        """Whether anything runs, or will want to: also what this role cannot see, and what waits for something else at present."""
        if any(tenant.phase is not Phase.AT_REST for tenant in self.tenants) or self.room.counted > len(self.tenants) or self.states:
            return True
        users = (e for e in entries.values() if e.desired is not None and self.entry.key in e.desired.references.values())
        return any(not e.ready and e.change.block not in (Block.STALLED, Block.HELD) for e in users)


# ---- writing it into a plan's entries ----------------------------------------------------------------------------------------------------


def _changed(
    entry: ObjectPlan, steps: Sequence[Step] | Refusal, text: str, cause: Reason | None, fields: tuple[FieldChange, ...] = ()
) -> ObjectPlan:
    if isinstance(steps, Refusal):
        return replace(entry, change=Change(entry.key, Action.BLOCKED, reason=steps.message, block=steps.block, block_reason=steps.reason))
    if not steps:
        return entry
    priority, cost = entry.change.priority, entry.change.cost
    said = cause.value if cause is not None else ""
    return replace(entry, change=Change(entry.key, Action.UPDATE, fields, tuple(steps), text, cost=cost, priority=priority, cause=said))


def _told(entry: ObjectPlan, text: str, reason: str, health: Health | None, *, ready: bool) -> ObjectPlan:
    """With a message of what has become of it, a condition, and another health where one is given."""
    seen = entry.observation or Observation(exists=False, health=Health.MISSING)
    conditions = {**seen.conditions, CONDITION: (True, reason, text)}
    told = replace(seen, message=text, reason=reason, health=health or seen.health, conditions=conditions)
    return replace(entry, observation=told, ready=entry.ready and ready)


def _waiting(entry: ObjectPlan, names: Names, name: str, verdict: Verdict, *, submitted: bool) -> ObjectPlan:
    """In line, or without hope; what is in the account already goes on waiting there."""
    hopeless = verdict.why in HOPELESS
    reason = "NeverFits" if hopeless else "Queued"
    text = waiting_text(names, name, verdict)
    told = _told(entry, text, reason, None if submitted or hopeless else Health.PROGRESSING, ready=False)
    place = names.place(name)
    if place and told.observation is not None:
        observed = {**told.observation.observed, "queue": {"pool": names.pool, "position": place[0], "of": place[1]}}
        told = replace(told, observation=replace(told.observation, observed=observed))
    if submitted:
        return told
    return replace(told, change=_blocked(entry.change, text, Block.STALLED if hopeless else Block.WAITING, reason))


def _blocked(change: Change, text: str, block: Block, reason: str) -> Change:
    return Change(
        change.key,
        Action.BLOCKED,
        change.fields,
        reason=text,
        cost=change.cost,
        forecast=change.forecast,
        block=block,
        block_reason=reason,
    )


def _parents(child: ObjectPlan, entries: Entries) -> dict[ObjectKey, ObjectPlan]:
    """The composite of a child that was told something says the same, as it is what people look at."""
    parent = entries.get(child.desired.parent) if child.desired is not None and child.desired.parent is not None else None
    told = child.observation.conditions.get(CONDITION) if child.observation is not None else None
    if parent is None or parent.observation is None:
        return {}
    seen = parent.observation
    if told is not None:
        seen = replace(seen, message=told[2], conditions={**seen.conditions, CONDITION: told})
    return {parent.key: replace(parent, observation=seen, ready=parent.ready and child.ready)}


def _finishing(entry: ObjectPlan) -> bool:
    """A job that has ended and whose result has not been seen yet."""
    seen = entry.observation
    return entry.change.action is Action.NONE and seen is not None and seen.exists and seen.health is Health.PROGRESSING
