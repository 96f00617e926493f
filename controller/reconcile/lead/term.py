"""A term that this process has begun, from its first comment to its last; docs/decisions/lease.md has the numbers of the steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import structlog

from controller.account.errors import AccountError, Transient
from controller.account.redact import redact
from controller.reconcile.clock import Clock
from controller.reconcile.lead.mark import LeaseMark, LeaseState
from controller.reconcile.lead.stage import LeaseStage, Lost

log = structlog.get_logger("snowcat.lease")

AGAIN = 12  # parts of a period after which what failed is tried again
_MANY = 4  # times the sessions that can be open at once: so many of one term before the least used are ended
_KEPT = 3  # times as many are left: more than can be open, with the lease's own, so what is ended is not in use


@dataclass
class Term:
    """`entered`: the earlier terms are ended, or were waited for, and this process may change the account. For one thread at a time.

    `sessions` are those that are open for work, `most_open` of them at once.
    """

    mark: LeaseMark
    stage: LeaseStage
    clock: Clock
    seconds: float
    sessions: Callable[[], Iterable[str]]
    most_open: int
    first: bool = False  # there was none before; the others were taken from an earlier holder
    live: bool = False  # the earlier holder is at work, and will be back
    entered: bool = field(default=False, init=False)
    valid_until: float = field(default=0.0, init=False)
    used: dict[str, float] = field(default_factory=dict, init=False)  # session of this term → when a statement was last admitted in it
    unsure: set[str] = field(default_factory=set, init=False)  # of those: a statement was given up
    _read: bool = field(default=False, init=False)  # what the earlier holder left is known, and stands in our own comment
    _alone: bool = field(default=False, init=False)  # there was nothing: our own comment names no session of others
    _unfenced: bool = field(default=False, init=False)  # a session of an earlier term could not be ended
    _lower: tuple[int, ...] = field(default=(), init=False)  # leases of earlier terms that lie about

    def __post_init__(self) -> None:
        self._begun = self.clock.now()

    def enter(self) -> float:
        """Steps 2 to 5: read what the earlier holder left, write that into our own comment, end its sessions, and then lead.

        Returns:
            The seconds after which to go on, where it is not entered yet.
        Raises:
            Lost, AccountError: as `renew`.
        """
        if not self._read and not self._take_note():
            return self.seconds / AGAIN
        for session in sorted(self.mark.before):
            self._end(session)
        left = self._begun + self.seconds - self.clock.now() if self._unfenced else 0.0
        if left > 0:
            self.renew()
            return min(left, self.seconds / 3)
        for lower in self._lower:
            self.stage.drop(lower)
        if self._lower or not self._alone:
            self.renew(before=frozenset())
        self.entered = True
        log.info("leading", term=self.mark.term, holder=str(self.mark.holder), mode=self.mark.mode.value)
        return 0.0

    def renew(self, before: frozenset[str] | None = None) -> None:
        """One ALTER, which fails once the next term has begun, and one SHOW.

        `before`: the sessions of earlier terms that are still to end, where that changes.

        Raises:
            Lost: the next term has begun.
            AccountError: whether it counts is not known.
        """
        sent = self.clock.now()
        self.used.update(dict.fromkeys((self.stage.session_id, *self.sessions()), sent))
        self._end_unused()
        mark = replace(
            self.mark,
            sessions=frozenset(dict(self.used)),  # a copy in one step: workers note their sessions meanwhile
            before=self.mark.before if before is None else before,
            renewals=self.mark.renewals + 1,
        )
        self.stage.write(mark)
        if any(lease.term > mark.term for lease in self.stage.look()) or not self.stage.ours():
            raise Lost
        self.mark, self.valid_until = mark, sent + self.seconds

    def give_up(self, *, drop: bool, quiet: bool) -> None:
        """Let the next one begin at once; see `Lease.release`.

        Raises:
            Lost, AccountError: it ends by itself.
        """
        if drop and self.entered and not self.live:
            self.stage.drop_anchor()  # while the term is still held: nobody of this role begins one without it
            self.stage.drop(self.mark.term)
        elif not self._read and not self._take_note():
            return  # the comment may still be the earlier holder's, with sessions that the next one has to end
        else:
            sessions = self._unfinished() if quiet and self.entered else self.mark.sessions
            self.stage.write(replace(self.mark, sessions=sessions, renewals=self.mark.renewals + 1, state=LeaseState.RELEASED))
        log.info("lease released", term=self.mark.term)

    # ---- steps ---------------------------------------------------------------------------------------------------------------------------

    def _take_note(self) -> bool:
        """Steps 2 and 3. False while the listing is from before the term began: what it says of the earlier holder may be old as well."""
        now = self.mark.term
        found = {lease.term: lease.mark for lease in self.stage.look()}
        if max(found, default=now) > now:
            self.stage.drop(now)  # it is still there only if a CREATE came so late that others have led meanwhile
            raise Lost
        if now not in found or (self.first and not self._by_us(found[now])) or not self.stage.ours():
            return False
        before = set(self.mark.before)
        for mark in found.values():
            if mark is not None:
                written = mark.term == now and self._by_us(mark)  # else it is still the comment of an earlier term, perhaps one of ours
                before |= mark.before if written else mark.before | mark.sessions
        self._lower = tuple(term for term, mark in found.items() if term < now and mark is not None)
        self.renew(before=frozenset(before - {self.stage.session_id}))
        self._read, self._alone = True, not self.mark.before
        return True

    def _by_us(self, mark: LeaseMark | None) -> bool:
        """Else a listing of a first term is from a time when an earlier first term was there, which may have been taken over since."""
        return mark is not None and mark.holder == self.mark.holder

    def _end(self, session: str) -> None:
        """Step 4, for one session.

        Raises:
            Transient: the account did not answer; it is tried again.
        """
        try:
            self.stage.abort(session)
        except Transient:
            raise
        except AccountError as error:
            if not self._unfenced:
                log.warning(
                    "a session of the earlier leader cannot be ended: waiting one lease more. "
                    "A statement of it that is still under way after that may yet take effect",
                    session=session,
                    error=redact(error.message),
                    seconds=self.seconds,
                )
            self._unfenced = True
            return
        self.mark = replace(self.mark, before=self.mark.before - {session})

    def _end_unused(self) -> None:
        """End the sessions that the pool has replaced long since, so that the comment does not grow for ever."""
        if len(self.used) <= _MANY * self.most_open:
            return
        used = dict(self.used)
        for session in sorted(used, key=lambda one: used[one])[: -_KEPT * self.most_open]:
            try:
                self.stage.abort(session)
            except Transient:
                continue
            except AccountError as error:  # gone by itself, or nobody may end it: then no successor could either
                log.debug("a session that is not used any more cannot be ended", session=session, error=redact(error.message))
            del self.used[session]

    def _unfinished(self) -> frozenset[str]:
        """The sessions in which something may still be under way, though nobody waits for it: all but those that can be ended now."""
        left = set(self.unsure)
        for session in sorted(left & dict(self.used).keys()):
            with contextlib.suppress(AccountError):
                self.stage.abort(session)
                left.discard(session)
        return frozenset(left)
