"""How a long-running command ends on SIGINT and SIGTERM: cleanly if it can, in ten seconds in any case, and at once on the second signal.

The handler only writes a byte: whatever it did more could meet the main thread in the middle of the same thing. A thread reads it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, Self

import structlog

from controller.reconcile.loop import Reconciler

SECONDS = 9.0
"""From the first signal to the end of the process at the latest. Whoever stops services by force does so after ten or more."""


log = structlog.get_logger("snowcat.run")
_ONCE_MORE = "once more ends at once"
_LEFT = "not everything could be finished in time; the next start takes it up"


class Stopping:
    """Use as a context. Before a loop is attached there is nothing to finish: the first signal ends the process with `code`.

    `give_back` is done first then, as far as time allows: what others would have to wait for.
    """

    def __init__(self, code: int, seconds: float = SECONDS) -> None:
        self.caught = False
        self._code = code
        self._seconds = seconds
        self._loop: Reconciler | None = None
        self.give_back: Callable[[], object] = lambda: None
        self._read, self._write = os.pipe()

    def __enter__(self) -> Self:
        self._json = isinstance(structlog.get_config()["processors"][-1], structlog.processors.JSONRenderer)
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        threading.Thread(target=self._wait, name="signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._write)  # lets the thread go

    def attach(self, loop: Reconciler) -> None:
        """From now on a signal stops this loop."""
        self._loop = loop

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.caught:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.caught = True
        if not self._json:
            os.write(2, f"stopping; {_ONCE_MORE}\n".encode())
        os.write(self._write, b"1")

    def _wait(self) -> None:
        if os.read(self._read, 1):
            loop = self._loop
            if self._json:
                log.info("stopping", message=_ONCE_MORE)
            if loop is None:
                giving = threading.Thread(target=self.give_back, name="give back", daemon=True)
                giving.start()
                giving.join(self._seconds)
                end_at_once(self._code)
            loop.stop()
            if not select.select([self._read], [], [], self._seconds)[0]:
                if self._json:
                    log.warning("stopping", message=_LEFT)
                else:
                    os.write(2, f"{_LEFT}\n".encode())
                end_at_once(self._code)
        os.close(self._read)


def end_at_once(code: int) -> NoReturn:
    """End the process, whatever its threads are doing. Nothing is lost: the account and the state file are durable at every moment."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
