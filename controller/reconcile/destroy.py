"""Taking a project out of an account: what it made, in reverse order, and nothing else.

Each pass looks at the account again and drops what nothing needs any more, side by side; so services are gone before their pools and
everything inside before a database. A failure does not stop the rest. What is kept is said, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event

import structlog

from controller.account.errors import NotFound
from controller.account.redact import redact
from controller.api.objects import ObjectKey
from controller.kinds.base import View
from controller.reconcile import history
from controller.reconcile.clock import Clock
from controller.reconcile.engine import Engine
from controller.reconcile.lead.leadership import Alone, Leadership
from controller.reconcile.pause import is_paused, told
from controller.reconcile.planning.change import Action, Change
from controller.reconcile.planning.expand import Kinds, Refusal, attempt, expand_all
from controller.reconcile.planning.look_again import guarded
from controller.reconcile.planning.order import drop_order, goes_before
from controller.reconcile.planning.ownership import Owner, claim, kept_because, may_drop
from controller.reconcile.planning.prune import astray, contents, inventory
from controller.reconcile.work.backoff import Backoff
from controller.reconcile.work.execute import Done, Executor

log = structlog.get_logger("snowcat.reconcile")
_TRIES = 5
_WORKERS = 8


@dataclass(frozen=True)
class Removal:
    """What `destroy` would do now. `drops` are in order.

    `kept` are objects that stay because their manifests say so, or were never ours → why; `refused` are those that should go and must not,
    such as a database with foreign content → why.
    """

    drops: Mapping[ObjectKey, Change]
    kept: Mapping[ObjectKey, str]
    refused: Mapping[ObjectKey, str]


@dataclass
class Destroyed:
    """How it went. `failed` objects are still there → why."""

    dropped: list[ObjectKey] = field(default_factory=list)
    kept: dict[ObjectKey, str] = field(default_factory=dict)
    refused: dict[ObjectKey, str] = field(default_factory=dict)
    failed: dict[ObjectKey, str] = field(default_factory=dict)
    tried: dict[ObjectKey, Change] = field(default_factory=dict)  # the last change of each that failed

    @property
    def clean(self) -> bool:
        return not self.failed and not self.refused


def removal(view: View, kinds: Kinds, only: Collection[ObjectKey] | None = None) -> Removal:
    """What would be dropped, in order, and what is kept. Pure.

    `only` restricts it to some objects and their children; then an object that others need is kept.
    """
    expansion = expand_all(view, kinds)
    view = expansion.view
    there, kept = _present(view, kinds)
    refused: dict[ObjectKey, str] = {}
    if only is not None:
        chosen = {*only, *(obj.key for obj in view.graph if obj.parent in only)}
        others = there.keys() - chosen
        there = {key: parent for key, parent in there.items() if key in chosen}
        for key in list(there):
            needed = sorted(str(o.key) for o in view.graph.dependents(key) if o.key in others and o.parent not in chosen)
            if needed:
                refused[key] = f"{', '.join(needed)} needs it"
                del there[key]
        kept = {key: why for key, why in kept.items() if key in chosen}
        staying: set[ObjectKey] = {*others, *kept, *refused}
    else:
        staying = set(kept)
    drops: dict[ObjectKey, Change] = {}
    for key in drop_order(there, view.graph):
        change = _drop(key, staying, view, kinds)
        if isinstance(change, str):
            refused[key] = change
            staying.add(key)
        elif change.steps:
            drops[key] = change
    before = goes_before(drops, view.graph)
    return Removal({key: replace(change, after=tuple(sorted(before[key]))) for key, change in drops.items()}, kept, refused)


def _present(view: View, kinds: Kinds) -> tuple[dict[ObjectKey, ObjectKey | None], dict[ObjectKey, str]]:
    """Our objects that are in the account and may go → their parent; and those that stay → why."""
    there: dict[ObjectKey, ObjectKey | None] = {}
    kept: dict[ObjectKey, str] = {}
    for obj in view.graph:
        seen = attempt(kinds[obj.key.kind].observe, obj, view)
        if isinstance(seen, Refusal):
            continue  # what is there of it is found by its mark, below
        owned = claim(obj, seen, view.project.name, view.births.get(obj.key, ""))
        if owned.refused or owned.owner in (Owner.ADOPTABLE, Owner.MARK_LOST):
            kept[obj.key] = owned.message or "it was not made by Snowcat"
        elif owned.owner is Owner.OURS:
            why = kept_because(obj) or (told(seen.mark) if seen.mark is not None and is_paused(seen.mark) else "")
            if why:
                kept[obj.key] = why
            else:
                there[obj.key] = obj.parent
    found = inventory(view, kinds)
    stray = astray(found, view)
    for key, item in found.items():
        if key in there or key in kept:
            continue
        if key in stray:
            kept[key] = stray[key]
            continue
        declared = view.graph.get(key)
        why = kept_because(declared) if declared else ""
        if why or not may_drop(item.mark, view.project.name):
            kept[key] = why or (told(item.mark) if is_paused(item.mark) else "its last manifest said deletionPolicy: orphan")
        else:
            there[key] = None
    return there, kept


def _drop(key: ObjectKey, staying: Collection[ObjectKey], view: View, kinds: Kinds) -> Change | str:
    held = contents(key, staying, view, kinds)
    if isinstance(held, Refusal):
        return held.message
    if held:
        return f"it holds {', '.join(held)}"
    steps = attempt(lambda: guarded(kinds[key.kind], key, view))
    if isinstance(steps, Refusal):
        return steps.message
    return Change(key, Action.DELETE, steps=steps, reason="the project is taken down", destructive=True)


@dataclass
class Destroyer:
    """Carries a removal out. `say` is told of every drop and failure."""

    engine: Engine
    say: Callable[[str], None] = lambda message: None
    clock: Clock = field(default_factory=Clock)
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.5, most=10.0))
    stopping: Event = field(default_factory=Event)
    leadership: Leadership = field(default_factory=Alone)

    def known(self) -> list[ObjectKey]:
        """What a person may name: the objects of the manifests, and what carries the project's mark and is in none any more.

        Raises:
            NoProject, AccountError.
        """
        loaded = self.engine.load(keep=False)
        now = self.engine.plan(loaded, self.engine.look(loaded))
        return [entry.key for entry in now if entry.key in loaded.graph or entry.desired is None]

    def preview(self, only: Collection[ObjectKey] | None = None) -> Removal:
        """What would go now.

        Raises:
            NoProject, AccountError.
        """
        return removal(self.engine.look(self.engine.load(keep=False), dropping=True), self.engine.kinds, only)

    def run(self, only: Collection[ObjectKey] | None = None, *, timeout: float | None = None) -> Destroyed:
        """Drop in passes until nothing is left that may go, nothing more can be done, or the time is up.

        Raises:
            NoProject: the project file cannot be used.
            AccountError: the account could not be read.
        """
        if self.engine.pool is None:
            raise ValueError("there is nothing to destroy offline")
        executor = Executor(self.engine.pool, self.stopping, self.leadership)
        end = None if timeout is None else self.clock.now() + timeout
        result, tries = Destroyed(), dict[ObjectKey, int]()
        while not self.stopping.is_set():
            now = self.preview(only)
            result.kept, result.refused = dict(now.kept), dict(now.refused)
            self._see_gone(now, result)
            left = {key: change for key, change in now.drops.items() if key not in result.dropped or tries.get(key, 0) < _TRIES}
            alive = {key for key in left if tries.get(key, 0) < _TRIES}
            layer = [change for key, change in left.items() if key in alive and not any(user in left for user in change.after)]
            if not layer:
                waits = {key: f"waits for {', '.join(str(k) for k in c.after if k in left)}" for key, c in left.items() if key in alive}
                result.failed.update({key: text for key, text in waits.items() if key not in result.failed})
                break
            failures = self._pass(layer, executor, result, tries)
            if end is not None and self.clock.now() >= end:
                result.failed.update({key: result.failed.get(key, "the time was up") for key in left if key not in result.dropped})
                break
            if failures == len(layer):
                self.clock.wait(self.stopping, self.backoff.delay(max(tries.values(), default=1)))
        return result

    def _pass(self, layer: list[Change], executor: Executor, result: Destroyed, tries: dict[ObjectKey, int]) -> int:
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="destroy") as workers:
            ended = list(workers.map(lambda change: executor.run(change, lambda _: None), layer))
        return sum(not self._note(done, result, tries) for done in ended)

    def _note(self, done: Done, result: Destroyed, tries: dict[ObjectKey, int]) -> bool:
        key = done.change.key
        tries[key] = tries.get(key, 0) + 1
        listed_late = key in result.dropped and isinstance(done.error, NotFound)
        if done.error is not None and not listed_late:
            result.failed[key] = redact(str(done.error))
            result.tried[key] = done.change
            self.say(f"{key}: not dropped yet: {result.failed[key]}")
            return False
        self._dropped(done, result)
        return True

    def _see_gone(self, now: Removal, result: Destroyed) -> None:
        """What failed and is not there any more was dropped: only the answer was lost, or it went with what it lay in."""
        for key in [key for key in result.tried if key in result.failed and key not in {*now.drops, *now.kept, *now.refused}]:
            self._dropped(Done(result.tried[key]), result)

    def _dropped(self, done: Done, result: Destroyed) -> None:
        key = done.change.key
        result.failed.pop(key, None)
        if key not in result.dropped:
            result.dropped.append(key)
            history.succeeded(self.engine.state, done, 0)
            self.say(f"{key}: dropped")
        self.engine.state.forget(key)
