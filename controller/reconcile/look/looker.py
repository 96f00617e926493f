"""One look at the account in a thread of its own, so that an account that does not answer cannot keep a stop waiting."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from controller.account.tracing import carried, span
from controller.api.objects import ObjectKey
from controller.kinds.base import View
from controller.reconcile.engine import Engine
from controller.reconcile.lead.leadership import Interrupted
from controller.reconcile.look.files import Loaded

T = TypeVar("T")
_STEP = 0.2  # seconds between two looks at whether the loop was stopped


@dataclass
class Looker:
    """For one thread. `abandoned` once a stop left a question behind in a thread that may hang."""

    engine: Engine
    stopping: threading.Event
    grace: float  # seconds that an answer may still take after a stop
    abandoned: bool = False

    def look(self, loaded: Loaded, *, full: bool) -> View:
        """What the account shows.

        Raises:
            AccountError: the account could not be read.
            Interrupted: the loop was stopped, and the answer did not come within the grace.
        """
        return self._answer(lambda: self.engine.look(loaded, full=full), full=full)

    def glance(self, loaded: Loaded, view: View, keys: Collection[ObjectKey]) -> View:
        """What it shows of some objects; see `Engine.glance`.

        Raises:
            AccountError, Interrupted: as `look`.
        """
        return self._answer(lambda: self.engine.glance(loaded, view, keys), full=False)

    def read_on(self) -> bool:
        """Whether there is still more to read after some more of what only DESCRIBE tells; see `Engine.read_on`.

        Raises:
            AccountError, Interrupted: as `look`.
        """
        return self._answer(self.engine.read_on, full=False)

    def _answer(self, call: Callable[[], T], *, full: bool) -> T:
        answer: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()

        def ask() -> None:
            try:
                with span("look", snowcat__full=full):
                    answer.put(call())
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits for it
                answer.put(error)

        threading.Thread(target=carried(ask), name="look", daemon=True).start()
        waited = 0.0
        while waited < self.grace:
            try:
                found = answer.get(timeout=_STEP)
            except queue.Empty:
                waited += _STEP if self.stopping.is_set() else 0.0
                continue
            if isinstance(found, BaseException):
                raise found
            return found
        self.abandoned = True
        raise Interrupted("stopped while the account did not answer")
