"""Which project, and which account: the common beginning of every command that needs them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from controller.account.connections import Connection, find_connection, local_connection
from controller.account.limits import Limits, Timeouts, TokenBucket
from controller.account.pool import SessionPool
from controller.api.project import ProjectSettings
from controller.cli.errors import INVALID, Failure
from controller.cli.local_account import LocalAccount, state_folder
from controller.cli.prepare import prepare_local
from controller.cli.silence import say_silence
from controller.kinds.registry import KINDS
from controller.manifests.memory import Memory
from controller.manifests.project import LoadResult, load_project
from controller.reconcile.engine import Engine
from controller.reconcile.lead.process import Holder, this_process
from controller.reconcile.log import configure
from controller.reconcile.look.files import NoProject, loader
from controller.reconcile.state import State, state_file

SESSIONS = 10  # statements side by side, of eight workers and of the looks beside them; each is one login


@dataclass(frozen=True)
class Target:
    """What the options of a command say. `folder` is where the project is looked for."""

    folder: Path
    connection: str | None = None
    local: bool = False
    account: str | None = None
    state: Path | None = None

    def __post_init__(self) -> None:
        if self.local and self.connection:
            raise Failure("--local and -c exclude each other", INVALID)
        if not self.folder.exists():  # or the project above it would be taken, and a slip of the pen destroy that one
            raise Failure(f"there is no file or folder {self.folder}", INVALID)

    @property
    def local_account(self) -> LocalAccount:
        return LocalAccount(state_folder(self.state))

    def load(self, memory: Memory | None = None) -> LoadResult:
        """The project with the values of the chosen account. No account is asked for anything."""
        name = None if self.local else self.connection or os.environ.get("SNOWFLAKE_DEFAULT_CONNECTION_NAME")
        return load_project(self.folder, self.account, connection=name, local=self.local, memory=memory)

    def settings(self, memory: Memory | None = None) -> ProjectSettings:
        """The project file.

        Raises:
            NoProject: it cannot be used.
        """
        result = self.load(memory)
        if result.settings is None:
            raise NoProject(result.problems)
        return result.settings


@dataclass(frozen=True)
class Opened:
    """A project with its account, ready to work."""

    target: Target
    settings: ProjectSettings
    engine: Engine
    connection: Connection | None  # None offline
    holder: Holder | None = None  # this process, as it names itself in the account; None offline

    @property
    def state(self) -> State:
        return self.engine.state

    @property
    def pool(self) -> SessionPool:
        if self.engine.pool is None:
            raise Failure("this needs an account; offline there is none")
        return self.engine.pool


@contextmanager
def opened(target: Target, *, offline: bool = False) -> Iterator[Opened]:
    """The project and its account. An embedded account is started and prepared when it is not.

    Raises:
        NoProject, Failure, AccountError.
    """
    if not structlog.is_configured():
        configure(as_json=False, level=logging.WARNING)
    memory = Memory()  # so that the engine need not check again what stands here
    settings = target.settings(memory)
    if offline:
        load = loader(target.folder, target.account, connection=target.connection, local=target.local, memory=memory)
        yield Opened(target, settings, Engine(load, KINDS, State(None), None, target.account or "offline", target.local), None)
        return
    connection = connect(target, settings)
    load = loader(target.folder, target.account, connection=connection.name, local=target.local, memory=memory)
    label = "local" if target.local else connection.account
    state = State(state_file(label, settings.project, target.local_account.controller_state if target.local else None))
    holder = this_process()
    limits = limits_of(settings)
    limits.answering.tell = partial(say_silence, connection)
    pool = SessionPool(connection, SESSIONS, role=settings.role, tag=f"snowcat {settings.project} {holder}", limits=limits)
    try:
        yield Opened(target, settings, Engine(load, KINDS, state, pool, label, target.local), connection, holder)
    finally:
        pool.close()
        state.close()


def limits_of(settings: ProjectSettings) -> Limits:
    """What the project file says of statements."""
    timeouts = settings.timeouts
    return Limits(
        Timeouts(read=timeouts.read, change=timeouts.change, transfer=timeouts.transfer),
        TokenBucket(settings.statements.per_second, settings.statements.burst),
    )


def connect(target: Target, settings: ProjectSettings) -> Connection:
    """The connection that the options mean: `--local`, `-c NAME`, the one of `--account`, or the default of Snowflake's own tools.

    Raises:
        LoginFailed: there is none, or a file of it is broken.
        Failure: the embedded account does not start.
    """
    if target.local:
        connection = local_connection(target.local_account.start())
        prepare_local(connection, target.load())
        return connection
    entry = settings.accounts.get(target.account) if target.account else None
    connection = find_connection(target.connection or (entry.connection if entry else None))
    for warning in connection.warnings:
        print(f"snowcat: warning: {warning}", file=sys.stderr)  # noqa: T201
    return connection
