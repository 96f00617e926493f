"""The lease of one project: of all processes that work on it, one leads.

A thread renews it, or waits for it. Workers ask `admit` before each statement. How a term is won stands in `campaign`, what it does in the
account in `term`; the protocol, and why no statement of an earlier term takes effect after the first one of a later term, in
docs/decisions/lease.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from controller.account.errors import AccountError, LoginFailed, Transient
from controller.account.redact import redact
from controller.account.session import Session
from controller.reconcile.clock import Clock
from controller.reconcile.lead.campaign import Campaign
from controller.reconcile.lead.leadership import NotLeading, Standing
from controller.reconcile.lead.mark import Mode
from controller.reconcile.lead.process import Holder, gone
from controller.reconcile.lead.stage import LeaseStage, Lost
from controller.reconcile.lead.term import AGAIN, Term

log = structlog.get_logger("snowcat.lease")

_PATIENCE = 45.0  # seconds without an answer after which a command gives up; a daemon goes on
_LEAVE = 2.5  # seconds that a stop waits for a renewal under way


@dataclass
class Lease:
    """Leadership by a lease. `start` begins to renew or to wait, `release` gives it up.

    `changed` is called when the standing changes, `lost` when a term was taken away: whoever leads now ends the sessions of this process.
    `sessions` are those that are open for work, `most_open` of them at once: each renewal writes all of them into the lease, so that few
    changes wait for one.
    """

    stage: LeaseStage
    holder: Holder
    mode: Mode
    seconds: float = 15.0
    clock: Clock = field(default_factory=Clock)
    is_gone: Callable[[Holder], bool] = gone
    changed: Callable[[], None] = lambda: None
    lost: Callable[[], None] = lambda: None
    sessions: Callable[[], Iterable[str]] = tuple
    most_open: int = field(kw_only=True)
    _term: Term | None = field(default=None, init=False)
    _standing: Standing = field(default=Standing(False, "has not looked at the lease yet"), init=False)
    _doubt: bool = field(default=False, init=False)
    _failing_since: float | None = field(default=None, init=False)
    _failing_with: type[Exception] | None = field(default=None, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _nudge: threading.Event = field(default_factory=threading.Event, init=False)
    _writing: threading.RLock = field(default_factory=threading.RLock, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._campaign = Campaign(self.stage, self.holder, self.mode, self.seconds, self.clock, self.is_gone, self.sessions, self.most_open)

    # ---- what the loop and its workers ask -----------------------------------------------------------------------------------------------

    @property
    def term(self) -> int:
        """The term that this process leads in, or is about to; 0 when it is none."""
        term = self._term
        return term.mark.term if term is not None else 0

    def standing(self) -> Standing:
        standing = self._standing
        if standing.leads and not self.may_mutate():
            return Standing(False, "the lease was not renewed in time")
        return standing

    def may_mutate(self) -> bool:
        term = self._term
        return term is not None and term.entered and not self._doubt and self.clock.now() < term.valid_until

    def admit(self, session: Session) -> None:
        """See `Leadership.admit`. A session that no renewal has written into the lease is now, and the lease looked at after that."""
        term = self._term
        if term is None or not self.may_mutate():
            raise NotLeading(f"this process does not lead the project: {self._standing.message}")
        if session.id in term.mark.sessions:
            term.used[session.id] = self.clock.now()
            return
        with self._writing:
            if self._term is not term or not self.may_mutate():
                raise NotLeading(f"this process does not lead the project any more: {self._standing.message}")
            term.used[session.id] = self.clock.now()
            try:
                if session.id not in term.mark.sessions:  # a renewal for another one may have had it too
                    term.renew()
            except AccountError as error:
                self._in_doubt(error)
                self._nudge.set()
            except Lost:
                self._lose("somebody else leads")
        if self._term is not term or not self.may_mutate():
            raise NotLeading(f"this process does not lead the project any more: {self._standing.message}")

    def unsure(self, session: Session) -> None:
        term = self._term
        if term is not None:
            term.unsure.add(session.id)

    # ---- its life ------------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def await_leading(self, say: Callable[[str], None], timeout: float | None = None) -> Standing:
        """Wait until this process leads, or cannot, or the time is up. `say` is told who leads meanwhile, each once."""
        end = None if timeout is None else self.clock.now() + timeout
        woken, told = threading.Event(), ""
        self.changed = woken.set
        while True:
            woken.clear()
            standing = self.standing()
            if standing.leads or standing.hopeless or (end is not None and self.clock.now() >= end):
                return standing
            if standing.waits and standing.message != told:
                told = standing.message
                say(f"waiting for the lease: {told}")
            self.clock.wait(woken, self.seconds / 3)

    def release(self, *, drop: bool = False, quiet: bool = True) -> None:
        """Give the lease up, so that the next one need not wait.

        `quiet`: no statement of this process is under way, so its sessions need not be ended. `drop`: nothing of the project is left, so
        the lease goes too, unless the daemon that gave way waits for it.
        """
        self._stop.set()
        self._nudge.set()
        if self._thread is not None:
            self._thread.join(_LEAVE)
        if not self._writing.acquire(timeout=_LEAVE):
            self._term = None
            log.warning("the account does not answer: the lease is not released, it ends by itself")
            return
        try:
            term, self._term = self._term, None
            self._standing = Standing(False, "released")
            if term is not None:
                term.give_up(drop=drop, quiet=quiet)
        except (AccountError, Lost) as error:
            log.warning("the lease could not be released, it ends by itself", error=redact(str(error)))
        finally:
            self.stage.close()
            self._writing.release()

    def _keep(self) -> None:
        while not self._stop.is_set():
            seconds = self.step()
            self._nudge.wait(seconds)
            self._nudge.clear()

    def step(self) -> float:
        """One turn: renew it, take over, or see whether it can be had. The seconds until the next."""
        with self._writing:
            try:
                if self._term is None:
                    seconds = self._seek()
                elif self._term.entered and self.clock.now() >= self._term.valid_until:
                    self._lose("the lease was not renewed in time")
                    return 0.0
                else:
                    seconds = self._hold(self._term)
                self._failing_since = self._failing_with = None
                return seconds
            except Lost:
                self._lose("somebody else leads")
            except Exception as error:  # noqa: BLE001 - whatever the driver throws, a lease without its keeper would never come back
                self._in_doubt(error)
            return self.seconds / AGAIN

    def _seek(self) -> float:
        turn = self._campaign.turn()
        self._term = turn.term
        if turn.standing is not None:
            self._stand(turn.standing)
        return turn.seconds

    def _hold(self, term: Term) -> float:
        if term.entered:
            term.renew()
        else:
            seconds = term.enter()
            if not term.entered:
                return seconds
        self._doubt = False
        self._stand(Standing(True, f"leads in term {term.mark.term}"))
        return self.seconds / 3

    # ---- how it stands -------------------------------------------------------------------------------------------------------------------

    def _in_doubt(self, error: Exception) -> None:
        """The account did not answer as it should: nothing more is sent until a renewal succeeds."""
        now = self.clock.now()
        self._doubt = True
        self._failing_since = now if self._failing_since is None else self._failing_since
        hopeless = isinstance(error, LoginFailed) or now - self._failing_since >= _PATIENCE
        what = "the lease could not be renewed" if self._term else "the lease cannot be read"
        message = f"{what}: {redact(str(error) or type(error).__name__)}"
        kind, said = Transient if isinstance(error, Transient) else type(error), self._failing_with
        self._failing_with = kind
        standing = Standing(False, message, hopeless=hopeless, error=error if isinstance(error, AccountError) else None)
        self._stand(standing, told=said is kind)  # an account that is away is said to be so once, in whatever words

    def _lose(self, why: str) -> None:
        term, self._term, self._doubt = self._term, None, False
        log.warning("not leading any more", term=term.mark.term if term else 0, reason=why)
        self._stand(Standing(False, why), told=True)
        self.lost()

    def _stand(self, standing: Standing, *, told: bool = False) -> None:
        if standing != self._standing:
            said, self._standing = self._standing.message, standing
            if not standing.leads and standing.message != said and not told:
                log.info("standby", message=standing.message)
            self.changed()
