"""Conditions, sync and health of an object, computed here and nowhere else.

Pure: the plan's entry, the last failure and whether somebody works on the object go in. Transition times are added by the state file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.account.redact import redact
from controller.api.objects import Location, ObjectKey
from controller.kinds.base import Health
from controller.manifests.problems import place_of
from controller.reconcile.pause import PAUSED, is_paused
from controller.reconcile.planning.change import Action, Block, ObjectPlan, Plan
from controller.reconcile.report import Condition, ObjectStatus, Sync
from controller.reconcile.work.backoff import Failure, FailureClass

_WORST = (Health.MISSING, Health.DEGRADED, Health.PROGRESSING, Health.SUSPENDED, Health.HEALTHY)


@dataclass(frozen=True)
class Context:
    """What the loop knows beside the plan."""

    failures: Mapping[ObjectKey, Failure]
    working: Mapping[ObjectKey, str]  # key → what is being done, from workers
    generations: Mapping[ObjectKey, int]


@dataclass(frozen=True, slots=True)
class Source:
    """What an object's status follows from, beside the statuses of its children."""

    entry: ObjectPlan
    failure: Failure | None
    working: str | None
    generation: int
    children: int  # of those, how many are in the plan


@dataclass(frozen=True, slots=True)
class Made:
    """A status, and what it was made from."""

    status: ObjectStatus
    source: Source


def statuses(plan: Plan, context: Context) -> list[ObjectStatus]:
    """The status of each object of a plan, children before their composites, in the plan's order."""
    return [made.status for made in made_again(plan, context, {}).values()]


def made_again(plan: Plan, context: Context, before: Mapping[ObjectKey, Made]) -> dict[ObjectKey, Made]:
    """As `statuses`, with those of `before` (the look before) where nothing has moved that they follow from: the very same values."""
    done: dict[ObjectKey, Made] = {}
    for entry in plan:
        key = entry.key
        children = [done[child] for child in entry.children if child in done]
        failure, working = context.failures.get(key), context.working.get(key)
        source = Source(entry, failure, working, context.generations.get(key, 0), len(children))
        known = before.get(key)
        if known is None or known.source != source or any(child is not before.get(child.status.key) for child in children):
            known = Made(status_of(entry, context, [child.status for child in children]), source)
        done[key] = known
    return done


def status_of(entry: ObjectPlan, context: Context, children: Sequence[ObjectStatus] = ()) -> ObjectStatus:
    """One object's status; a composite's health and sync are the worst of its own and its children's."""
    failure = live_failure(entry, context.failures.get(entry.key))
    working = context.working.get(entry.key)
    generation = context.generations.get(entry.key, 0)
    sync = _sync(entry, children)
    health = _health(entry, children, working)
    message = redact(_message(entry, failure, working, children))
    conditions = _conditions(entry, sync, health, message, failure, working, children, generation)
    desired = entry.desired
    return ObjectStatus(
        key=entry.key,
        sync=sync,
        health=health,
        message=message,
        action=entry.change.action.value if entry.change.pending else "",
        progress=entry.observation.progress if entry.observation else None,
        conditions=tuple(conditions),
        observed=entry.observation.observed if entry.observation else {},
        children=entry.children,
        parent=desired.parent if desired else None,
        location=desired.location if desired else None,
        generation=generation,
    )


def invalid(key: ObjectKey, message: str, location: Location | None) -> ObjectStatus:
    """The status of an object whose manifest cannot be used; what the account has is left as it is."""
    conditions = tuple(
        Condition(kind, status, "InvalidManifest", message, 0)
        for kind, status in (("Synced", "Unknown"), ("Ready", "False"), ("Progressing", "False"), ("Stalled", "True"))
    )
    return ObjectStatus(key, Sync.UNKNOWN, Health.DEGRADED, message, conditions=conditions, location=location)


def live_failure(entry: ObjectPlan, failure: Failure | None) -> Failure | None:
    """The last failure, as long as what was tried then is still what would be done."""
    return failure if failure and entry.change.pending and failure.fingerprint == entry.change.fingerprint else None


def _sync(entry: ObjectPlan, children: Sequence[ObjectStatus]) -> Sync:
    change = entry.change
    if change.pending or change.fields or (change.block is Block.STALLED and entry.observation is not None):
        return Sync.OUT_OF_SYNC
    if entry.observation is None:
        return Sync.UNKNOWN
    if not entry.observation.exists and not children:
        return Sync.OUT_OF_SYNC
    return Sync.SYNCED if all(child.sync is Sync.SYNCED for child in children) else Sync.OUT_OF_SYNC


def _health(entry: ObjectPlan, children: Sequence[ObjectStatus], working: str | None) -> Health:
    seen = entry.observation
    if seen is None:
        own = Health.DEGRADED if entry.change.block is Block.STALLED else Health.PROGRESSING
    elif not seen.exists and not children:
        own = seen.health if seen.health in (Health.PROGRESSING, Health.DEGRADED) else Health.MISSING
    else:
        own = seen.health
    if working is not None and own is Health.MISSING:
        own = Health.PROGRESSING
    if _is_paused(entry) and own in (Health.HEALTHY, Health.MISSING):
        own = Health.SUSPENDED
    return min([own, *(Health.PROGRESSING if c.health is Health.MISSING else c.health for c in children)], key=_WORST.index)


def _where(entry: ObjectPlan) -> str:
    """Which manifest a person must look at for what the account, or we, refuse."""
    return f" ({place_of(entry.desired.location)})" if entry.desired is not None else ""


def _is_paused(entry: ObjectPlan) -> bool:
    """By `snowcat suspend`: the object itself, or the composite that it is part of."""
    return is_paused(entry.mark) or entry.change.block_reason == PAUSED


def _message(entry: ObjectPlan, failure: Failure | None, working: str | None, children: Sequence[ObjectStatus]) -> str:
    """The one thing that a person should read first."""
    change, seen = entry.change, entry.observation
    if working is not None and not entry.ready:  # the look may see the end of work whose result nobody has taken yet
        return working or f"{change.action.value} under way"
    if failure is not None:
        return failure.message
    if change.after:
        return "waits for " + ", ".join(str(key) for key in change.after)
    if change.action is Action.BLOCKED:
        return change.reason
    if change.pending:
        return change.reason
    if seen is not None and seen.message:
        return seen.message
    lagging = next((child for child in children if not child.ready), None)
    return f"{lagging.key}: {lagging.message}" if lagging else ""


def _conditions(
    entry: ObjectPlan,
    sync: Sync,
    health: Health,
    message: str,
    failure: Failure | None,
    working: str | None,
    children: Sequence[ObjectStatus],
    generation: int,
) -> list[Condition]:
    def condition(kind: str, value: bool | None, reason: str, text: str = "") -> Condition:
        return Condition(kind, "Unknown" if value is None else str(value), reason, text, generation)

    change, seen = entry.change, entry.observation
    stalled = (failure is not None and failure.kind is FailureClass.STALLED) or change.block is Block.STALLED
    stall_reason = failure.reason if failure else change.block_reason or "Stalled"
    undisturbed = working is None or change.pending  # what is ready with a change pending is only written a note
    ready = entry.ready and not stalled and undisturbed and all(child.ready for child in children)
    busy = working is not None or (health is Health.PROGRESSING and not stalled) or (change.runnable and not stalled)
    if ready:
        ready_reason = (seen.reason if seen else "") or "Ready"
    elif stalled:
        ready_reason = stall_reason
    elif change.after:
        ready_reason = "DependencyNotReady"
    else:
        ready_reason = (seen.reason if seen else "") or change.block_reason or health.value
    sync_reason = {
        Sync.SYNCED: "InSync",
        Sync.OUT_OF_SYNC: change.block_reason or "Differs",
        Sync.UNKNOWN: change.block_reason or "Unknown",
    }
    result = [
        condition("Synced", {Sync.SYNCED: True, Sync.OUT_OF_SYNC: False, Sync.UNKNOWN: None}[sync], sync_reason[sync], change.reason),
        condition("Ready", ready, ready_reason, message),
        condition("Progressing", busy, ("Working" if working is not None else "Progressing") if busy else "Idle", message if busy else ""),
        condition("Stalled", stalled, stall_reason if stalled else "NotStalled", f"{message}{_where(entry)}" if stalled else ""),
    ]
    suspended = entry.desired is not None and entry.desired.manifest.metadata.suspend
    paused = _is_paused(entry)
    if suspended or paused or health is Health.SUSPENDED:
        reason = PAUSED if paused else "SuspendedInManifest" if suspended else "SuspendedInAccount"
        if seen is not None and "CapacityHeld" in seen.conditions:
            reason = seen.conditions["CapacityHeld"][1]
        result.append(condition("Suspended", True, reason, message))
    for kind, (value, reason, text) in (seen.conditions if seen else {}).items():
        result.append(condition(kind, value, reason, redact(text)))
    return result
