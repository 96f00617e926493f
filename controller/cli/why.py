"""`snowcat why KIND/NAME`: the chain from an object to the one root cause, what to do, and what the container wrote last.

One look at the account, joined with the local history; no daemon is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from controller.account import statements
from controller.account.errors import AccountError
from controller.account.redact import redact
from controller.account.session import Session
from controller.account.snapshot import Show
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.cli.errors import Failure
from controller.cli.logs import readable
from controller.cli.objects import ago
from controller.cli.options import Format
from controller.cli.services import service_of
from controller.cli.tables import print_document
from controller.cli.target import Opened, Target, opened
from controller.cli.words import one_key
from controller.reconcile.events import Event
from controller.reconcile.lead.mark import LeaseState, parse, term_of
from controller.reconcile.why import Cause, Why
from controller.reconcile.why import why as explain

_LINES = 15  # of a container's log
_EVENTS = 5


def why(target: Target, text: str, output: Format) -> None:
    """Say why an object is not ready.

    Raises:
        Failure: there is no such object, or several.
        AccountError: the account could not be read.
    """
    with opened(target) as project:
        loaded, now, found = project.engine.assess()
        for problem in loaded.problems:
            typer.echo(str(problem), err=True)
        statuses = {status.key: status for status in found}
        key = one_key(text, statuses)
        told = explain(key, now, statuses, _leader(project))
        logs = _logs(project, told.root.key) if told.logs else []
        events = project.state.events(told.root.key, _EVENTS)
    if output is not Format.TABLE:
        print_document({**told.as_dict(), "logs": logs, "events": [event.as_dict() for event in events]}, output)
        return
    for line in why_lines(told, logs, events):
        typer.echo(redact(line))


def why_lines(told: Why, logs: list[str], events: list[Event]) -> Iterator[str]:
    """The chain, one object a line and deeper for each, then the cause."""
    if told.cause is Cause.FINE:
        message = told.root.status.message
        yield f"{told.root.key} is ready" + (f": {message}" if message else "")
        return
    for depth, link in enumerate(told.chain):
        relation = f"{link.relation} " if link.relation else ""
        status = link.status
        yield f"{'  ' * depth}{relation}{link.key}  {status.sync.value}, {status.health.value}" + (
            f": {status.message}" if link is told.root and status.message else ""
        )
    root = told.root
    yield ""
    yield f"Root cause:  {root.key}: {root.status.message or told.cause.name.lower()}"
    if root.status.location is not None:
        yield f"Manifest:    {root.status.location}"
    yield f"What to do:  {told.advice}"
    if logs:
        yield "Last lines of its container:"
        yield from (f"  {readable(line)}" for line in logs)
    if events:
        yield "What happened to it:"
        for event in events:
            times = f" (×{event.count})" if event.count > 1 else ""
            yield f"  {ago(event.time):<12}  {event.type:<7}  {event.reason:<16}  {event.message}{times}"


# ---- from the account ------------------------------------------------------------------------------------------------------------------


def _leader(project: Opened) -> str:
    """Who holds the project's lease, in words; '' where nobody does or none can be seen."""
    settings = project.settings
    if settings.home is None:
        return ""
    try:
        with project.pool.session() as session:
            rows = session.execute(Show("STAGES", f"SCHEMA {QualifiedName.parse(settings.home).sql}").sql).rows
    except AccountError:
        return ""
    terms = {term: row for row in rows if (term := term_of(settings.project, str(row.get("name", "")))) is not None}
    mark = parse(str(terms[max(terms)].get("comment") or "")) if terms else None
    return f"{mark.words} leads the project" if mark is not None and mark.state is LeaseState.HELD else ""


def _logs(project: Opened, key: ObjectKey) -> list[str]:
    """What the container that fails wrote last; nothing where there is none or this role may not read it."""
    try:
        with project.pool.session() as session:
            service, _ = service_of(session, key, project.settings.project)
            container = _failing(session, service)
            if container is None:
                return []
            for previous in (False, True):  # one that was just started again has not written yet
                call = statements.call_system("GET_SERVICE_LOGS", service, *container, _LINES, previous)
                if lines := str(session.execute(call).scalar or "").splitlines():
                    return [redact(line) for line in lines]
            return []
    except (AccountError, Failure):
        return []


def _failing(session: Session, service: str) -> tuple[str, str] | None:
    """Instance and name of the container that is to blame: one that failed, else one that was started again, else the first."""
    rows = session.execute(Show("SERVICE CONTAINERS", f"SERVICE {service}").sql).rows
    named = [row for row in rows if row.get("container_name")]
    if not named:
        return None
    worst = min(named, key=_badness)
    return str(worst.get("instance_id") or "0"), str(worst["container_name"])


def _badness(row: Any) -> tuple[bool, int]:
    return str(row.get("status", "")).upper() != "FAILED", -int(float(row.get("restart_count") or 0))
