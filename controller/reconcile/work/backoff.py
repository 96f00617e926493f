"""How long to leave an object alone after it failed: longer each time, with jitter; what a person must mend is in a class of its own."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from controller.account.errors import GRANTS, AccountError, AlreadyExists, Denied, LoginFailed, TimedOut, Transient
from controller.kinds.base import KindError, Stalled, Waiting
from controller.reconcile.work.unseen import ExistsUnseen

TIMEOUT = "Timeout"
STUCK = "Stuck"
INTERNAL = "InternalError"
UNSEEN = "ExistsUnseen"


class FailureClass(StrEnum):
    TRANSIENT = "transient"  # tried again by itself, later each time
    WAITING = "waiting"  # something else must happen first; no error
    STALLED = "stalled"  # tried again when the change moved, on `snowcat reconcile`, and rarely in case the account changed


@dataclass(frozen=True)
class Failure:
    """Why the last try did not succeed. `fingerprint` is that of the change that was tried; `not_before` on the loop's own clock."""

    kind: FailureClass
    reason: str  # CamelCase
    message: str
    fingerprint: str
    count: int = 1
    not_before: float = 0.0


@dataclass(frozen=True)
class Backoff:
    """Delays in seconds. `jitter` is the share by which a delay may be shorter, so that many objects do not come back at once."""

    first: float = 1.0
    factor: float = 2.0
    most: float = 120.0
    jitter: float = 0.3
    waiting: float = 5.0
    unseen: int = 6  # times that CREATE may say 'exists' of what no SHOW lists, where it cannot be told whether the listing is late
    cold: float = 600.0  # a statement that the account refused may be accepted after a grant that no SHOW tells of
    random: Callable[[], float] = random.random

    def delay(self, failures: int) -> float:
        """After that many failures in a row, 1 or more."""
        full = min(self.most, self.first * self.factor ** min(max(failures, 1) - 1, 30))
        return full * (1 - self.jitter * self.random())

    def after(self, error: Exception, fingerprint: str, previous: Failure | None, now: float, *, deleting: bool = False) -> Failure:
        """The failure to keep for an error that a worker met.

        A drop that is refused is tried again by itself: what stands in its way is mostly on its way out.
        """
        kind, reason = classify(error)
        if deleting and kind is FailureClass.STALLED and isinstance(error, AccountError):
            kind = FailureClass.TRANSIENT
        count = previous.count + 1 if previous and previous.fingerprint == fingerprint else 1
        text = str(error) or type(error).__name__
        if isinstance(error, Denied):
            text = f"{text.rstrip('. ')}; {GRANTS}"
        if isinstance(error, ExistsUnseen) and (error.owner or count > 1):
            kind, reason = FailureClass.STALLED, UNSEEN
        elif isinstance(error, AlreadyExists) and not isinstance(error, ExistsUnseen) and count > self.unseen:
            kind, reason, text = FailureClass.STALLED, UNSEEN, str(ExistsUnseen(error, ""))
        if kind is FailureClass.TRANSIENT:
            wait = self.delay(count)
        elif kind is FailureClass.WAITING:
            wait = min(self.waiting, self.delay(count))
        else:
            wait = self.cold if isinstance(error, AccountError) else float("inf")
        return Failure(kind, reason, text, fingerprint, count, now + wait)


def classify(error: Exception) -> tuple[FailureClass, str]:
    """What to do about an error, and its reason in CamelCase."""
    if isinstance(error, Waiting):
        return FailureClass.WAITING, "Waiting"
    if isinstance(error, Stalled):
        return FailureClass.STALLED, error.reason
    if isinstance(error, KindError):
        return FailureClass.STALLED, "Stalled"
    if isinstance(error, TimedOut):
        return FailureClass.TRANSIENT, TIMEOUT
    if isinstance(error, (Transient, AlreadyExists, ConnectionError, TimeoutError)):
        return FailureClass.TRANSIENT, type(error).__name__
    if isinstance(error, LoginFailed):
        return FailureClass.STALLED, "LoginFailed"
    if isinstance(error, AccountError):
        return FailureClass.STALLED, type(error).__name__
    if isinstance(error, OSError):
        return FailureClass.TRANSIENT, "LocalError"
    return FailureClass.STALLED, INTERNAL
