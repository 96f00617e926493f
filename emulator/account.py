"""The account: everything that the server's parts share, put together in one place."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from emulator import bootstrap
from emulator.catalogue.access import Access
from emulator.catalogue.store import CatalogueObject, Store
from emulator.commands import load as load_commands
from emulator.commands.context import CommandContext
from emulator.engine.engine import Engine
from emulator.engine.recovery import recover
from emulator.stages.files import StageFiles
from emulator.stages.urls import StageUrls
from emulator.vault import Vault
from emulator.wire.statements import Statements
from emulator.wire.tokens import Tokens

if TYPE_CHECKING:
    from emulator.faults.gate import Gate
    from emulator.session import Session

ACCOUNT_NAME = "LOCAL"
ORGANIZATION = "SNOWCAT"


@dataclass(frozen=True)
class Options:
    """How the process was started. `time_scale` multiplies the delays of pools and services; `stage_quota` in bytes."""

    host: str = "127.0.0.1"
    port: int = 0
    time_scale: float = 1.0
    stage_quota: int | None = None
    session_seconds: float = 3600.0
    faults: bool = False
    image_names: str = "path"  # how DESCRIBE SERVICE shows images: as a `path`, or with the registry's `host`


class Runtime(Protocol):
    """What runs containers: pools, services, jobs, images."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def before_drop(self, obj: CatalogueObject) -> None:
        """The object (of any kind) is about to leave the catalogue."""

    def kill_node(self, pool: str) -> str | None:
        """One node of the pool dies with all that runs on it, a busy one if there is any; its name, None without one."""

    def call(self, function: CatalogueObject, rows: list[list[Any]], ctx: CommandContext) -> list[Any]:
        """One value per row from a service function. Raises SqlError."""

    def routes(self) -> list[BaseRoute]: ...

    def app_for_host(self, host: str) -> ASGIApp | None:
        """The ingress application for a Host header, or None if the host is not an ingress name."""


class Account:
    """One account in one folder. `port` is set before `start`."""

    def __init__(self, state: Path, options: Options) -> None:
        self.state = state
        self.options = options
        self.host = options.host
        self.port = options.port
        self.name = ACCOUNT_NAME
        self.organization = ORGANIZATION
        self.store = Store(state / "catalogue.sqlite")
        self.access = Access(self.store)
        self.tokens = Tokens(state / "sessions.sqlite", options.session_seconds)
        self.stages = StageFiles(state / "stages", options.stage_quota)
        self.urls = StageUrls(self._secret("stage-url-key"))
        self.vault = Vault(self._secret("vault-key"))
        self.statements = Statements()
        self.engine = Engine(self, state / "tables.duckdb")
        self.ddl_lock = threading.RLock()
        load_commands()
        self.password = bootstrap.prepare(self)
        self.faults = self._build_faults() if options.faults else None  # no late listing lacks what every account has
        recover(self)
        self.runtime = _build_runtime(self)

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        """To be called when the server listens."""
        if self.runtime is not None:
            self.runtime.start()

    def stop(self) -> None:
        """Clean stop: statements cancelled, services told to end, files closed."""
        self.statements.stop()
        if self.runtime is not None:
            self.runtime.stop()
        self.engine.close()
        self.tokens.close()
        self.store.close()

    def drop(self, obj: CatalogueObject) -> None:
        """Takes the object out of the account with everything inside it, all or nothing; its files and rows go afterwards."""
        with self.store.transaction():
            inside = self.store.contents(obj.name) if obj.kind == "DATABASE" else []
            if obj.kind == "SCHEMA":
                inside = self.store.contents(obj.database, obj.name)
            for inner in [*inside, obj]:
                if self.store.by_id(inner.id) is not None:
                    self._drop_one(inner)

    def _drop_one(self, obj: CatalogueObject) -> None:
        if self.runtime is not None:
            self.runtime.before_drop(obj)
        self.store.drop(obj)
        if obj.kind == "ROLE":
            self.store.forget_role(obj.name)
        elif obj.kind == "USER":
            for grant in self.store.role_grants(to=("USER", obj.name)):
                self.store.revoke_role(grant.role, "USER", obj.name)
        if obj.kind in ("STAGE", "TABLE", "USER"):
            self.store.after_commit(lambda: self.stages.drop(obj))
        if obj.kind == "TABLE":
            self.store.after_commit(lambda: self.engine.drop_table(obj))

    def end_session(self, session_id: int, *, by: str = "") -> bool:
        """Cancels what the session runs, rolls its transaction back, drops its temporary objects, and forgets it and its tokens.

        When it returns no statement of the session has an effect any more; False when one did not end in time. `by` is the query id of the
        statement that asks for it, which may be the session's own.
        """
        session = self.tokens.end(session_id)
        self.tokens.revoke("oauth", str(session_id))
        if session is None:
            return True
        ended = self.statements.end_session(session, but=by)
        self.engine.end_session(session)
        return ended

    def save(self, session: Session) -> None:
        self.tokens.save(session)

    def _build_faults(self) -> Gate:
        from emulator.faults.gate import Gate  # not loaded where it is not wanted

        return Gate(self)

    @property
    def faults_token(self) -> str:
        """What a client of the faults endpoint has to send; the same for as long as the account exists."""
        return self._secret("faults-key").hex()

    def _secret(self, name: str) -> bytes:
        path = self.state / name
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(secrets.token_bytes(32))
        return path.read_bytes()


def _build_runtime(account: Account) -> Runtime | None:
    """The container runtime; its package is loaded late because it imports this module's types."""
    build: Callable[[Account], Runtime]
    try:
        from emulator.runtime import build_runtime as build
    except ImportError as error:
        if error.name != "emulator.runtime" and "build_runtime" not in str(error):
            raise
        return None
    return build(account)
