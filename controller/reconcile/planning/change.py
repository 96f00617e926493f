"""What planning decides, as values: one `Change` for each object, and the `Plan` that holds them in the order they can be carried out.

The JSON form is a promise to scripts that read `snowcat plan -o json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from controller.account.redact import redact
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import Effect, FieldChange, Forecast, Observation, Sql, Step, Unknown
from controller.kinds.mark import Mark

_JOBS = frozenset({"FineTuneJob", "BaseModel"})
"""Kinds whose work ends some day with a result that others use."""


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    ADOPT = "adopt"
    NONE = "none"
    BLOCKED = "blocked"  # cannot be planned now, or is refused; `Change.block` says which


class Block(StrEnum):
    """Why a change is blocked."""

    WAITING = "waiting"  # something outside must happen first; looked at again by itself
    STALLED = "stalled"  # a person must act
    HELD = "held"  # a person asked for it: suspended, or observed only


@dataclass(frozen=True)
class Cost:
    """Credits per hour, None where the rate is not known."""

    before: float | None
    after: float | None

    @property
    def known(self) -> bool:
        return self.before is not None and self.after is not None


@dataclass(frozen=True)
class Change:
    """One row of a plan. `after` names the objects that must be ready first; while there are any, the steps are not carried out."""

    key: ObjectKey
    action: Action
    fields: tuple[FieldChange, ...] = ()
    steps: tuple[Step, ...] = ()
    reason: str = ""
    after: tuple[ObjectKey, ...] = ()
    cost: Cost | None = None
    destructive: bool = False
    block: Block | None = None
    block_reason: str = ""  # CamelCase, for the condition
    cause: str = ""  # why it is made, for the event; '' when its action says it
    forecast: Forecast | None = None  # what the work that it starts needs, in memory, hours and credits
    priority: int = 0  # of changes that can be carried out now and hold up as much, the higher goes first

    @property
    def runnable(self) -> bool:
        """Whether there is work that can be done now."""
        return self.pending and not self.after

    @property
    def pending(self) -> bool:
        """Whether there is work to do, now or once `after` is ready."""
        return self.action not in (Action.NONE, Action.BLOCKED)

    @property
    def statements(self) -> list[str]:
        """The SQL for people, secrets redacted."""
        return [redact(str(step)) for step in self.steps if isinstance(step, Sql)]

    @property
    def effects(self) -> list[str]:
        return [redact(str(step)) for step in self.steps if isinstance(step, Effect)]

    @property
    def fingerprint(self) -> str:
        """Stands for what would be done: a failure is tried again at once when this has moved."""
        words = [self.action.value, *self.statements, *self.effects, *(f"{f.path}:{f.before}:{f.after}" for f in self.fields)]
        words += [step.rests_on for step in self.steps if isinstance(step, Effect) and step.rests_on]
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "object": str(self.key),
            "action": self.action.value,
            "fields": [{"path": f.path, "from": plain(f.before), "to": plain(f.after)} for f in self.fields],
            "statements": self.statements,
            "effects": self.effects,
            "reason": redact(self.reason),
            "after": [str(key) for key in self.after],
            "cost": {"before": self.cost.before, "after": self.cost.after} if self.cost else None,
            "destructive": self.destructive,
            "blocked": {"by": self.block.value, "reason": self.block_reason} if self.block else None,
        }
        if self.forecast is not None:
            document["forecast"] = plain(dict(self.forecast.document))
        return document


Permit = Callable[[Change, DesiredObject | None], str]
"""Why a planned change is not to be carried out in this run; '' when it may be. The object is None for a leftover."""


def plain(value: Any) -> Any:
    """A value as JSON can hold it; what is not known yet as its text."""
    if isinstance(value, Unknown):
        return str(value)
    try:
        return json.loads(json.dumps(value, default=str))
    except (TypeError, ValueError):
        return str(value)


@dataclass(frozen=True)
class ObjectPlan:
    """Everything known about one object in one look: what is wanted (None for a leftover), what is there, and what would be done."""

    key: ObjectKey
    desired: DesiredObject | None
    observation: Observation | None  # None when it could not be told
    change: Change
    ready: bool = False  # healthy and as the manifest says (children too): its dependents may go on
    children: tuple[ObjectKey, ...] = ()
    mark: Mark | None = None


@dataclass(frozen=True)
class Plan:
    """One look at a whole project. `objects` are in the order in which the changes can be carried out."""

    project: str
    account: str
    objects: Mapping[ObjectKey, ObjectPlan]
    graph: Graph = field(default_factory=lambda: Graph({}))  # with the children of composites

    def __iter__(self) -> Iterator[ObjectPlan]:
        return iter(self.objects.values())

    @property
    def changes(self) -> list[Change]:
        return [entry.change for entry in self]

    @property
    def pending(self) -> list[Change]:
        return [change for change in self.changes if change.pending]

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done: no pending change and nothing that waits or is stalled."""
        return all(c.action is Action.NONE or c.block is Block.HELD for c in self.changes)

    @property
    def destructive(self) -> list[Change]:
        """What would be dropped, or dropped and made again."""
        return [change for change in self.changes if change.destructive and change.pending]

    @property
    def later(self) -> dict[ObjectKey, tuple[ObjectKey, ...]]:
        """Objects with nothing to do now that may change once a planned job has ended, such as the deployment of a fine-tune → the jobs."""
        jobs = {change.key for change in self.pending if change.key.kind in _JOBS}
        found = {e.key: tuple(sorted(jobs & e.desired.depends_on)) for e in self if e.desired and e.change.action is Action.NONE}
        return {key: after for key, after in found.items() if after and key.kind not in _JOBS}

    @property
    def unpriced(self) -> list[ObjectKey]:
        """Objects that cost credits at a rate that is not known: the sum leaves them out."""
        return [change.key for change in self.changes if change.cost and not change.cost.known]

    @property
    def cost(self) -> Cost | None:
        """The sum over the objects whose rates are known; None when nothing here costs credits."""
        costs = [c.cost for c in self.changes if c.cost]
        if not costs:
            return None
        known = [cost for cost in costs if cost.known]
        if not known:
            return Cost(None, None)
        return Cost(round(sum(c.before or 0 for c in known), 4), round(sum(c.after or 0 for c in known), 4))

    def as_dict(self) -> dict[str, Any]:
        cost = self.cost
        return {
            "project": self.project,
            "account": self.account,
            "changes": [change.as_dict() for change in self.changes if change.action is not Action.NONE],
            "later": [{"object": str(key), "after": [str(job) for job in jobs]} for key, jobs in self.later.items()],
            "cost": {"before": cost.before, "after": cost.after, "unknown": [str(key) for key in self.unpriced]} if cost else None,
        }
