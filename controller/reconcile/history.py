"""Events from the difference between two looks: what drifted, became ready, stalled. Written once, outside the loop's control flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from controller.account.redact import redact
from controller.api.objects import ObjectKey
from controller.kinds.base import FieldChange, Health
from controller.reconcile.events import Reason
from controller.reconcile.pause import PAUSED
from controller.reconcile.planning.change import Action, Block, Change, ObjectPlan, Plan, plain
from controller.reconcile.report import ObjectStatus
from controller.reconcile.state import State
from controller.reconcile.work.backoff import Failure, FailureClass
from controller.reconcile.work.execute import Done

_DONE = {
    Action.CREATE: Reason.CREATED,
    Action.UPDATE: Reason.UPDATED,
    Action.REPLACE: Reason.REPLACED,
    Action.DELETE: Reason.DELETED,
    Action.ADOPT: Reason.ADOPTED,
}
_PHASES = {
    "load": Reason.LOADING,
    "data": Reason.READING_ROWS,
    "eval": Reason.EVALUATING,
    "train": Reason.TRAINING,
    "save": Reason.SAVING,
}
_LOOKED_BACK = 50  # events of an object


def compare(state: State, now: Plan, statuses: Iterable[ObjectStatus], before: Mapping[ObjectKey, ObjectStatus]) -> None:
    """Write the events of one look."""
    for status in statuses:
        old = before.get(status.key)
        entry = now.objects.get(status.key)
        generation = status.generation
        if entry is not None:
            _differences(state, entry, status, old)
        _suspensions(state, status, old)
        _phase(state, status, old)
        if status.stalled and not (old and old.stalled and old.message == status.message):
            state.event(status.key, Reason.STALLED, status.message, generation=generation)
        if status.ready and not (old and old.ready):
            if old is not None or state.condition(status.key, "Ready") is None:
                state.event(status.key, Reason.READY, status.message or "as the manifest says, and healthy", generation=generation)
        elif old and old.ready and not status.ready:
            state.event(status.key, Reason.NOT_READY, status.message, generation=generation)
        if status.action == "" and status.is_true("CapacityHeld") and not (old and old.is_true("CapacityHeld")):
            state.event(status.key, Reason.CAPACITY_HELD, status.message, generation=generation)
        if old and status.health is not old.health and status.health in (Health.DEGRADED, Health.PROGRESSING):
            reason = Reason.DEGRADED if status.health is Health.DEGRADED else Reason.PROGRESSING
            state.event(status.key, reason, status.message, generation=generation)


def _suspensions(state: State, status: ObjectStatus, old: ObjectStatus | None) -> None:
    """`snowcat suspend` and `resume`, wherever they were called; told once, though the command has told it here already."""
    paused = _paused(status)
    if old is not None:
        before = _paused(old)
    else:
        known = state.condition(status.key, "Suspended")
        before = known is not None and known[1] == PAUSED
    if paused == before:
        return
    reason, text = (Reason.SUSPENDED, status.message) if paused else (Reason.RESUMED, "by 'snowcat resume'")
    told = [event.reason for event in state.events(status.key, _LOOKED_BACK) if event.reason in (Reason.SUSPENDED, Reason.RESUMED)]
    if not told or told[-1] != reason:
        state.event(status.key, reason, text, generation=status.generation)


def _phase(state: State, status: ObjectStatus, old: ObjectStatus | None) -> None:
    """A job went on to another phase: told once for each attempt, also when the daemon was started anew in between."""
    before = list(_places(old)) if old is not None else []
    for place in _places(status):
        job, phase, model = place
        reason = _PHASES.get(phase)
        if reason is None or place in before:
            continue
        text = job + (f": the {model} model" if model else "")
        if not any((event.reason, event.message) == (reason, text) for event in state.events(status.key, _LOOKED_BACK)):
            state.event(status.key, reason, text, generation=status.generation)


def _places(status: ObjectStatus) -> Iterator[tuple[str, str, str]]:
    """(job, phase, model or nothing) of the job that runs, or of each of a sweep's runs."""
    for row in (status.observed, *(status.observed.get("runs") or ())):
        if row.get("job") is not None:
            yield str(row["job"]), str(row.get("phase") or ""), str(row.get("model") or "")


def _paused(status: ObjectStatus) -> bool:
    condition = status.condition("Suspended")
    return condition is not None and condition.reason == PAUSED


def _differences(state: State, entry: ObjectPlan, status: ObjectStatus, old: ObjectStatus | None) -> None:
    """Somebody changed the account, or the manifest: told apart by whether the generation moved since the object was in sync."""
    change = entry.change
    if old is not None:
        synced, generation = old.is_true("Synced"), old.generation
    else:
        known = state.condition(entry.key, "Synced")
        synced, generation = bool(known and known[0] == "True"), known[2] if known else 0
    reported = change.block is Block.HELD and old is not None and old.message != status.message  # and no repair will ever tell of it
    if not synced and not reported:
        return
    changed = status.generation != generation
    fields = [field for field in change.fields if changed or not field.own]
    if fields and not change.cause:
        state.event(entry.key, Reason.CHANGED if changed else Reason.DRIFTED, _from_to(fields), generation=status.generation)
    elif change.action is Action.CREATE and generation:
        state.event(entry.key, Reason.DRIFTED, "it is gone from the account", generation=status.generation)


def hastened(state: State, change: Change, generation: int) -> None:
    """A manifest was just changed, and its object is worked on before a look at everything has seen the difference."""
    if change.fields:
        state.event(change.key, Reason.CHANGED, _from_to(change.fields), generation=generation)


def _from_to(fields: Sequence[FieldChange]) -> str:
    return "; ".join(f"{f.path}: {plain(f.before)!r} → {plain(f.after)!r}" for f in fields[:5])


def succeeded(state: State, done: Done, generation: int) -> None:
    change = done.change
    reason = Reason(change.cause) if change.cause else _DONE[change.action]
    state.event(change.key, reason, sentence(change), generation=generation, statement_id=done.statement_id)


def failed(state: State, key: ObjectKey, failure: Failure, generation: int) -> None:
    """A stalled object's event comes from its status, which names the same reason."""
    if failure.kind is FailureClass.TRANSIENT:
        state.event(key, Reason.RETRYING, failure.message, generation=generation)
    elif failure.kind is FailureClass.WAITING:
        state.event(key, Reason.WAITING, failure.message, generation=generation)


def sentence(change: Change) -> str:
    """What was done, for an event."""
    if change.action is Action.UPDATE and change.fields and not change.cause:
        return "; ".join(f"{f.path} is now {plain(f.after)!r}" for f in change.fields[:5])
    if change.action is Action.CREATE:  # its reason says what was missing before
        return redact(str(change.steps[0]).partition("\n")[0]) if change.steps else ""
    return change.reason or change.action.value
