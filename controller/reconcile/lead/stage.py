"""The statements of a lease, in a session of its own, so that work under way never keeps a renewal waiting.

A lease is a stage without files: making, renaming and commenting one needs no warehouse. Its name holds the term. A term begins by renaming
the stage of the term before, which the account does for one process only, and after which no statement of the earlier holder finds it.
Source: docs.snowflake.com, sql-reference/sql/alter-stage (RENAME TO), sql-reference/functions/system_abort_session.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from controller.account import statements as sql
from controller.account.errors import AccountError, AlreadyExists, Denied, NotFound, Transient
from controller.account.session import Session
from controller.account.snapshot import Describe, Row
from controller.api.names import QualifiedName
from controller.kinds.mark import LEASE
from controller.reconcile.lead.mark import Found, LeaseMark, LeaseState, anchor_name, lease_name, like, parse, term_of

log = structlog.get_logger("snowcat.lease")
_LOG_OUT = 2.0  # seconds
_GONE = re.compile(
    r"session\b.*\b(not exist|not found|no longer|not active|already|expired|ended|closed|terminated)", re.IGNORECASE | re.DOTALL
)
_DENIED = re.compile(r"authori[sz]ed|privilege|permission|denied", re.IGNORECASE)
"""Snowflake documents no error for a session that is gone, so its words decide here and nowhere else."""


class Lost(Exception):
    """The stage of this term is not there any more: somebody else has begun the next one."""


@dataclass
class LeaseStage:
    """The leases of one project. For one thread at a time. Every method raises AccountError when the account does not do it."""

    home: QualifiedName
    project: str
    opener: Callable[[], Session]
    wide: Callable[[str], Iterable[Row]] = lambda _: ()  # the rows of a SHOW as all roles of the user see them
    anchored: bool = field(default=False, init=False)  # the last look listed the anchor
    _session: Session | None = field(default=None, init=False)
    _unsure: set[str] = field(
        default_factory=set, init=False
    )  # sessions with a statement of which nobody knows whether it is still to come

    @property
    def session_id(self) -> str:
        """The session that the next statement is sent in."""
        return self._opened().id

    def look(self) -> list[Found]:
        """All leases of the project.

        Raises:
            NotFound: the home schema is missing, or this role may not use it.
        """
        question = f"SHOW STAGES LIKE {sql.text(like(self.project))} IN SCHEMA {self.home.sql}"
        found, self.anchored = [], False
        for row in self._run(question):
            self.anchored |= row.get("name") == self.anchor.name.text
            term = term_of(self.project, str(row.get("name", "")))
            comment = str(row.get("comment") or "")
            mark = parse(comment)
            if term is not None:
                found.append(Found(term, mark if mark is not None and mark.project == self.project else None, comment))
        return found

    def elsewhere(self) -> dict[str, LeaseMark]:
        """Leases of the project in other schemas that are held, as far as this role sees them, by their full names."""
        found = {}
        for row in self._run(f"SHOW STAGES LIKE {sql.text(like(self.project))} IN ACCOUNT"):
            place = (row.get("database_name"), row.get("schema_name"))
            mark = parse(str(row.get("comment") or ""))
            if mark is None or mark.project != self.project or mark.state is not LeaseState.HELD or None in place:
                continue
            if place != tuple(part.text for part in self.home.parts):
                found[f"{place[0]}.{place[1]}.{row.get('name')}"] = mark
        return found

    def claim(self) -> bool:
        """Whether the leases that this role sees are the project's: the anchor can be seen, or is made now.

        False: it is another role's, which has leases of its own that no listing shows to this one.
        """
        comment = f"{LEASE}-role project={self.project}] the role that owns this stage leads the project"
        try:
            self._run(sql.create("STAGE", self.anchor, [sql.equals("COMMENT", sql.text(comment))]))
        except AlreadyExists:
            try:
                self._run(Describe("STAGE", self.anchor.sql).sql)  # by its name, not in a listing that may be late
            except (NotFound, Denied):
                return False
        return True

    def ours(self) -> bool:
        """Whether the leases that were listed last are the project's, and not those of this role beside another one's."""
        return self.anchored or self.claim()

    def owner(self) -> str:
        """The role that the anchor belongs to, '' when no role of this user may see it."""
        try:
            rows = self.wide(f"SHOW STAGES LIKE {sql.text(self.anchor.name.text)} IN SCHEMA {self.home.sql}")
        except AccountError:
            return ""
        return next((str(row.get("owner") or "") for row in rows if row.get("name") == self.anchor.name.text), "")

    def create(self, mark: LeaseMark) -> bool:
        """The first term; False when somebody else was first."""
        try:
            self._run(sql.create("STAGE", self.name(mark.term), [sql.equals("COMMENT", sql.text(str(mark)))]))
        except AlreadyExists:
            return False
        return True

    def take(self, term: int) -> bool:
        """Begin the term after `term`; False when somebody else did."""
        try:
            self._run(sql.alter("STAGE", self.name(term), f"RENAME TO {self.name(term + 1).sql}"))
        except (NotFound, AlreadyExists):
            return False
        return True

    def write(self, mark: LeaseMark) -> None:
        """Write the comment of a term.

        Raises:
            Lost: the term is over.
        """
        try:
            self._run(sql.alter_set("STAGE", self.name(mark.term), [sql.equals("COMMENT", sql.text(str(mark)))]))
        except NotFound:
            raise Lost from None

    def drop(self, term: int) -> None:
        with contextlib.suppress(NotFound):
            self._run(sql.drop("STAGE", self.name(term)))

    def drop_anchor(self) -> None:
        with contextlib.suppress(NotFound):
            self._run(sql.drop("STAGE", self.anchor))

    def abort(self, session_id: str) -> None:
        """End a session and what runs in it; one that is gone has ended.

        Raises:
            AccountError: this role may not end it, which an answer that leaves both open counts as.
        """
        try:
            self._run(sql.call_system("ABORT_SESSION", int(session_id)))
        except Transient:
            raise
        except AccountError as error:
            if not _GONE.search(error.message) or _DENIED.search(error.message):
                raise

    def close(self) -> None:
        if self._session is not None:
            self._session.close(_LOG_OUT)
            self._session = None

    @property
    def anchor(self) -> QualifiedName:
        return anchor_name(self.home, self.project)

    def name(self, term: int) -> QualifiedName:
        return lease_name(self.home, self.project, term)

    def _run(self, statement: str) -> tuple[Row, ...]:
        session = self._opened()
        try:
            return tuple(session.execute(statement).rows)
        except Transient:
            self._leave(session)
            raise

    def _leave(self, session: Session) -> None:
        """Nobody knows what became of its last statement."""
        self._unsure.add(session.id)
        session.break_off()
        self.close()

    def _opened(self) -> Session:
        """The session to send in. A statement that was given up must not come after those that follow it: its session is ended first."""
        if self._session is None or not self._session.alive:
            self.close()
            self._session = self.opener()
        for earlier in sorted(self._unsure):
            try:
                self._session.execute(sql.call_system("ABORT_SESSION", int(earlier)))
            except Transient:
                self._leave(self._session)
                raise
            except AccountError:
                log.debug("a session of the lease cannot be ended", session=earlier)  # it is gone, or this role may end none
            self._unsure.discard(earlier)
        return self._session
