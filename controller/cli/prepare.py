"""An embedded account made ready for a project: what an administrator does once elsewhere, done by any command that uses it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from controller.account.connections import Connection
from controller.account.errors import Transient
from controller.account.session import open_session
from controller.api.names import Identifier
from controller.kinds.base import Project, Sql
from controller.manifests.project import LoadResult
from controller.reconcile.bootstrap import bootstrap_statements, run_bootstrap
from controller.reconcile.look.files import Loaded, NoProject

ADMINISTRATOR = "ACCOUNTADMIN"
_TRIES, _PAUSE = 5, 0.5  # of one statement that fails in passing


def prepare_local(connection: Connection, result: LoadResult) -> None:
    """Bootstrap an embedded account whose project role is missing, or not given to its user.

    Raises:
        AccountError: the account could not be reached, or refused.
    """
    loaded = as_loaded(result, True)
    work = _Bootstrap(connection, Identifier.parse(loaded.settings.role), bootstrap_statements(loaded))
    failures = 0
    while True:
        before = len(work.todo)
        try:
            work.go_on()
            return
        except Transient:
            failures = failures + 1 if len(work.todo) == before else 1
            if failures == _TRIES:
                raise
            time.sleep(_PAUSE)


@dataclass
class _Bootstrap:
    """What is left `todo`. The user gets the role last: where he has it, all else was done."""

    connection: Connection
    role: Identifier
    todo: list[Sql]
    _using: Sql | None = None  # the USE ROLE that the next statement relies on

    def go_on(self) -> None:
        """Raises AccountError; what was done stands."""
        session = open_session(self.connection, role=ADMINISTRATOR)
        try:
            user = Identifier.parse(self.connection.user)
            granted = session.execute(f"SHOW GRANTS TO USER {user.sql}").rows
            if any(row.get("role") == self.role.text for row in granted):
                return
            run_bootstrap(session, [self._using] if self._using is not None else [])
            while self.todo:
                run_bootstrap(session, self.todo[:1])
                done = self.todo.pop(0)
                self._using = done if done.text.startswith("USE ROLE ") else self._using
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
