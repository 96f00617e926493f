"""An embedded account made ready for a project: what an administrator does once elsewhere, done by any command that uses it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from controller.account import statements as sql
from controller.account.connections import Connection
from controller.account.errors import Transient
from controller.account.session import open_session
from controller.api.names import Identifier
from controller.cli.silence import heard
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
    role, user = Identifier.parse(loaded.settings.role), Identifier.parse(connection.user)
    statements = bootstrap_statements(loaded)
    last = Sql(sql.grant_role(role, to_user=user))  # whoever the project file names: it tells the next command that all is done
    work = _Bootstrap(connection, role, user, [*(step for step in statements if step.text != last.text), last])
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
    user: Identifier
    todo: list[Sql]
    _using: Sql | None = None  # the USE ROLE that the next statement relies on

    def go_on(self) -> None:
        """Raises AccountError; what was done stands."""
        session = open_session(self.connection, role=ADMINISTRATOR, limits=heard(self.connection))
        try:
            granted = session.execute(f"SHOW GRANTS TO USER {self.user.sql}").rows
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
