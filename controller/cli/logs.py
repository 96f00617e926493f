"""`snowcat logs`: what a container has written; `-f` goes on."""

from __future__ import annotations

import json
import time

import typer

from controller.account import statements
from controller.account.errors import AccountError, NotFound, Transient
from controller.account.redact import redact
from controller.account.session import Session
from controller.account.snapshot import Show
from controller.cli.errors import Failure
from controller.cli.services import object_named, service_of
from controller.cli.target import Target, opened

_PERIOD = 1.0
_WINDOW = 1000  # lines asked for at a time when following
_PROGRESS = "SNOWCAT_PROGRESS "  # before the lines of a job that are for programs
_ENDED = {"DONE", "FAILED", "CANCELLED", "INTERNAL_ERROR", "DELETED"}


def logs(target: Target, text: str, follow: bool, container: str | None, instance: int, lines: int, raw: bool) -> None:
    """Print the last lines of one container; a job's progress in words, unless `raw`.

    Raises:
        Failure: the object has no service, or no such container.
        AccountError: as the account answered.
    """
    with opened(target) as project:
        key = object_named(project, text)
        with project.pool.session() as session:
            service, row = service_of(session, key, project.settings.project)
            name = container or _first_container(session, service)
            shown = _tail(session, service, instance, name, lines)
            for line in shown:
                typer.echo(redact(line if raw else readable(line)))
            while follow and str(row.get("status", "")).upper() not in _ENDED:
                time.sleep(_PERIOD)
                _, row = service_of(session, key, project.settings.project)
                fresh = _tail(session, service, instance, name, _WINDOW)
                for line in news(shown, fresh):
                    typer.echo(redact(line if raw else readable(line)))
                shown = fresh


def readable(line: str) -> str:
    """`train: step 9 of 16, loss 0.41` for a line of progress; any other line as it is."""
    try:
        progress = json.loads(line.removeprefix(_PROGRESS)) if line.startswith(_PROGRESS) else None
    except ValueError:  # cut off
        return line
    if not isinstance(progress, dict):
        return line
    step, loss = progress.get("step"), progress.get("loss")
    facts = [
        f"step {step} of {progress.get('steps', '?')}" if step is not None else "",
        f"loss {loss:.4g}" if isinstance(loss, int | float) else "",
        str(progress.get("message") or ""),
    ]
    phase, told = str(progress.get("phase", "")), ", ".join(fact for fact in facts if fact)
    return f"{phase}: {told}" if told else phase


def news(before: list[str], now: list[str]) -> list[str]:
    """The lines of `now` that come after what was there before; all of them when nothing of it is left."""
    for size in range(min(len(before), len(now)), 0, -1):
        if before[-size:] == now[:size]:
            return now[size:]
    for start in range(max(0, len(now) - len(before)), -1, -1):  # the window may reach further back than what was shown
        if before and now[start : start + len(before)] == before:
            return now[start + len(before) :]
    return now


def _first_container(session: Session, service: str) -> str:
    rows = session.execute(Show("SERVICE CONTAINERS", f"SERVICE {service}").sql).rows
    names = [str(row["container_name"]) for row in rows if row.get("container_name")]
    if not names:
        raise Failure(f"{service} has no containers yet; it may be starting, or suspended")
    return names[0]


def _tail(session: Session, service: str, instance: int, container: str, lines: int) -> list[str]:
    try:
        answer = session.execute(statements.call_system("GET_SERVICE_LOGS", service, str(instance), container, lines)).scalar
    except (NotFound, Transient):
        raise
    except AccountError as error:
        raise Failure(f"container {container} of instance {instance} of {service} has no logs: {error.message}") from None
    return str(answer or "").splitlines()
