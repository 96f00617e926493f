"""What can be done because something else was just done, without a look at everything in between.

A chain of objects that each need the one before would cost a full look for each link. So when work on simple objects ends well, a glance
(see `controller.reconcile.look.quick`) at them, and at what waited for nothing else, tells whether these can be made now. All that is not
simple is left to a look, as is whatever the glance finds otherwise than expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from controller.account.errors import AccountError
from controller.api.objects import Graph, ObjectKey
from controller.kinds.base import View
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import Loaded
from controller.reconcile.look.quick import Glance, plain, simple
from controller.reconcile.planning.change import Action, Change, ObjectPlan, Plan
from controller.reconcile.planning.plan import plan_again
from controller.reconcile.work.execute import Done
from controller.reconcile.work.queue import longest_chains


@dataclass
class Follow:
    """What was done since the last plan, and what waits for it. For one thread."""

    engine: Engine
    glance: Glance
    chains: dict[ObjectKey, int] = field(default_factory=dict)  # of the last plan
    _begun: Plan | None = None
    _loaded: Loaded | None = None
    _view: View | None = None  # of the last look, with what glances have seen since
    _entries: dict[ObjectKey, ObjectPlan] = field(default_factory=dict)
    _waiting: dict[ObjectKey, list[ObjectKey]] = field(default_factory=dict)  # what stands in the way → whose
    _open: set[ObjectKey] = field(default_factory=set)  # what the plan wants changed and is not done
    _done: set[ObjectKey] = field(default_factory=set)
    _recent: list[Done] = field(default_factory=list)  # results since the look began that the next plan comes of

    def look_begins(self) -> None:
        """What ends from here on, the coming plan does not know."""
        self._recent = []

    def begin(self, loaded: Loaded, view: View, plan: Plan) -> None:
        """A plan was made, or the last one stands."""
        if plan is self._begun and not self._done:
            self._loaded, self._view = loaded, view
            return
        self._begun = plan
        self.chains = longest_chains(plan)
        self._loaded, self._view, self._entries = loaded, view, dict(plan.objects)
        self._waiting = {}
        for entry in plan:
            for key in entry.change.after:
                self._waiting.setdefault(key, []).append(entry.key)
        self._open = {entry.key for entry in plan if entry.change.pending}
        self._done = set()

    def catch_up(self, graph: Graph) -> list[Change]:
        """What can be done of the new plan because of what has ended during its look."""
        recent, self._recent = self._recent, []
        return self.ended(recent, graph)[0]

    @property
    def finished(self) -> bool:
        """Whether all that the last plan wanted changed is done."""
        return not self._open

    def ended(self, results: Sequence[Done], graph: Graph) -> tuple[list[Change], bool]:
        """What can be done now because of these results; and whether no more follows from them, so that the next look can wait.

        `graph` is what the files say now: what was planned from others is left to the next look.

        Raises:
            Interrupted: the loop was stopped.
        """
        self._recent += results
        good = [done for done in results if done.error is None]
        keys = {done.change.key for done in good}
        self._done |= keys
        self._open -= keys
        usual = len(good) == len(results) and all(self._calm(done.change) for done in good)
        candidates = {key for other in keys for key in self._waiting.get(other, ())}
        chosen = [key for key in candidates if self._simple(key) and self._done.issuperset(self._entries[key].change.after)]
        usual = usual and all(self._simple(key) for key in candidates)
        if not chosen or self._loaded is None or self._view is None:
            return [], usual
        if self._loaded.errors or self._loaded.graph is not graph or self.engine.permit is not None:
            return [], False
        found = self._plan(self._loaded, self._view, chosen)
        return found, usual and len(found) == len(chosen)

    def _plan(self, loaded: Loaded, view: View, chosen: Iterable[ObjectKey]) -> list[Change]:
        chosen = set(chosen)
        before = {other for key in chosen for other in self._entries[key].change.after}
        keys = [*chosen, *(key for key in before if self._entries[key].change.pending and self._simple(key))]
        try:
            self._view = self.glance(loaded, view, keys)
        except AccountError:  # the next look says what is wrong
            return []
        entries = plan_again(self._view, self.engine.kinds, keys, self._entries)
        self._entries.update((entry.key, entry) for entry in entries)
        return [entry.change for entry in entries if entry.key in chosen and entry.change.runnable and plain(entry.change)]

    def _calm(self, change: Change) -> bool:
        """Whether nothing follows from a change but for what waits for it in the plan."""
        new = change.action is Action.CREATE and change.key not in self._waiting and self._declared(change.key)
        return plain(change) and (self._simple(change.key) or new)

    def _declared(self, key: ObjectKey) -> bool:
        """Whether an object stands in a file, and is no part of another one."""
        return self._loaded is not None and key in self._loaded.graph

    def _simple(self, key: ObjectKey) -> bool:
        entry = self._entries.get(key)
        return self._declared(key) and entry is not None and not entry.children and simple(self.engine.kinds[key.kind])
