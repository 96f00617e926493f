"""How a process that does not lead comes to lead: look, judge, and begin a term (step 1) when nobody holds one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from controller.account.errors import AccountError, Denied, NotFound
from controller.account.redact import redact
from controller.api.names import QualifiedName
from controller.reconcile.clock import Clock
from controller.reconcile.lead.election import Decision, Do, Watch
from controller.reconcile.lead.leadership import Standing
from controller.reconcile.lead.mark import LeaseMark, Mode
from controller.reconcile.lead.process import Holder
from controller.reconcile.lead.stage import LeaseStage
from controller.reconcile.lead.term import AGAIN, Term

_LISTED = 8.0  # seconds in which a home that was made just now, and a grant on it, must show
_RIVAL = 60.0  # seconds without a renewal after which a lease in another schema, whose period is not known, counts as deserted


@dataclass(frozen=True)
class Turn:
    """What came of a look: the seconds until the next, where this process stands if that can be said, and the term, if it began one."""

    seconds: float
    standing: Standing | None = None
    term: Term | None = None


@dataclass
class Campaign:
    """For one thread at a time. The fields are those of `Lease`."""

    stage: LeaseStage
    holder: Holder
    mode: Mode
    seconds: float
    clock: Clock
    is_gone: Callable[[Holder], bool]
    sessions: Callable[[], Iterable[str]]
    most_open: int
    _homeless_since: float | None = field(default=None, init=False)
    _unseen_since: float | None = field(default=None, init=False)
    _rivals: dict[str, tuple[LeaseMark, float]] = field(default_factory=dict, init=False)  # leases elsewhere, each as it is since when

    def __post_init__(self) -> None:
        self._watch = Watch(self.seconds, self.holder, self.mode, self.is_gone)

    def turn(self) -> Turn:
        """Look whether the lease can be had; if so, begin a term.

        Raises:
            AccountError: the account did not answer.
        """
        try:
            found = self.stage.look()
            self._homeless_since = None
            if found and self.stage.anchored:
                self._unseen_since = None
            decision = self._watch.decide(found, self.clock.now())
            return self._waiting(decision) or self._begin(decision)
        except (NotFound, Denied) as error:
            now = self.clock.now()
            self._homeless_since = now if self._homeless_since is None else self._homeless_since
            hopeless = now - self._homeless_since >= _LISTED
            return Turn(self.seconds / (3 if hopeless else AGAIN), Standing(False, self._no_home(error), hopeless=hopeless))

    def _waiting(self, decision: Decision) -> Turn | None:
        """Where the lease cannot be had now."""
        if decision.do is Do.STOP:
            message = f"stage {self.stage.name(decision.term)} should be the lease of this project, but {decision.message}"
            return Turn(self.seconds / AGAIN, Standing(False, message, hopeless=True))
        if decision.do is Do.WAIT:
            return Turn(min(decision.seconds, self.seconds / 3), Standing(False, f"{decision.message}, leads", waits=True))
        if not self.stage.ours():
            return self._unseen(self.stage.anchor)
        if rival := self._rival():
            return Turn(self.seconds / 3, Standing(False, rival, waits=True))
        return None

    def _begin(self, decision: Decision) -> Turn:
        """Step 1: the compare-and-swap. No term where somebody else was faster."""
        first = decision.do is Do.CREATE
        began = decision.term if first else decision.term + 1
        mark = LeaseMark(self.stage.project, began, self.holder, self.mode, int(time.time()), frozenset({self.stage.session_id}))
        if self.stage.create(mark) if first else self.stage.take(decision.term):
            self._unseen_since = None
            term = Term(mark, self.stage, self.clock, self.seconds, self.sessions, self.most_open, first=first, live=decision.live)
            return Turn(0.0, Standing(False, f"begins term {began}"), term)
        return self._unseen(self.stage.name(1)) if first else Turn(self.seconds / AGAIN)

    def _rival(self) -> str:
        """Who holds a lease of the project in another schema, in words; '' when nobody does, or has not renewed it for long."""
        now, before = self.clock.now(), self._rivals
        held = self.stage.elsewhere()
        self._rivals = {}
        for name, mark in held.items():
            said, since = before.get(name, (mark, now))
            self._rivals[name] = (mark, since if said == mark else now)
        for name, (mark, since) in self._rivals.items():
            if now - since < max(self.seconds, _RIVAL) and not self.is_gone(mark.holder):
                return (
                    f"{mark.words}, leads by stage {name}, in another schema than `home` says here: {self.stage.home}. Give both the same "
                    "`home`, or drop that stage if no snowcat works with it"
                )
        return ""

    def _unseen(self, name: QualifiedName) -> Turn:
        """It is there, and this role may not see it: somebody was faster, or another role leads the project."""
        now = self.clock.now()
        self._unseen_since = now if self._unseen_since is None else self._unseen_since
        owner = self.stage.owner()
        message = (
            f"stage {name}, of the lease of this project, is there already, but this role does not see it: "
            f"{f'role {owner}' if owner else 'another role'} works on the project. Was `role` in snowcat.yaml changed? All that work on a "
            f"project do so as one role: set it to {owner or 'that one'}, or drop the stages {self.stage.anchor} and …_LEASE_<number> "
            "beside it while no snowcat is up"
        )
        return Turn(self.seconds / AGAIN, Standing(False, message, hopeless=now - self._unseen_since >= _LISTED))

    def _no_home(self, error: AccountError) -> str:
        return (
            f"the lease of the project lies in schema {self.stage.home.sql} (`home` in snowcat.yaml), where this role cannot make a stage: "
            f"{redact(error.message)} Have an administrator run what 'snowcat bootstrap' prints, or set `lease: {{seconds: 0}}` "
            "and see to it that one snowcat at a time works on the project"
        )
