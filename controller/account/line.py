"""One thread that talks to the driver for a session, so that whoever waits for an answer gets away from it in time.

No driver lets every wait be ended from outside: a login, an upload or a request whose answer never comes holds its thread. Here it holds
a thread that nobody needs. It is a daemon thread: it does not keep the process from ending, and ends by itself once its call returns.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from typing import Any, TypeVar

from controller.account.errors import TimedOut, Transient

T = TypeVar("T")


class Line:
    """One call at a time. Once broken it takes no more."""

    def __init__(self, name: str = "session") -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._current: Future[Any] | None = None
        self._broken = threading.Event()

    @property
    def broken(self) -> bool:
        return self._broken.is_set()

    def call(
        self, what: Callable[[], T], seconds: float, told: str, *, slow: float | None = None, notice: Callable[[], None] = lambda: None
    ) -> T:
        """The answer of `what`, called in the line's thread. `told` says in an error what was waited for; `notice` is called once when
        there is none after `slow` seconds.

        Raises:
            TimedOut: no answer in time; the line is broken.
            Transient: the line is broken, before or meanwhile.
        """
        answer: Future[T] = Future()
        self._current = answer
        if self.broken:
            raise Transient(f"{told}: the session was broken off")
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._calls.put((what, answer))
        early = 0.0 if slow is None or slow >= seconds else slow
        if early and not wait([answer], early).done:
            notice()
        if not wait([answer], seconds - early).done:
            self.break_off(TimedOut(f"{told}: no answer in {seconds:g} seconds"))
        self._current = None
        return answer.result()

    def _serve(self) -> None:
        while (job := self._calls.get()) is not None:
            what, answer = job
            try:
                result, error = what(), None
            except BaseException as caught:  # noqa: BLE001 - raised again in the thread that waits for it
                result, error = None, caught
            with contextlib.suppress(InvalidStateError):  # nobody waits any more
                if error is not None:
                    answer.set_exception(error)
                else:
                    answer.set_result(result)
            del job, what, answer, result, error  # a long listing must not be held until the next call

    def pause(self, seconds: float) -> None:
        """Wait, unless the line is broken meanwhile.

        Raises:
            Transient: it is.
        """
        if self._broken.wait(seconds):
            raise Transient("the session was broken off")

    def break_off(self, error: Exception | None = None) -> None:
        """By any thread: who waits gets an error at once. The thread ends when its call returns."""
        self._broken.set()
        answer = self._current
        if answer is not None and not answer.done():
            with contextlib.suppress(InvalidStateError):  # it came in this moment
                answer.set_exception(error or Transient("the session was broken off"))
        self._calls.put(None)

    @property
    def hanging(self) -> bool:
        """Whether the line is broken and its thread has not come back."""
        return self.broken and self._thread is not None and self._thread.is_alive()
