"""Whether this process may change the account: what the loop and its workers ask before they act.

`Alone` is the answer where nobody shares the project by a lease; `controller.reconcile.lead.lease.Lease` is the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from controller.account.errors import AccountError
from controller.account.session import Session


class Interrupted(Exception):
    """Work was left between two statements; whoever works on the project next takes it up."""


class NotLeading(Interrupted):
    """This process may not change the account, or not any more. The message says who may."""


@dataclass(frozen=True)
class Standing:
    """Whether this process leads, and in words who does otherwise.

    `waits`: for somebody who works on the project. `hopeless`: waiting will not help, a person must act; `error` is the account's
    own, if any.
    """

    leads: bool
    message: str = ""
    waits: bool = False
    hopeless: bool = False
    error: AccountError | None = None


class Leadership(Protocol):
    @property
    def term(self) -> int:
        """Which term of leading this is: what was decided in one is not carried on in another. 0 when it is none."""

    def standing(self) -> Standing:
        """What the loop reports; asked at the start of each cycle."""

    def may_mutate(self) -> bool:
        """Whether a statement that changes something may be sent now."""

    def admit(self, session: Session) -> None:
        """To be asked before each statement that changes something. Makes the session known to whoever leads next, so that it can be ended.

        Raises:
            NotLeading: the statement must not be sent.
        """

    def unsure(self, session: Session) -> None:
        """To be told when a statement of the session was given up, so that it may take effect at any time, or never."""

    def release(self, *, drop: bool = False, quiet: bool = True) -> None:
        """Let others lead; see `controller.reconcile.lead.lease.Lease.release`."""


class Alone:
    """Leads always: there is no lease."""

    term = 1

    def standing(self) -> Standing:
        return Standing(True)

    def may_mutate(self) -> bool:
        return True

    def admit(self, session: Session) -> None:
        """Nothing to check."""

    def unsure(self, session: Session) -> None:
        """Nobody need know."""

    def release(self, *, drop: bool = False, quiet: bool = True) -> None:
        """Nobody waits."""
