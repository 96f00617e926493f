"""What happened, in words that do not change: the reasons of all events stand here, so that scripts and people can rely on them.

An event that repeats is counted, not written again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from controller.api.names import NameProblem, QualifiedName
from controller.api.objects import ObjectKey


class Reason(StrEnum):
    # work on one object
    CREATED = "Created"
    UPDATED = "Updated"
    REPLACED = "Replaced"
    DELETED = "Deleted"
    ADOPTED = "Adopted"
    # what was found
    DRIFTED = "DriftDetected"  # somebody changed it by hand
    CHANGED = "ManifestChanged"  # its manifest asks for something else now
    READY = "Ready"
    NOT_READY = "NotReady"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    # how far a job is, once for each attempt and phase
    LOADING = "Loading"
    READING_ROWS = "ReadingRows"
    EVALUATING = "Evaluating"
    TRAINING = "Training"
    SAVING = "Saving"
    # room on compute pools
    PREEMPTED = "Preempted"  # suspended to make room
    RESUMED = "Resumed"  # back after that, or by `snowcat resume`
    CAPACITY_HELD = "CapacityHeld"  # waits in line
    # what stands in the way
    RETRYING = "Retrying"  # transient: tried again by itself
    STALLED = "Stalled"  # a person must act
    WAITING = "Waiting"
    SUSPENDED = "Suspended"
    INVALID = "InvalidManifest"
    # the whole project
    UNREACHABLE = "AccountUnreachable"
    REACHABLE = "AccountReachable"
    REQUESTED = "ReconcileRequested"


class EventType(StrEnum):
    NORMAL = "Normal"
    WARNING = "Warning"


_WARNINGS = frozenset(
    {Reason.DRIFTED, Reason.DEGRADED, Reason.RETRYING, Reason.STALLED, Reason.INVALID, Reason.UNREACHABLE, Reason.NOT_READY}
)


def type_of(reason: Reason) -> EventType:
    return EventType.WARNING if reason in _WARNINGS else EventType.NORMAL


def key_of(name: str) -> ObjectKey | None:
    """The key of an object as the state file names it; None for the whole project, or for a name written by hand."""
    kind, slash, rest = name.partition("/")
    try:
        return ObjectKey(kind, QualifiedName.parse(rest)) if slash else None
    except NameProblem:
        return None


@dataclass(frozen=True)
class Event:
    """One entry of the history. `time` is when it was last seen, `first` when it was first."""

    time: datetime
    first: datetime
    object: str
    type: str
    reason: str
    message: str
    count: int = 1
    generation: int = 0
    statement_id: str = ""

    @property
    def key(self) -> ObjectKey | None:
        """The object, also one that is in no manifest any more; None for an event of the whole project."""
        return key_of(self.object)

    def as_dict(self) -> dict[str, Any]:
        return {
            "time": self.time.isoformat(),
            "first": self.first.isoformat(),
            **{k: v for k, v in asdict(self).items() if k not in ("time", "first", "statement_id")},
            "statementId": self.statement_id,
        }
