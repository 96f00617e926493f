"""`snowcat bootstrap`: what an administrator does once. The embedded account is prepared by any command that uses it."""

from __future__ import annotations

import typer

from controller.account.connections import local_connection
from controller.account.session import open_session
from controller.cli.local_account import LocalAccount
from controller.cli.prepare import ADMINISTRATOR, as_loaded
from controller.cli.target import Target
from controller.reconcile.bootstrap import as_script, bootstrap_statements, run_bootstrap


def bootstrap(target: Target) -> None:
    """Print the statements; with `--local` run them.

    Raises:
        NoProject: the project file cannot be used.
        AccountError: a statement was refused.
    """
    result = target.load()
    statements = bootstrap_statements(as_loaded(result, target.local))
    typer.echo(as_script(statements), nl=False)
    if target.local:
        session = open_session(local_connection(LocalAccount(target.local_account.folder).start()), role=ADMINISTRATOR)
        try:
            run_bootstrap(session, statements)
        finally:
            session.close()
        typer.echo("-- done in the embedded account", err=True)
