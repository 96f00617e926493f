"""Carries out one change: its steps in order, in one session, every statement logged once with its object, duration and id.

What an error means for the object is decided by `backoff`; here it is only caught, so that no worker ever dies silently.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from controller.account.errors import NotFound
from controller.account.redact import redact
from controller.account.session import Session, SessionPool
from controller.kinds.base import Effect, Sql
from controller.reconcile.change import Action, Change

log = structlog.get_logger("snowcat.reconcile")


class Interrupted(Exception):
    """The daemon is stopping; the rest of the steps are left for the next start."""


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

    def progress(self, message: str) -> None:
        self.say(redact(message))


@dataclass
class Executor:
    """Carries changes out. One for all workers; each call borrows a session for itself."""

    pool: SessionPool
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, change: Change, say: Callable[[str], None]) -> Done:
        """Do all steps. Never raises: the error is in the result."""
        started = time.monotonic()
        statement_id = ""
        try:
            with self.pool.session() as session, tempfile.TemporaryDirectory(prefix="snowcat-") as folder:
                context = WorkContext(session, Path(folder), say)
                for step in change.steps:
                    if self.stopping.is_set():
                        raise Interrupted("stopped between two steps; the rest follows on the next start")
                    say(redact(str(step).splitlines()[0]) if str(step) else "")
                    if isinstance(step, Sql):
                        statement_id = self._statement(change, step, session) or statement_id
                    else:
                        self._effect(change, step, context)
        except Exception as error:  # noqa: BLE001 - it is handed to the loop, which knows what to do about each class
            if not (isinstance(error, NotFound) and change.action is Action.DELETE):  # gone already
                return Done(change, error, time.monotonic() - started, statement_id)
        return Done(change, None, time.monotonic() - started, statement_id)

    def _statement(self, change: Change, step: Sql, session: Session) -> str:
        started = time.monotonic()
        about = {"object": str(change.key), "action": change.action.value, "sql": redact(str(step))}
        try:
            result = session.execute(step)
        except Exception as error:
            log.warning("statement failed", **about, seconds=round(time.monotonic() - started, 3), error=redact(str(error)))
            raise
        log.info(
            "statement", **about, seconds=round(time.monotonic() - started, 3), statement_id=result.query_id, tolerated=result.tolerated
        )
        return result.query_id

    def _effect(self, change: Change, effect: Effect, context: WorkContext) -> None:
        started = time.monotonic()
        about = {"object": str(change.key), "action": change.action.value, "effect": redact(str(effect))}
        try:
            effect.run(context)
        except Exception as error:
            log.warning("effect failed", **about, seconds=round(time.monotonic() - started, 3), error=redact(str(error)))
            raise
        log.info("effect", **about, seconds=round(time.monotonic() - started, 3))
