"""Carries out one change: its steps in order, in one session, every statement logged once with its object, duration and id.

What an error means for the object is decided by `backoff`; here it is only caught, so that no worker ever dies silently.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from controller.account.errors import AccountError, AlreadyExists, Denied, NotFound, Rejected, TimedOut, Transient
from controller.account.pool import SessionPool
from controller.account.redact import redact
from controller.account.session import Result, Session, Statement
from controller.account.tracing import Span, span
from controller.api.objects import ObjectKey
from controller.kinds.base import Effect, Sql
from controller.reconcile.lead.leadership import Alone, Interrupted, Leadership, NotLeading
from controller.reconcile.planning.change import Action, Change
from controller.reconcile.work.unseen import Questions, judged

log = structlog.get_logger("snowcat.reconcile")


@dataclass(eq=False)
class LoggedSession(Session):
    """A lent session that logs every statement once, those of effects too. `about` says for which object it is sent.

    Each is sent only while this process may change the account, or raises NotLeading.
    """

    about: Mapping[str, Any] = field(default_factory=dict)
    leadership: Leadership = field(default_factory=Alone)
    last_id: str = ""

    def __post_init__(self) -> None:
        self._term = self.leadership.term

    def cleared(self) -> None:
        self.leadership.admit(self)
        if self.leadership.term != self._term:
            raise NotLeading("somebody else has led since this change was begun: it is looked at again")

    def execute(self, statement: Statement | str, parameters: Sequence[Any] | None = None) -> Result:
        self.cleared()
        shown = statement if isinstance(statement, str) else statement.display or statement.text
        started = time.monotonic()
        try:
            result = super().execute(statement, parameters)
        except Exception as error:
            if isinstance(error, Transient):
                self.leadership.unsure(self)
            took = round(time.monotonic() - started, 3)
            log.warning("statement failed", **self.about, sql=redact(shown), duration=took, error=redact(str(error)))
            raise
        self.last_id = result.query_id or self.last_id
        took = round(time.monotonic() - started, 3)
        more = {} if result.tolerated is None else {"tolerated": result.tolerated}
        log.info("statement", **self.about, sql=redact(shown), duration=took, statement_id=result.query_id, **more)
        return result


@dataclass(frozen=True)
class Done:
    """How a change went. `statement_id` is that of the last statement, for the event."""

    change: Change
    error: Exception | None = None
    seconds: float = 0.0
    statement_id: str = ""


@dataclass
class WorkContext:
    """What an effect may use; see `EffectContext`."""

    session: Session
    workdir: Path
    say: Callable[[str], None]
    keep: Callable[[str, Any], None]

    def progress(self, message: str) -> None:
        self.say(redact(message))

    def remember(self, key: str, value: Any) -> None:
        self.keep(key, value)


@dataclass
class Executor:
    """Carries changes out. One for all workers; each call borrows a session for itself."""

    pool: SessionPool
    stopping: threading.Event = field(default_factory=threading.Event)
    leadership: Leadership = field(default_factory=Alone)
    remember: Callable[[str, Any], None] = lambda key, value: None
    questions: Questions = lambda key: ()
    cycle: Span | None = None  # the last one, which spans of changes belong to
    _sessions: dict[ObjectKey, Session] = field(default_factory=dict)  # of the changes under way

    def abort(self, key: ObjectKey) -> None:
        """End the work on an object: its session is broken off, and every statement in it fails from now on."""
        session = self._sessions.get(key)
        if session is not None:
            session.break_off(TimedOut("the work on the object took longer than `timeouts: {object}` of snowcat.yaml allows"))

    def run(self, change: Change, say: Callable[[str], None]) -> Done:
        """Do all steps. Never raises: the error is in the result."""
        about = {"snowcat__kind": change.key.kind, "snowcat__name": str(change.key.name), "snowcat__action": change.action.value}
        with span("change", parent=self.cycle, **about) as traced:
            done = self._run(change, say)
            if done.error is not None:
                traced.fail(f"{type(done.error).__name__}: {done.error}")
            return done

    def _run(self, change: Change, say: Callable[[str], None]) -> Done:
        started = time.monotonic()
        about = {"object": change.key, "action": change.action.value}
        statement_id, error = "", None
        try:
            with self.pool.session(first=True) as lent, tempfile.TemporaryDirectory(prefix="snowcat-") as folder:
                session = LoggedSession(lent.driver, lent.counters, lent.line, lent.limits, about=about, leadership=self.leadership)
                self._sessions[change.key] = session
                try:
                    self._steps(change, WorkContext(session, Path(folder), say, self.remember))
                except AlreadyExists as unseen:
                    raise judged(unseen, change.key, session, self.pool.wide(), self.questions) from None
                finally:
                    del self._sessions[change.key]
                    lent.alive, statement_id = session.alive, session.last_id
        except Exception as caught:  # noqa: BLE001 - it is handed to the loop, which knows what to do about each class
            error = caught
        return Done(change, error, time.monotonic() - started, statement_id)

    def _steps(self, change: Change, context: WorkContext) -> None:
        refused: AccountError | None = None
        dropped = change.action is not Action.DELETE or not any(isinstance(step, Sql) for step in change.steps)
        for step in change.steps:
            if self.stopping.is_set():
                raise Interrupted("stopped between two steps; the rest follows on the next start")
            apart = isinstance(step, Sql) and step.apart
            if refused is not None and not apart:
                break  # it rests on all before it, as the comment does that says what was taken back
            context.progress(str(step).partition("\n")[0])
            try:
                if isinstance(step, Sql):
                    dropped |= context.session.execute(step).tolerated is None
                else:
                    self._effect(change, step, context)
            except (Denied, NotFound, Rejected) as error:
                if not apart:
                    raise
                refused = refused or error
        if refused is not None:
            raise refused
        if not dropped:  # the account says the same of what is not there and of what this role may not drop: the next look tells
            why = "the listing is late, or another role owns it now and must drop it"
            raise NotFound(f"{change.key} is listed, and the account has nothing to drop: {why}")

    def _effect(self, change: Change, effect: Effect, context: WorkContext) -> None:
        started = time.monotonic()
        about = {"object": change.key, "action": change.action.value, "effect": redact(str(effect))}
        try:
            effect.run(context)
        except Exception as error:
            context.session.alive = False  # it may be in the middle of a transaction
            log.warning("effect failed", **about, duration=round(time.monotonic() - started, 3), error=redact(str(error)))
            raise
        log.info("effect", **about, duration=round(time.monotonic() - started, 3))
