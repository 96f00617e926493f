"""`snowcat suspend` and `snowcat resume`: objects to be left alone for a while, noted in the account where every daemon sees it."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import typer

from controller.api.objects import ObjectKey
from controller.cli.errors import INTERRUPTED, INVALID, Failure
from controller.cli.leading import sharing
from controller.cli.stopping import Stopping
from controller.cli.target import Opened, opened
from controller.cli.words import Wanted
from controller.kinds.base import Sql, View
from controller.kinds.registry import KINDS
from controller.reconcile.events import Reason
from controller.reconcile.lead.leadership import Alone, Leadership, NotLeading
from controller.reconcile.lead.lease import Lease
from controller.reconcile.lead.mark import Mode
from controller.reconcile.pause import CannotPause, Writing, is_paused, pausing, resuming, told
from controller.reconcile.planning.change import Plan
from controller.reconcile.work.execute import LoggedSession

_PATIENCE = 10.0  # seconds for another command that works on the project
_TRIES = 3  # a daemon that was changing the object just then may have written the mark that it knew


def suspend(wanted: Wanted) -> None:
    """Note on the chosen objects that they are to be left alone.

    Raises:
        Failure: one of them cannot carry the note; then none does.
    """
    when, who = datetime.now(UTC), _who()
    done = _write(wanted, lambda keys, plan, view: pausing(keys, plan, view, KINDS, who, when), Reason.SUSPENDED)
    typer.echo("\n".join(f"{key} is suspended" for key in done) or "suspended already")


def resume(wanted: Wanted) -> None:
    """Take the note away.

    Raises:
        Failure: one of them is a part of what is suspended as a whole.
    """
    done = _write(wanted, lambda keys, plan, view: resuming(keys, plan, view, KINDS), Reason.RESUMED)
    typer.echo("\n".join(f"{key} is resumed" for key in done) or "not suspended; what is suspended in a manifest is resumed there")


def _write(wanted: Wanted, decide: Callable[[list[ObjectKey], Plan, View], list[Writing]], reason: Reason) -> list[ObjectKey]:
    if not wanted.names and not wanted.kinds:
        raise Failure("say which objects: KIND/NAME", INVALID)
    written: dict[ObjectKey, None] = {}
    with opened(wanted.target) as project, _undisturbed(project) as leadership:
        for _ in range(_TRIES):
            plan, view = _look(project)
            wanted.checked(plan.objects)
            chosen = [key for key in plan.objects if wanted.matches(key)]
            try:
                due = decide(chosen, plan, view)
            except CannotPause as error:
                raise Failure(str(error)) from None
            if not due:
                break
            _send(project, due, leadership)
            written.update(dict.fromkeys(writing.key for writing in due))
        else:
            raise Failure(f"somebody else writes the comments of {', '.join(str(key) for key in written)} just now; try again")
        for key in written:
            entry = plan.objects.get(key)  # gone, when it was dropped since the note was written
            mark = entry.mark if entry is not None else None
            verb = "suspended" if reason is Reason.SUSPENDED else "resumed"
            text = told(mark) if mark is not None and is_paused(mark) else f"{verb} by {_who()}"
            project.state.event(key, reason, text)
        project.state.poke()
    return list(written)


def _look(project: Opened) -> tuple[Plan, View]:
    loaded = project.engine.load(keep=False)
    view = project.engine.look(loaded)
    return project.engine.plan(loaded, view), view


@contextmanager
def _undisturbed(project: Opened) -> Iterator[Leadership]:
    """The lease, so that no daemon writes a mark between the look and the note. A daemon gives it and comes back.

    Another command is not waited for, which may go on until a training ends: the note is written beside it then, and looked at once more.
    """
    with Stopping(INTERRUPTED) as stopping, sharing(project, Mode.APPLY) as leadership:
        stopping.give_back = partial(leadership.release, quiet=False)
        if isinstance(leadership, Lease):
            standing = leadership.await_leading(lambda message: typer.echo(message, err=True), _PATIENCE)
            if standing.error is not None and not standing.leads:
                raise standing.error
            if not standing.leads:
                if standing.waits:
                    typer.echo("not waited for any longer: the note is written beside it", err=True)
                yield Alone()
                return
        yield leadership


def _send(project: Opened, writings: list[Writing], leadership: Leadership) -> None:
    """Raises Failure when somebody else leads by now: what was looked at may be different."""
    with project.pool.session() as lent:
        session = LoggedSession(lent.driver, lent.counters, lent.line, lent.limits, leadership=leadership)
        try:
            for writing in writings:
                for step in writing.steps:
                    if isinstance(step, Sql):
                        session.execute(step)
        except NotLeading as error:
            raise Failure(f"{error}; try again") from None
        finally:
            lent.alive = session.alive


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
