"""The loop's clock, so that its tests run on virtual time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


class Clock:
    """Seconds that only go forward, and a way to wait on them."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until the event is set, at most so long. True when it was set."""
        return event.wait(seconds)


@dataclass(frozen=True)
class Timing:
    """The loop's periods in seconds. `work` is the longest time for one object's change.

    `poll_first` to `poll_most`: how soon to look again while something is on its way, growing while nothing moves. `degraded`: how long
    `apply` waits for a degraded object to recover by itself. `grace`: how long a stop waits for statements under way.
    """

    resync: float = 30.0
    poll_first: float = 0.5
    poll_most: float = 5.0
    poll_factor: float = 1.4
    poke: float = 1.0
    degraded: float = 60.0
    grace: float = 6.0
    work: float = 7200.0
    prune_gap: float = 10.0
