"""Says that the account does not answer, and that it is tried again; and that it is back. Each once."""

from __future__ import annotations

import sys
from functools import partial

import structlog

from controller.account.answering import Answering
from controller.account.connections import Connection
from controller.account.limits import Limits
from controller.account.redact import redact
from controller.reconcile.events import Reason
from controller.reconcile.meter import Meter
from controller.reconcile.state import State

log = structlog.get_logger("snowcat.run")


def say_silence(connection: Connection, seconds: float | None) -> None:
    """For a person who waits for a command. `seconds`: as `Answering.tell` gives them."""
    text = f"snowcat: {_silent(connection)}" if seconds is None else f"snowcat: {_back(seconds)}"
    print(redact(text), file=sys.stderr, flush=True)  # noqa: T201


def heard(connection: Connection) -> Limits:
    """The limits of sessions whose silence is said so."""
    return Limits(answering=Answering(partial(say_silence, connection)))


def note_silence(state: State, connection: Connection, meter: Meter, seconds: float | None) -> None:
    """For a daemon: a line of its log, an event, and metrics."""
    if seconds is None:
        log.warning("account does not answer", message=_silent(connection))
        state.event("Project", Reason.UNREACHABLE, _silent(connection))
    else:
        log.info("account answers again", message=_back(seconds), duration=round(seconds, 3))
        state.event("Project", Reason.REACHABLE, _back(seconds))
    meter.account_answers(seconds is not None)


def _silent(connection: Connection) -> str:
    return f"the account at {connection.address} does not answer, trying again: {connection.if_silent}"


def _back(seconds: float) -> str:
    return f"the account answers again, after {seconds:.0f} seconds"
