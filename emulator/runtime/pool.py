"""A compute pool: nodes that come and go with time, and the state that SHOW COMPUTE POOLS tells.

Times are seconds at time scale 1. Capacity is modelled: a node offers what its instance family has, nothing is measured here.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from emulator.runtime.families import FAMILIES, InstanceFamily
from emulator.runtime.instance import Instance
from emulator.runtime.spec import Resources

NODE_START_SECONDS = 10.0
NODE_STOP_SECONDS = 4.0
#: A node above MIN_NODES that nothing runs on is given back after this time.
SCALE_DOWN_SECONDS = 60.0
ERROR_NO_CAPACITY = "392507"
ERROR_AT_LIMIT = "392508"
NO_CAPACITY = "Compute pool is waiting for a node: no capacity of instance family {family} is available at the moment."
AT_LIMIT = "Compute pool has reached the maximum node limit. Consider increasing max_nodes using the ALTER COMPUTE POOL command."


@dataclass
class Node:
    id: str
    family: InstanceFamily
    created: float
    ready_at: float  # monotonic
    idle_since: float | None = None
    instances: list[Instance] = field(default_factory=list)

    @property
    def free(self) -> Resources:
        left = Resources.of_node(self.family)
        for instance in self.instances:
            left = left.minus(instance.takes)
        return left


class Pool:
    """Runtime side of one pool. The settings are copied in by `configure`; the caller holds the runtime's lock."""

    def __init__(self, name: str, time_scale: float) -> None:
        self.name = name
        self._scale = time_scale
        self.family = FAMILIES["CPU_X64_XS"]
        self.min_nodes = self.max_nodes = 1
        self.auto_suspend_secs = 3600
        self.suspended = False
        self.nodes: list[Node] = []
        self.target = 0
        self.waiting: list[Instance] = []
        self.starved = False  # the cloud has no node of the family
        self._started = time.monotonic()
        self._stopping_since: float | None = None
        self._empty_since: float | None = time.monotonic()

    def configure(self, family: str, min_nodes: int, max_nodes: int, auto_suspend_secs: int, suspended: bool) -> None:
        self.family = FAMILIES[family]
        self.min_nodes, self.max_nodes, self.auto_suspend_secs = min_nodes, max_nodes, auto_suspend_secs
        self.suspended = suspended
        if suspended:
            self.target = 0
        else:
            self.target = max(min_nodes, min(self.target, max_nodes))

    def adopt_nodes(self) -> None:
        """After a restart of the account the nodes are there at once, as nothing happened to them."""
        now = time.monotonic()
        if not self.suspended:
            self.target = self.min_nodes
            self.nodes = [self._node(now) for _ in range(self.target)]

    def resume(self) -> None:
        self.suspended = False
        self._stopping_since = None
        self._started = self._empty_since = time.monotonic()
        self.target = self.min_nodes

    def suspend(self) -> None:
        """Straight to SUSPENDED while no node is there yet."""
        now = time.monotonic()
        self.suspended = True
        self.target = 0
        if not self._ready(now):
            self.nodes = []
        else:
            self._stopping_since = now

    # -- what is shown

    @property
    def state(self) -> str:
        ready = len(self._ready(time.monotonic()))
        if self.suspended:
            return "STOPPING" if self.nodes else "SUSPENDED"
        if ready == 0:
            return "STARTING"
        if ready < self.target:
            return "RESIZING"
        return "ACTIVE" if self.busy else "IDLE"

    @property
    def busy(self) -> bool:
        return bool(self.waiting) or any(node.instances for node in self.nodes)

    @property
    def active_nodes(self) -> int:
        return sum(1 for node in self._ready(time.monotonic()) if node.instances)

    @property
    def idle_nodes(self) -> int:
        return sum(1 for node in self._ready(time.monotonic()) if not node.instances)

    @property
    def wants_nodes(self) -> bool:
        """Whether nodes that it should have are not there yet."""
        return not self.suspended and len(self._ready(time.monotonic())) < self.target

    @property
    def diagnosis(self) -> tuple[str, str]:
        """(error_code, status_message)."""
        if self.starved and self.wants_nodes:
            return ERROR_NO_CAPACITY, NO_CAPACITY.format(family=self.family.name)
        if self.waiting and not self.suspended and len(self.nodes) >= self.max_nodes and self._all_ready():
            return ERROR_AT_LIMIT, AT_LIMIT
        if self.state == "STARTING":
            minutes = int((time.monotonic() - self._started) // 60)
            return "", f"Compute pool is starting for last {minutes} minutes"
        return "", ""

    # -- moving on

    def tick(self, now: float) -> bool:
        """Move nodes on; True when the pool has been without work for its auto-suspend time and should be suspended."""
        for node in self.nodes:
            node.instances = [instance for instance in node.instances if not instance.over]
        if self.suspended:
            self._release(now)
            return False
        if self.starved:
            self.nodes = self._ready(now)  # those on their way do not come
        while len(self.nodes) < self.target and not self.starved:
            self.nodes.append(self._node(now + NODE_START_SECONDS * self._scale))
        self._place(now)
        self._shrink(now)
        if self.busy:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        limit = self.auto_suspend_secs * min(1.0, self._scale)
        return self.auto_suspend_secs > 0 and self._empty_since is not None and self._all_ready() and now - self._empty_since > limit

    def lost_instances(self) -> list[Instance]:
        """Instances on nodes that a smaller MAX_NODES takes away; the nodes are gone after this."""
        surplus = self.nodes[self.max_nodes :] if not self.suspended else []
        self.nodes = self.nodes[: len(self.nodes) - len(surplus)] if surplus else self.nodes
        return [instance for node in surplus for instance in node.instances]

    def lose_node(self) -> tuple[Node, list[Instance]] | None:
        """A node dies, the first busy one if there is any; it and what ran on it. None without a node."""
        ready = self._ready(time.monotonic())
        node = next((node for node in ready if node.instances), next(iter(ready), None))
        if node is None:
            return None
        self.nodes.remove(node)
        return node, [instance for instance in node.instances if not instance.over]

    def _place(self, now: float) -> None:
        unplaced = []
        missing = None
        for instance in self.waiting:
            node = next((n for n in self._ready(now) if n.free.lacking(instance.takes) is None), None)
            if node is not None:
                instance.place(node.id, now, self._scale)
                node.instances.append(instance)
                node.idle_since = None
                continue
            unplaced.append(instance)
            missing = Resources.of_node(self.family).lacking(instance.takes) or self._scarce(now, instance.takes)
            instance.message = f"Unschedulable due to insufficient {missing} resources." if missing else "Waiting for a node"
        self.waiting = unplaced
        if unplaced and self._all_ready() and self.target < self.max_nodes:
            self.target += 1

    def _scarce(self, now: float, takes: Resources) -> str | None:
        lacking = [node.free.lacking(takes) for node in self._ready(now)]
        return next((what for what in lacking if what), None)

    def _shrink(self, now: float) -> None:
        for node in list(self.nodes):
            if node.instances or node.ready_at > now:
                node.idle_since = None
            elif node.idle_since is None:
                node.idle_since = now
            surplus = len(self.nodes) > max(self.target, self.min_nodes)
            rested = node.idle_since is not None and now - node.idle_since > SCALE_DOWN_SECONDS * self._scale
            if node.idle_since is not None and (surplus or (rested and self.target > self.min_nodes)) and not self.waiting:
                self.nodes.remove(node)
                self.target = max(self.min_nodes, min(self.target, len(self.nodes)))

    def _release(self, now: float) -> None:
        """Suspended: nodes go when jobs have ended and the stop delay has passed."""
        if self.busy:
            return
        if self._stopping_since is None:
            self._stopping_since = now
        if now - self._stopping_since >= NODE_STOP_SECONDS * self._scale:
            self.nodes = []
            self._stopping_since = None

    def _ready(self, now: float) -> list[Node]:
        return [node for node in self.nodes if node.ready_at <= now]

    def _all_ready(self) -> bool:
        return len(self._ready(time.monotonic())) >= max(1, self.target)

    def _node(self, ready_at: float) -> Node:
        octets = [str(byte).zfill(2) for byte in uuid.uuid4().bytes[:3]]
        return Node(f"node-10-{'-'.join(octets)}", self.family, time.time(), ready_at)
