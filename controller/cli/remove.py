"""`snowcat delete` and `snowcat destroy`: drop what the project made, after showing it and asking."""

from __future__ import annotations

import logging
from functools import partial

import typer

from controller.account.redact import redact
from controller.api.objects import ObjectKey
from controller.cli.errors import FAILED, INTERRUPTED, Failure
from controller.cli.leading import leading
from controller.cli.stopping import Stopping
from controller.cli.target import Target, opened
from controller.cli.words import one_key
from controller.reconcile.destroy import Destroyer, Removal
from controller.reconcile.log import configure


def remove(target: Target, text: str | None, yes: bool, timeout: float | None) -> int:
    """Drop one object, or everything when `text` is None. The exit code.

    Raises:
        Failure: nobody said yes, or the object stands in the way of others.
        AccountError: the account could not be read.
    """
    configure(as_json=False, level=logging.ERROR)
    with opened(target) as project:
        destroyer = Destroyer(project.engine, typer.echo)
        only = {one_key(text, destroyer.known(), exact=True)} if text is not None else None
        now = destroyer.preview(only)
        _show(now)
        if not now.drops:
            typer.echo("there is nothing to drop")
            return FAILED if now.refused or (only and now.kept) else 0
        if not yes and not typer.confirm(_question(now, only, target, project.settings.project)):
            raise Failure("nothing was dropped")
        with Stopping(INTERRUPTED) as stopping, leading(project, timeout, stopping) as (destroyer.leadership, left):
            stopping.give_back = partial(destroyer.leadership.release, quiet=False)
            done = destroyer.run(only, timeout=left)
            if only is None and done.clean:
                destroyer.leadership.release(drop=True)
    for key, why in done.refused.items():
        typer.echo(redact(f"{key}: not dropped: {why}"), err=True)
    for key, why in done.failed.items():
        typer.echo(redact(f"{key}: still there: {why}"), err=True)
    typer.echo(f"{len(done.dropped)} dropped, {len(done.kept)} kept, {len(done.failed) + len(done.refused)} failed")
    if only and not done.failed:
        typer.echo("remove its manifest too, or the next apply makes it again")
    return 0 if done.clean else FAILED


def _show(now: Removal) -> None:
    for key, change in now.drops.items():
        typer.echo(f"- {key}")
        for statement in change.statements:
            typer.echo(f"      {statement};")
    for key, why in now.kept.items():
        typer.echo(redact(f"  {key} is kept: {why}"))
    for key, why in now.refused.items():
        typer.echo(redact(f"! {key} cannot be dropped: {why}"))


def _question(now: Removal, only: set[ObjectKey] | None, target: Target, project: str) -> str:
    where = "the embedded account" if target.local else f"the account of connection {target.connection or 'default'}"
    what = f"these {len(now.drops)} objects" if only is None else f"this ({len(now.drops)} statements)"
    return f"Drop {what} of project {project} in {where}?"
