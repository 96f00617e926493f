"""The work queue between planning and workers: the latest planned change of each key, and never two workers on one key.

Cycles plan, workers pull, and neither waits for the other. A plan replaces what the one before it left in the queue: what it does not want
any more is withdrawn. A key that was worked on while the account was being looked at is judged by the next look: what this plan says of
it may be out of date. So any number of changes to an object during its work cost one more run.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from controller.api.objects import ObjectKey
from controller.reconcile.meter import Meter
from controller.reconcile.planning.change import Change, Plan

Rank = tuple[int, int, float, int]


@dataclass(frozen=True, order=True)
class Entry:
    """A queued change. First what most others wait for, then by priority, then by age, then as planned."""

    rank: Rank
    change: Change = field(compare=False)
    since: float = field(compare=False)


@dataclass
class WorkQueue:
    """Safe for use from several threads. `look_begins`, `offer` and `release` are the loop's; `pull` is the workers'."""

    meter: Meter = field(default_factory=Meter)
    now: Callable[[], float] = time.monotonic
    _entries: dict[ObjectKey, Entry] = field(default_factory=dict)
    _order: list[Entry] = field(default_factory=list)  # a heap
    _held: set[ObjectKey] = field(default_factory=set)  # pulled, and the result is not taken yet
    _touched: set[ObjectKey] = field(default_factory=set)  # held at some time since the look began
    _hastened: set[ObjectKey] = field(default_factory=set)  # taken in since the look began, with what is newer than its plan
    _ready: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def __len__(self) -> int:
        return len(self._entries)

    def look_begins(self) -> None:
        """From here on every key that is worked on, or hastened, is out of reach of the coming plan."""
        with self._ready:
            self._touched = set(self._held)
            self._hastened = set()

    def queued(self, change: Change) -> bool:
        """Whether just this change waits in the queue."""
        entry = self._entries.get(change.key)
        return entry is not None and entry.change.fingerprint == change.fingerprint

    def offer(self, changes: Sequence[Change], chains: Mapping[ObjectKey, int]) -> None:
        """Take in what a plan wants done now, in its order. `chains`: see `longest_chains`."""
        with self._ready:
            if self._closed:
                return
            before, now = self._entries, self.now()
            self._entries = {key: before.pop(key) for key in self._hastened & before.keys()}
            for place, change in enumerate(changes):
                if change.key in self._touched or change.key in self._hastened:
                    continue
                old = before.pop(change.key, None)
                since = old.since if old else now
                self._entries[change.key] = Entry((-chains.get(change.key, 0), -change.priority, since, place), change, since)
                if old is None:
                    self.meter.queued(change.key)
            for key in before:
                self.meter.dropped(key)
            self._order = list(self._entries.values())
            heapq.heapify(self._order)
            self._ready.notify_all()

    def hasten(self, changes: Sequence[Change], chains: Mapping[ObjectKey, int] | None = None) -> None:
        """Take in changes beside what waits; the plan of the next look decides about all. What is worked on is left to it."""
        with self._ready:
            for change in changes:
                if self._closed or change.key in self._held:
                    continue
                if change.key not in self._entries:
                    self.meter.queued(change.key)
                now = self.now()
                self._hastened.add(change.key)
                self._entries[change.key] = Entry((-(chains or {}).get(change.key, 0), -change.priority, now, 0), change, now)
            self._order = list(self._entries.values())
            heapq.heapify(self._order)
            self._ready.notify_all()

    def take_back(self, unwanted: Callable[[Change], bool]) -> None:
        """Take out what must not be done any more, before the next plan says so too."""
        with self._ready:
            for key in [key for key, entry in self._entries.items() if unwanted(entry.change)]:
                del self._entries[key]
                self.meter.dropped(key)
            self._order = list(self._entries.values())
            heapq.heapify(self._order)

    def withdraw(self) -> None:
        """Nothing is wanted for the time being: there is no plan that stands."""
        self._hastened = set()
        self.offer((), {})

    def pull(self) -> Change | None:
        """The next change, held for the caller until `release`. Waits for one; None once the queue is closed."""
        with self._ready:
            while not self._order and not self._closed:
                self._ready.wait()
            if self._closed:
                return None
            change = heapq.heappop(self._order).change
            del self._entries[change.key]
            self._held.add(change.key)
            self._touched.add(change.key)
            return change

    def release(self, key: ObjectKey) -> None:
        """The result was taken: the key may be queued again by the next look."""
        with self._ready:
            self._held.discard(key)

    def close(self) -> None:
        """Nothing is handed out any more; who waits is let go."""
        with self._ready:
            self._closed = True
            for key in self._entries:
                self.meter.dropped(key)
            self._entries.clear()
            self._order.clear()
            self._ready.notify_all()


def longest_chains(plan: Plan) -> dict[ObjectKey, int]:
    """How many objects wait for each one, one after the other; what a composite holds up, its children hold up too."""
    chains: dict[ObjectKey, int] = {}
    for entry in reversed(list(plan)):  # whoever waits stands after what it waits for
        own = chains.setdefault(entry.key, 0)
        for key in entry.change.after:
            chains[key] = max(chains.get(key, 0), own + 1)
        for key in entry.children:
            chains[key] = max(chains.get(key, 0), own)
    return chains
