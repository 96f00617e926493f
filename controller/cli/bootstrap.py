"""`snowcat bootstrap`: what an administrator does once. The embedded account is prepared by any command that uses it."""

from __future__ import annotations

import typer

from controller.account.connections import Connection
from controller.account.session import open_session
from controller.api.names import Identifier
from controller.cli.local_account import LocalAccount
from controller.cli.target import Target
from controller.kinds.base import Project
from controller.manifests.project import LoadResult
from controller.reconcile.bootstrap import as_script, bootstrap_statements, run_bootstrap
from controller.reconcile.files import Loaded, NoProject

_ADMINISTRATOR = "ACCOUNTADMIN"


def bootstrap(target: Target) -> None:
    """Print the statements; with `--local` run them.

    Raises:
        NoProject: the project file cannot be used.
        AccountError: a statement was refused.
    """
    result = target.load()
    statements = bootstrap_statements(_loaded(result, target.local))
    typer.echo(as_script(statements), nl=False)
    if target.local:
        from controller.account.connections import local_connection

        session = open_session(local_connection(LocalAccount(target.local_account.folder).start()), role=_ADMINISTRATOR)
        try:
            run_bootstrap(session, statements)
        finally:
            session.close()
        typer.echo("-- done in the embedded account", err=True)


def prepare_local(connection: Connection, result: LoadResult) -> None:
    """Bootstrap an embedded account whose project role is missing, or not given to its user.

    Raises:
        AccountError: the account could not be reached, or refused.
    """
    loaded = _loaded(result, True)
    role = Identifier.parse(loaded.settings.role)
    session = open_session(connection, role=_ADMINISTRATOR)
    try:
        user = Identifier.parse(connection.user)
        granted = session.execute(f"SHOW GRANTS TO USER {user.sql}").rows
        if any(row.get("role") == role.text for row in granted):
            return
        statements = bootstrap_statements(loaded)
        run_bootstrap(session, statements)
    finally:
        session.close()


def _loaded(result: LoadResult, local: bool) -> Loaded:
    if result.settings is None:
        raise NoProject(result.problems)
    project = Project(result.settings.project, result.root, result.settings.warehouse, local)
    return Loaded(project, result.settings, result.graph, result.problems, result.files)
