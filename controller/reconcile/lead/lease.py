"""The lease of one project: of all processes that work on it, one leads.

A thread renews it, or waits for it. Workers ask `admit` before each statement. The protocol, and why no statement of an earlier term takes
effect after the first one of a later term, stand in docs/decisions/lease.md; the steps here have its numbers.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import structlog

from controller.account.errors import AccountError, Denied, LoginFailed, NotFound, Transient
from controller.account.redact import redact
from controller.account.session import Session
from controller.api.names import QualifiedName
from controller.reconcile.clock import Clock
from controller.reconcile.lead.election import Decision, Do, Watch
from controller.reconcile.lead.leadership import NotLeading, Standing
from controller.reconcile.lead.mark import Found, LeaseMark, LeaseState, Mode
from controller.reconcile.lead.process import Holder, gone
from controller.reconcile.lead.stage import LeaseStage, Lost

log = structlog.get_logger("snowcat.lease")

_MANY = 4  # times the sessions that can be open at once: so many of one term before the least used are ended
_KEPT = 3  # times as many are left: more than can be open, with the lease's own, so what is ended is not in use
_PATIENCE = 45.0  # seconds without an answer after which a command gives up; a daemon goes on
_LISTED = 8.0  # seconds in which a home that was made just now, and a grant on it, must show
_LEAVE = 2.5  # seconds that a stop waits for a renewal under way
_RIVAL = 60.0  # seconds without a renewal after which a lease in another schema, whose period is not known, counts as deserted
_AGAIN = 12  # parts of a period after which what failed is tried again


@dataclass
class _Term:
    """A term that this process has begun. `entered`: the earlier ones are ended, or were waited for, and it may change the account."""

    mark: LeaseMark
    begun: float
    created: bool = False  # it is a first term; the others were taken from an earlier holder
    read: bool = False  # what the earlier holder left is known, and stands in our own comment
    alone: bool = False  # there was nothing: our own comment names no session of others
    entered: bool = False
    unfenced: bool = False  # a session of an earlier term could not be ended
    live: bool = False  # the earlier holder is at work, and will be back
    lower: tuple[int, ...] = ()  # leases of earlier terms that lie about
    valid_until: float = 0.0
    used: dict[str, float] = field(default_factory=dict)  # session of this term → when a statement was last admitted in it
    unsure: set[str] = field(default_factory=set)  # of those: a statement was given up


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
    _term: _Term | None = field(default=None, init=False)
    _standing: Standing = field(default=Standing(False, "has not looked at the lease yet"), init=False)
    _doubt: bool = field(default=False, init=False)
    _failing_since: float | None = field(default=None, init=False)
    _failing_with: type[Exception] | None = field(default=None, init=False)
    _homeless_since: float | None = field(default=None, init=False)
    _unseen_since: float | None = field(default=None, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _nudge: threading.Event = field(default_factory=threading.Event, init=False)
    _writing: threading.RLock = field(default_factory=threading.RLock, init=False)
    _rivals: dict[str, tuple[LeaseMark, float]] = field(default_factory=dict, init=False)  # leases elsewhere, each as it is since when
    _thread: threading.Thread | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._watch = Watch(self.seconds, self.holder, self.mode, self.is_gone)

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
                    self._write(term)
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
                self._give_up(term, drop=drop, quiet=quiet)
        except (AccountError, Lost) as error:
            log.warning("the lease could not be released, it ends by itself", error=redact(str(error)))
        finally:
            self.stage.close()
            self._writing.release()

    def _give_up(self, term: _Term, *, drop: bool, quiet: bool) -> None:
        if drop and term.entered and not term.live:
            self.stage.drop_anchor()  # while the term is still held: nobody of this role begins one without it
            self.stage.drop(term.mark.term)
        elif not term.read and not self._read(term):
            return  # the comment may still be the earlier holder's, with sessions that the next one has to end
        else:
            sessions = self._unfinished(term) if quiet and term.entered else term.mark.sessions
            self.stage.write(replace(term.mark, sessions=sessions, renewals=term.mark.renewals + 1, state=LeaseState.RELEASED))
        log.info("lease released", term=term.mark.term)

    def _unfinished(self, term: _Term) -> frozenset[str]:
        """The sessions in which something may still be under way, though nobody waits for it: all but those that can be ended now."""
        left = set(term.unsure)
        for session in sorted(left & dict(term.used).keys()):
            with contextlib.suppress(AccountError):
                self.stage.abort(session)
                left.discard(session)
        return frozenset(left)

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
                    seconds = self._campaign()
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
            return self.seconds / _AGAIN

    # ---- without it ----------------------------------------------------------------------------------------------------------------------

    def _campaign(self) -> float:
        """Look whether the lease can be had; if so, begin a term."""
        try:
            found = self.stage.look()
            self._homeless_since = None
            now = self.clock.now()
            if found and self.stage.anchored:
                self._unseen_since = None
            decision = self._watch.decide(found, now)
            if decision.do is Do.STOP:
                name = f"stage {self.stage.name(decision.term)}"
                self._stand(Standing(False, f"{name} should be the lease of this project, but {decision.message}", hopeless=True))
            elif decision.do is Do.WAIT:
                self._stand(Standing(False, f"{decision.message}, leads", waits=True))
                return min(decision.seconds, self.seconds / 3)
            elif not self._anchored():
                self._unseen(now, self.stage.anchor)
            elif rival := self._rival():
                self._stand(Standing(False, rival, waits=True))
                return self.seconds / 3
            elif self._begin(decision):
                self._unseen_since = None
                return 0.0
            elif decision.do is Do.CREATE:
                self._unseen(now, self.stage.name(1))
            return self.seconds / _AGAIN
        except (NotFound, Denied) as error:
            now = self.clock.now()
            self._homeless_since = now if self._homeless_since is None else self._homeless_since
            hopeless = now - self._homeless_since >= _LISTED
            self._stand(Standing(False, self._no_home(error), hopeless=hopeless))
            return self.seconds / (3 if hopeless else _AGAIN)

    def _anchored(self) -> bool:
        """Whether the leases that were listed are the project's, and not those of this role beside another one's."""
        return self.stage.anchored or self.stage.claim()

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

    def _unseen(self, now: float, name: QualifiedName) -> None:
        """It is there, and this role may not see it: somebody was faster, or another role leads the project."""
        self._unseen_since = now if self._unseen_since is None else self._unseen_since
        owner = self.stage.owner()
        message = (
            f"stage {name}, of the lease of this project, is there already, but this role does not see it: "
            f"{f'role {owner}' if owner else 'another role'} works on the project. Was `role` in snowcat.yaml changed? All that work on a "
            f"project do so as one role: set it to {owner or 'that one'}, or drop the stages {self.stage.anchor} and …_LEASE_<number> "
            "beside it while no snowcat is up"
        )
        self._stand(Standing(False, message, hopeless=now - self._unseen_since >= _LISTED))

    def _begin(self, decision: Decision) -> bool:
        """Step 1: the compare-and-swap. False when somebody else was faster."""
        first = decision.do is Do.CREATE
        began = decision.term if first else decision.term + 1
        mark = LeaseMark(self.stage.project, began, self.holder, self.mode, int(time.time()), frozenset({self.stage.session_id}))
        if not (self.stage.create(mark) if first else self.stage.take(decision.term)):
            return False
        self._term = _Term(mark, self.clock.now(), created=first, live=decision.live)
        self._stand(Standing(False, f"begins term {began}"))
        return True

    # ---- with it -------------------------------------------------------------------------------------------------------------------------

    def _hold(self, term: _Term) -> float:
        if term.entered:
            self._write(term)
        else:
            seconds = self._enter(term)
            if not term.entered:
                return seconds
        self._doubt = False
        self._stand(Standing(True, f"leads in term {term.mark.term}"))
        return self.seconds / 3

    def _enter(self, term: _Term) -> float:
        """Steps 2 to 5: read what the earlier holder left, write that into our own comment, end its sessions, and then lead."""
        if not term.read and not self._read(term):
            return self.seconds / _AGAIN
        for session in sorted(term.mark.before):
            self._end(term, session)
        left = term.begun + self.seconds - self.clock.now() if term.unfenced else 0.0
        if left > 0:
            self._write(term)
            return min(left, self.seconds / 3)
        for lower in term.lower:
            self.stage.drop(lower)
        if term.lower or not term.alone:
            self._write(term, before=frozenset())
        term.entered = True
        log.info("leading", term=term.mark.term, holder=str(self.holder), mode=self.mode.value)
        return 0.0

    def _read(self, term: _Term) -> bool:
        """Steps 2 and 3. False while the listing is from before the term began: what it says of the earlier holder may be old as well."""
        now = term.mark.term
        found = {lease.term: lease for lease in self.stage.look()}
        if max(found, default=now) > now:
            self.stage.drop(now)  # it is still there only if a CREATE came so late that others have led meanwhile
            raise Lost
        if now not in found or (term.created and not self._written_by_us(found[now])) or not self._anchored():
            return False
        before = set(term.mark.before)
        for lease in found.values():
            if lease.mark is not None:
                own = lease.mark.holder == self.holder and lease.mark.term == now
                before |= lease.mark.before if own else lease.mark.before | lease.mark.sessions
        term.lower = tuple(lease.term for lease in found.values() if lease.term < now and lease.mark is not None)
        self._write(term, before=frozenset(before - {self.stage.session_id}))
        term.read, term.alone = True, not term.mark.before
        return True

    def _written_by_us(self, lease: Found) -> bool:
        """Else a listing is from a time when an earlier first term was there, which may have been taken over since."""
        return lease.mark is not None and lease.mark.holder == self.holder

    def _end(self, term: _Term, session: str) -> None:
        """Step 4, for one session.

        Raises:
            Transient: the account did not answer; it is tried again.
        """
        try:
            self.stage.abort(session)
        except Transient:
            raise
        except AccountError as error:
            if not term.unfenced:
                log.warning(
                    "a session of the earlier leader cannot be ended: waiting one lease more. "
                    "A statement of it that is still under way after that may yet take effect",
                    session=session,
                    error=redact(error.message),
                    seconds=self.seconds,
                )
            term.unfenced = True
            return
        term.mark = replace(term.mark, before=term.mark.before - {session})

    def _write(self, term: _Term, before: frozenset[str] | None = None) -> None:
        """A renewal: one ALTER, which fails once the next term has begun, and one SHOW.

        Raises:
            Lost: the next term has begun.
            AccountError: whether it counts is not known.
        """
        sent = self.clock.now()
        term.used.update(dict.fromkeys((self.stage.session_id, *self.sessions()), sent))
        self._end_unused(term)
        mark = replace(
            term.mark,
            sessions=frozenset(dict(term.used)),  # a copy in one step: workers note their sessions meanwhile
            before=term.mark.before if before is None else before,
            renewals=term.mark.renewals + 1,
        )
        self.stage.write(mark)
        if any(lease.term > mark.term for lease in self.stage.look()) or not self._anchored():
            raise Lost
        term.mark, term.valid_until = mark, sent + self.seconds

    def _end_unused(self, term: _Term) -> None:
        """End the sessions that the pool has replaced long since, so that the comment does not grow for ever."""
        if len(term.used) <= _MANY * self.most_open:
            return
        used = dict(term.used)
        for session in sorted(used, key=lambda one: used[one])[: -_KEPT * self.most_open]:
            try:
                self.stage.abort(session)
            except Transient:
                continue
            except AccountError as error:  # gone by itself, or nobody may end it: then no successor could either
                log.debug("a session that is not used any more cannot be ended", session=session, error=redact(error.message))
            del term.used[session]

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

    def _no_home(self, error: AccountError) -> str:
        return (
            f"the lease of the project lies in schema {self.stage.home.sql} (`home` in snowcat.yaml), where this role cannot make a stage: "
            f"{redact(error.message)} Have an administrator run what 'snowcat bootstrap' prints, or set `lease: {{seconds: 0}}` "
            "and see to it that one snowcat at a time works on the project"
        )
