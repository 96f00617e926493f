"""One look at the account in a thread of its own, so that an account that does not answer cannot keep a stop waiting, and a look that
takes long cannot keep what a person has just saved."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from controller.account.tracing import carried, span
from controller.api.objects import ObjectKey
from controller.kinds.base import View
from controller.reconcile.engine import Engine
from controller.reconcile.lead.leadership import Interrupted
from controller.reconcile.look.files import Loaded
from controller.reconcile.planning.change import Plan

_STEP = 0.2  # seconds between two looks at whether the loop was stopped
T = TypeVar("T")


@dataclass
class Looker:
    """For one thread, but for `poke`. `abandoned` once a stop left a question behind in a thread that may hang.

    `meanwhile` is called in the thread that waits for a look or a plan, after each poke; it may glance.
    """

    engine: Engine
    stopping: threading.Event
    grace: float  # seconds that an answer may still take after a stop
    meanwhile: Callable[[], None] = lambda: None
    abandoned: bool = False
    _moved: threading.Event = field(default_factory=threading.Event)  # an answer came, or a poke

    def poke(self) -> None:
        """By any thread: something has happened that `meanwhile` should see."""
        self._moved.set()

    def look(self, loaded: Loaded, *, full: bool) -> View:
        """What the account shows.

        Raises:
            AccountError: the account could not be read.
            Interrupted: the loop was stopped, and the answer did not come within the grace.
        """

        def ask() -> View:
            with span("look", snowcat__full=full):
                return self.engine.look(loaded, full=full)

        return self._answer(ask, self.meanwhile)

    def plan(self, loaded: Loaded, view: View, failed: Mapping[ObjectKey, str]) -> Plan:
        """What is to be done; see `Engine.plan`.

        Raises:
            Interrupted: as `look`.
        """
        return self._answer(lambda: self.engine.plan(loaded, view, failed), self.meanwhile)

    def glance(self, loaded: Loaded, view: View, keys: Collection[ObjectKey]) -> View:
        """What it shows of some objects; see `Engine.glance`.

        Raises:
            AccountError, Interrupted: as `look`.
        """

        def ask() -> View:
            with span("look", snowcat__full=False):
                return self.engine.glance(loaded, view, keys)

        try:
            return self._answer(ask)
        finally:
            self._moved.set()  # what came meanwhile may have been meant for a look under way, which waits for it too

    def read_on(self) -> bool:
        """Whether there is still more to read after some more of what only DESCRIBE tells; see `Engine.read_on`.

        Raises:
            AccountError, Interrupted: as `look`.
        """

        def ask() -> bool:
            with span("look", snowcat__full=False):
                return self.engine.read_on()

        return self._answer(ask, self.meanwhile)

    def _answer(self, call: Callable[[], T], meanwhile: Callable[[], None] | None = None) -> T:
        answer: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answer.put((call(), None))
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits for it
                answer.put((None, error))
            self._moved.set()

        threading.Thread(target=carried(ask), name="look", daemon=True).start()
        waited = 0.0
        while answer.empty():
            if waited >= self.grace:
                self.abandoned = True
                raise Interrupted("stopped while the account did not answer")
            if meanwhile is not None:
                meanwhile()
            if not self._moved.wait(_STEP):
                waited += _STEP if self.stopping.is_set() else 0.0
            self._moved.clear()
        found, error = answer.get()
        if error is not None:
            raise error
        return found  # type: ignore[return-value]  # there is one where there is no error
