"""Whether the daemon lives and whether it is of use: what `/healthz` and `/readyz` answer.

It lives while its loop turns: a loop that is stuck is mended by a restart. It is ready when it has seen the account and leads or stands by;
an account that is away is no reason to restart a daemon, so it makes it unready and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

PATIENCE = 300.0  # seconds that one cycle may take beyond the longest pause between two: a large project, a slow account


@dataclass
class Health:
    """Told by the metrics, which hear the loop. `pause` is the longest that the loop rests between two cycles, in seconds."""

    pause: float
    clock: Callable[[], float] = time.monotonic
    leader: bool = False
    answers: bool = True  # whether anything comes from the account at all
    _turned: float = field(init=False)
    _seen: tuple[bool, str] = field(default=(False, ""), init=False)  # whether the account was ever looked at; what is wrong with it now

    def __post_init__(self) -> None:
        self._turned = self.clock()

    def turned(self) -> None:
        """A cycle ended."""
        self._turned = self.clock()

    def looked(self, error: str) -> None:
        """The account was looked at, or could not be."""
        self._seen = (self._seen[0] or not error, error)

    def alive(self) -> dict[str, str]:
        """Check → 'ok', or what is wrong."""
        idle = self.clock() - self._turned
        return {"loop": "ok" if idle <= self.pause + PATIENCE else f"the loop has not turned for {idle:.0f} seconds"}

    def ready(self) -> dict[str, str]:
        """Check → 'ok', or what is wrong. A daemon that stands by for another is ready: it can take over."""
        looked, error = self._seen
        error = error or ("" if self.answers else "it does not answer")
        return {
            **self.alive(),
            "account": f"not reached: {error}" if error else "ok",
            "firstLook": "ok" if looked else "the account was not looked at yet",
        }

    @property
    def account_up(self) -> bool:
        """The account answers, and the last look at it was answered."""
        return self.answers and not self._seen[1]

    @property
    def role(self) -> str:
        return "leader" if self.leader else "standby"
