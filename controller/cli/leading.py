"""The lease of a command that changes the account: waited for before the first change, given back at the end.

Commands that only look take none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import structlog
import typer

from controller.account.limits import Limits, Timeouts
from controller.account.session import open_session
from controller.account.snapshot import Row
from controller.api.names import QualifiedName
from controller.cli.errors import Failure
from controller.cli.stopping import Stopping
from controller.cli.target import Opened
from controller.reconcile.lead.leadership import Alone, Leadership
from controller.reconcile.lead.lease import Lease
from controller.reconcile.lead.mark import Mode
from controller.reconcile.lead.process import Holder
from controller.reconcile.lead.stage import LeaseStage

log = structlog.get_logger("snowcat.lease")
_LEAST = 2.0  # seconds that a statement of a lease may take at least


@contextmanager
def sharing(project: Opened, mode: Mode) -> Iterator[Leadership]:
    """A lease that is looked after while the block runs, but that this process may not have yet."""
    settings = project.settings
    if settings.home is None or not settings.lease.seconds or project.holder is None:
        log.info("no lease: see to it that one snowcat at a time works on the project")
        yield Alone()
        return
    lease = _lease(project, QualifiedName.parse(settings.home), mode, project.holder)
    lease.start()
    try:
        yield lease
    finally:
        lease.release()


@contextmanager
def leading(project: Opened, timeout: float | None, stopping: Stopping) -> Iterator[tuple[Leadership, float | None]]:
    """As `sharing`, once this process leads, with what is then left of the time.

    A daemon gives way and comes back after; another command is waited for, and it is said who runs it. A signal meanwhile gives back what
    others would have to wait for.

    Raises:
        Failure: the time was up before, or there can be no lease.
        AccountError: the account did not answer.
    """
    began = time.monotonic()
    project.pool.open_all()  # the first look, and the first renewal, find them open
    with sharing(project, Mode.APPLY) as leadership:
        stopping.give_back = leadership.release
        if isinstance(leadership, Lease):
            standing = leadership.await_leading(lambda message: typer.echo(message, err=True), timeout)
            if standing.error is not None and not standing.leads:
                raise standing.error
            if not standing.leads:
                raise Failure(standing.message if standing.hopeless else f"nothing was done within {timeout:g} seconds: {standing.message}")
        yield leadership, None if timeout is None else max(0.0, timeout - (time.monotonic() - began))


def _lease(project: Opened, home: QualifiedName, mode: Mode, holder: Holder) -> Lease:
    """The lease of an open project. Its sessions are its own, and held to its period: what takes longer comes too late."""
    settings, pool = project.settings, project.pool
    longest = max(_LEAST, settings.lease.seconds)
    limits = Limits(Timeouts(longest, longest, longest, longest), answering=pool.limits.answering)
    opener = partial(open_session, pool.connection, role=pool.role, counters=pool.counters.child(), tag=pool.tag, limits=limits)

    def wide(question: str) -> tuple[Row, ...]:
        with pool.wide().session() as session:
            return session.execute(question).rows

    stage = LeaseStage(home, settings.project, opener, wide)
    seconds = settings.lease.seconds
    return Lease(stage, holder, mode, seconds, lost=pool.expire, sessions=lambda: pool.ids, most_open=pool.size)
