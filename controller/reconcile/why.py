"""Why is it not ready? From an object along what it waits for to the one cause that a person must look at. Pure.

An object may wait for several others, and those for more; the chain that is told leads to the cause that weighs most: what a person must
mend goes before what mends itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from controller.account.errors import GRANTS
from controller.api.base import ManagementPolicy
from controller.api.objects import ObjectKey
from controller.kinds.base import Health
from controller.reconcile.pause import is_paused, told
from controller.reconcile.planning.change import Block, ObjectPlan, Plan
from controller.reconcile.report import ObjectStatus

_JOBS = frozenset({"FineTuneJob", "BaseModel"})
_RUN_CONTAINERS = frozenset({"Service", "ModelDeployment", "Workspace", *_JOBS})
_CAPACITY = frozenset({"NoCapacity", "AtMaximum", "PoolError", "Queued", "NeverFits", "Preempted", "Displaced"})
_OWN = frozenset(
    {
        *("InvalidManifest", "Immutable", "NotOwned", "OwnedByOtherProject", "ProjectRenamed", "HoldsForeignObjects", "PruneLimit"),
        *("GateHeld", "CannotChange", "NeedsAdministrator", "OwnRole", "SystemPool"),
    }
)
"""Reasons that stand for themselves: no other object would make them go away."""


class Cause(IntEnum):
    """What kind of thing the root cause is, the weightiest first."""

    MANIFEST = 0  # a file is wrong
    SECRET = 1  # a secret has no value
    STALLED = 2  # a person must act
    JOB = 3  # a job failed
    CONTAINER = 4  # a container fails
    CAPACITY = 5  # there is no node for it
    SUSPENDED = 6  # somebody wants it to stand still
    RETRYING = 7  # the account refused or did not answer; tried again by itself
    LEADER = 8  # another process leads, and has not done it yet
    PENDING = 9  # nobody has done it yet
    WORKING = 10  # it is under way
    FINE = 11


@dataclass(frozen=True)
class Link:
    """One object of the chain. `relation` says what it is to the one before: `waits for`, `has the part`, …; '' for the first."""

    key: ObjectKey
    relation: str
    status: ObjectStatus

    def as_dict(self) -> dict[str, Any]:
        ready = self.status.condition("Ready")
        return {
            "object": str(self.key),
            "relation": self.relation,
            "sync": self.status.sync.value,
            "health": self.status.health.value,
            "reason": ready.reason if ready else "",
            "message": self.status.message,
            "location": str(self.status.location) if self.status.location else None,
        }


@dataclass(frozen=True)
class Why:
    """`chain` leads from the asked object to the root. `logs` says whether what a container wrote tells more."""

    chain: tuple[Link, ...]
    cause: Cause
    advice: str
    logs: bool = False

    @property
    def root(self) -> Link:
        return self.chain[-1]

    def as_dict(self) -> dict[str, Any]:
        chain = [link.as_dict() for link in self.chain]
        return {"object": chain[0]["object"], "cause": self.cause.name.lower(), "root": chain[-1], "chain": chain, "advice": self.advice}


def why(key: ObjectKey, plan: Plan, statuses: Mapping[ObjectKey, ObjectStatus], leader: str = "") -> Why:
    """The chain from one object to its root cause.

    Args:
        statuses: of all objects of the plan, and of those whose manifests cannot be used.
        leader: who may change the account at present, '' when nobody is known to.

    Raises:
        KeyError: nothing is known of the object.
    """
    return _Walk(plan, statuses, leader).from_(key)


@dataclass
class _Walk:
    plan: Plan
    statuses: Mapping[ObjectKey, ObjectStatus]
    leader: str
    known: dict[ObjectKey, Why] = field(default_factory=dict)
    open: set[ObjectKey] = field(default_factory=set)

    def from_(self, key: ObjectKey) -> Why:
        first, *rest = self._chain(key, "").chain
        found = self.known[key]
        return Why((Link(first.key, "", first.status), *rest), found.cause, found.advice, found.logs)

    def _chain(self, key: ObjectKey, relation: str) -> Why:
        if key not in self.known:
            self.open.add(key)
            self.known[key] = self._follow(key)
            self.open.discard(key)
        found = self.known[key]
        return Why((Link(key, relation, found.chain[0].status), *found.chain[1:]), found.cause, found.advice, found.logs)

    def _follow(self, key: ObjectKey) -> Why:
        status = self.statuses[key]
        entry = self.plan.objects.get(key)
        here = Link(key, "", status)
        own = self._own(status, entry)
        if own is Cause.FINE:
            return Why((here,), own, "nothing to do")
        others = [(other, how) for other, how in self._blockers(status, entry) if other in self.statuses and other not in self.open]
        below = [found for other, how in others if (found := self._chain(other, how)).cause is not Cause.FINE]
        if below and not self._final(own, status):
            deepest = min(below, key=lambda found: (found.cause, found.chain[0].key))
            if own >= deepest.cause or own > Cause.CAPACITY:
                return Why((here, *deepest.chain), deepest.cause, deepest.advice, deepest.logs)
        return Why((here,), own, self._advice(own, status, entry), self._has_logs(own, key))

    @staticmethod
    def _final(own: Cause, status: ObjectStatus) -> bool:
        """Whether the cause is the object's own, whatever else is not ready."""
        ready = status.condition("Ready")
        return own is Cause.MANIFEST or (own is Cause.STALLED and ready is not None and ready.reason in _OWN)

    def _blockers(self, status: ObjectStatus, entry: ObjectPlan | None) -> Iterator[tuple[ObjectKey, str]]:
        """What is not ready and may be why, each with what it is to the object."""
        if entry is None:
            return
        parent = entry.desired.parent if entry.desired else None
        if parent is not None and entry.change.block is Block.HELD:
            yield parent, "is part of"
        yield from ((key, "waits for") for key in entry.change.after)
        yield from ((key, "has the part") for key in entry.children if key in self.statuses and not self.statuses[key].ready)
        needed = entry.desired.depends_on if entry.desired else frozenset()
        for key in sorted(needed - {parent} - set(entry.change.after)):
            if key in self.statuses and not self.statuses[key].ready:
                yield key, "needs"

    def _own(self, status: ObjectStatus, entry: ObjectPlan | None) -> Cause:
        """What the object's own state says, before anything else is looked at."""
        ready = status.condition("Ready")
        change = entry.change if entry else None
        reasons = {ready.reason if ready else "", change.block_reason if change else ""}
        if "InvalidManifest" in reasons:
            return Cause.MANIFEST
        if reasons & _CAPACITY and not status.ready:
            return Cause.CAPACITY
        if _suspended(status, entry):
            return Cause.SUSPENDED
        if status.ready:
            return Cause.FINE
        if status.stalled:
            return Cause.SECRET if status.key.kind == "Secret" else Cause.JOB if status.key.kind in _JOBS else Cause.STALLED
        if change is not None and change.block is Block.HELD:
            return Cause.SUSPENDED
        if status.health is Health.DEGRADED:
            kind = status.key.kind
            return Cause.JOB if kind in _JOBS else Cause.CONTAINER if kind in _RUN_CONTAINERS else Cause.STALLED
        if change is not None and change.runnable:
            if status.message and status.message != change.reason and not status.is_true("Progressing"):
                return Cause.RETRYING
            return Cause.LEADER if self.leader else Cause.PENDING
        return Cause.WORKING

    @staticmethod
    def _has_logs(own: Cause, key: ObjectKey) -> bool:
        return own in (Cause.JOB, Cause.CONTAINER) and key.kind in _RUN_CONTAINERS

    def _advice(self, own: Cause, status: ObjectStatus, entry: ObjectPlan | None) -> str:
        key = status.key
        texts = {
            Cause.MANIFEST: f"mend {status.location or 'the file'}; 'snowcat validate' checks it without an account",
            Cause.SECRET: "give the secret its value where valueFrom points to; for an environment variable start snowcat again with it",
            Cause.STALLED: f"do what the message says; 'snowcat reconcile {key}' then tries again at once",
            Cause.JOB: f"'snowcat logs {key}' shows all that it wrote; when the cause is mended, 'snowcat reconcile {key}' starts it again",
            Cause.CONTAINER: f"'snowcat logs {key} -f' shows all that it writes; a change of its manifest starts it anew",
            Cause.CAPACITY: _room_advice(status, entry),
            Cause.RETRYING: "nothing: it is tried again by itself, later each time",
            Cause.LEADER: f"nothing: {self.leader}, and does it with its next look; should it be gone, another process takes over",
            Cause.PENDING: "'snowcat apply' does it, or 'snowcat run' keeps doing it",
            Cause.WORKING: f"wait: it is under way; 'snowcat get {key}' shows how far",
        }
        if own is Cause.SUSPENDED:
            return _wake_up(entry)
        if own is Cause.STALLED and any(c.type == "Stalled" and c.reason == "Denied" for c in status.conditions):
            return f"{GRANTS}; 'snowcat reconcile {key}' then tries again at once"
        return texts[own]


def _room_advice(status: ObjectStatus, entry: ObjectPlan | None) -> str:
    """Waiting helps, but not what is too large for the pool as both stand in their manifests."""
    ready = status.condition("Ready")
    if "NeverFits" not in {ready.reason if ready else "", entry.change.block_reason if entry else ""}:
        return "wait for what is on the nodes to end, raise maxNodes, or name backupInstanceFamilies"
    place = f" in {status.location}" if status.location else ""
    return f"waiting does not help: give the pool an instanceFamily with larger nodes, or more maxNodes, or ask for less resources{place}"


def _suspended(status: ObjectStatus, entry: ObjectPlan | None) -> bool:
    """Whether it stands still because somebody wants it so, and whoever asks may have forgotten."""
    if entry is not None and entry.desired is not None and entry.desired.manifest.metadata.suspend:
        return True
    if entry is not None and is_paused(entry.mark):
        return True
    return status.is_true("Suspended") and not status.ready and not (entry is not None and entry.change.pending)


def _wake_up(entry: ObjectPlan | None) -> str:
    if entry is not None and entry.mark is not None and is_paused(entry.mark):
        return told(entry.mark)
    if entry is not None and entry.desired is not None:
        metadata = entry.desired.manifest.metadata
        if metadata.suspend:
            return f"take metadata.suspend: true out of {entry.desired.location}"
        if metadata.management_policy is ManagementPolicy.OBSERVE:
            return f"managementPolicy is observe: make it as you want it by hand, or take that line out of {entry.desired.location}"
    return "its message says what keeps it as it is"
