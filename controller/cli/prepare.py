"""An embedded account made ready for a project: what an administrator does once elsewhere, done by any command that uses it."""

from __future__ import annotations

import time

from controller.account.connections import Connection
from controller.account.errors import Transient
from controller.account.session import open_session
from controller.api.names import Identifier
from controller.kinds.base import Project
from controller.manifests.project import LoadResult
from controller.reconcile.bootstrap import bootstrap_statements, run_bootstrap
from controller.reconcile.look.files import Loaded, NoProject

ADMINISTRATOR = "ACCOUNTADMIN"
_TRIES, _PAUSE = 5, 0.5  # of what only passes by; the statements may be run any number of times


def prepare_local(connection: Connection, result: LoadResult) -> None:
    """Bootstrap an embedded account whose project role is missing, or not given to its user.

    Raises:
        AccountError: the account could not be reached, or refused.
    """
    loaded = as_loaded(result, True)
    for left in reversed(range(_TRIES)):
        try:
            _bootstrap(connection, loaded)
            return
        except Transient:
            if not left:
                raise
            time.sleep(_PAUSE)


def _bootstrap(connection: Connection, loaded: Loaded) -> None:
    """The user gets the role last: where he has it, all else was done."""
    role = Identifier.parse(loaded.settings.role)
    session = open_session(connection, role=ADMINISTRATOR)
    try:
        user = Identifier.parse(connection.user)
        granted = session.execute(f"SHOW GRANTS TO USER {user.sql}").rows
        if any(row.get("role") == role.text for row in granted):
            return
        run_bootstrap(session, bootstrap_statements(loaded))
    finally:
        session.close()


def as_loaded(result: LoadResult, local: bool) -> Loaded:
    """What bootstrap statements are made from.

    Raises:
        NoProject: the project file cannot be used.
    """
    if result.settings is None:
        raise NoProject(result.problems)
    project = Project(result.settings.project, result.root, result.settings.warehouse, local)
    return Loaded(project, result.settings, result.graph, result.problems, result.files)
