"""What the loop tells its listeners after each look: the status of every object, in a form that tables, live views and JSON share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol

from controller.api.objects import Location, ObjectKey
from controller.kinds.base import Health
from controller.reconcile.events import Event
from controller.reconcile.planning.change import Plan, plain


class Sync(StrEnum):
    SYNCED = "Synced"
    OUT_OF_SYNC = "OutOfSync"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Condition:
    """`status` is True, False or Unknown, as text. `last_transition` is None until the state file has seen the condition."""

    type: str
    status: str
    reason: str
    message: str
    observed_generation: int
    last_transition: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": self.observed_generation,
            "lastTransitionTime": self.last_transition.isoformat() if self.last_transition else None,
        }


@dataclass(frozen=True)
class ObjectStatus:
    """One object as people see it. `action` is what is being done or would be; '' when nothing is."""

    key: ObjectKey
    sync: Sync
    health: Health
    message: str = ""
    action: str = ""
    progress: float | None = None  # 0..1
    conditions: tuple[Condition, ...] = ()
    observed: Mapping[str, Any] = field(default_factory=dict)
    children: tuple[ObjectKey, ...] = ()
    parent: ObjectKey | None = None
    location: Location | None = None
    generation: int = 0

    def condition(self, kind: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == kind), None)

    def is_true(self, kind: str) -> bool:
        found = self.condition(kind)
        return found is not None and found.status == "True"

    @cached_property
    def ready(self) -> bool:
        """Worked out once: all objects are asked in each cycle."""
        return self.is_true("Ready")

    @property
    def stalled(self) -> bool:
        return self.is_true("Stalled")

    def out_of_sync(self) -> ObjectStatus:
        """The same, found to differ from its manifest."""
        synced = (replace(c, status="False") if c.type == "Synced" else c for c in self.conditions)
        return replace(self, sync=Sync.OUT_OF_SYNC, conditions=tuple(synced))

    def with_conditions(self, conditions: tuple[Condition, ...]) -> ObjectStatus:
        return replace(self, conditions=conditions)

    def as_dict(self) -> dict[str, Any]:
        return {
            "object": str(self.key),
            "kind": self.key.kind,
            "name": str(self.key.name),
            "generation": self.generation,
            "location": str(self.location) if self.location else None,
            "sync": self.sync.value,
            "health": self.health.value,
            "message": self.message,
            "action": self.action,
            "progress": self.progress,
            "conditions": [c.as_dict() for c in self.conditions],
            "observed": plain(dict(self.observed)),
            "children": [str(key) for key in self.children],
            "parent": str(self.parent) if self.parent else None,
        }


@dataclass(frozen=True)
class Report:
    """One look of the loop. `problems` are the texts of what is wrong in the files, `notes` say which of them stand with their last
    good text; `error` is set when the account could not be read, `tries` times in a row. `standby` says who else works on the project: then
    nothing was looked at."""

    project: str
    statuses: tuple[ObjectStatus, ...] = ()
    plan: Plan | None = None
    events: tuple[Event, ...] = ()  # since the last report
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    working: tuple[ObjectKey, ...] = ()
    error: str = ""
    tries: int = 0
    settled: bool = False
    standby: str = ""

    @property
    def ready(self) -> bool:
        return not self.error and not self.standby and not self.problems and all(status.ready for status in self.statuses)

    @property
    def failed(self) -> list[ObjectStatus]:
        """The objects that are not ready, those that a person must look at first."""
        return sorted((s for s in self.statuses if not s.ready), key=lambda s: not s.stalled)


class Listener(Protocol):
    def __call__(self, report: Report) -> None: ...
