"""What a process that does not hold the lease does next. Pure: leases as they were seen, and a clock that is given.

A lease counts as deserted when nothing in it has moved for one period on this process's own clock. No two clocks are ever compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from controller.reconcile.lead.mark import Found, LeaseMark, LeaseState, Mode
from controller.reconcile.lead.process import Holder


class Do(StrEnum):
    CREATE = "create"  # there is none: the first term
    TAKE = "take"  # begin the term after this one
    WAIT = "wait"
    STOP = "stop"  # a person must act


@dataclass(frozen=True)
class Decision:
    """`term` is the one to create, or the one to take over from. `seconds`: after which the answer may change by time alone.

    `live`: who is taken over from is at work, and will be back.
    """

    do: Do
    term: int = 0
    message: str = ""
    seconds: float = 0.0
    live: bool = False


@dataclass
class Watch:
    """Remembers since when a lease has not moved. `seconds` is the period; `gone` tells of a process that has certainly ended."""

    seconds: float
    holder: Holder
    mode: Mode
    gone: Callable[[Holder], bool]
    _seen: tuple[int, str] | None = field(default=None, init=False)
    _since: float = field(default=0.0, init=False)

    def decide(self, found: Iterable[Found], now: float) -> Decision:
        """`now` must be read after the answer came, so that the period is never too short."""
        newest = max(found, key=lambda lease: lease.term, default=None)
        if newest is None:
            self._seen = None
            return Decision(Do.CREATE, 1)
        if newest.mark is None:
            return Decision(Do.STOP, newest.term, "its comment is not one that Snowcat writes; drop it if no 'snowcat run' is up")
        if (newest.term, newest.comment) != self._seen:
            self._seen, self._since = (newest.term, newest.comment), now
        left = self._since + self.seconds - now
        if left <= 0 or self._free(newest, newest.mark):
            return Decision(Do.TAKE, newest.term)
        if self.mode is Mode.APPLY and newest.mark.mode is Mode.RUN and not newest.taken:
            return Decision(Do.TAKE, newest.term, live=True)  # a daemon gives way to a command
        who = "somebody who is taking over now" if newest.taken else newest.mark.words
        return Decision(Do.WAIT, newest.term, who, left)

    def _free(self, lease: Found, mark: LeaseMark) -> bool:
        """Whether nobody holds it. Not while its comment speaks of an earlier holder: the present one is not known yet."""
        if lease.taken:
            return False
        return mark.state is LeaseState.RELEASED or mark.holder == self.holder or self.gone(mark.holder)
