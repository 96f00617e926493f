"""A project in a running embedded account, under a clock whose waiting takes no time."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedded_account import RunningAccount
from reconcile_world import write

from controller.account.connections import local_connection
from controller.account.pool import SessionPool
from controller.account.session import Session, open_session
from controller.kinds.base import Kind
from controller.kinds.registry import KINDS
from controller.reconcile.bootstrap import bootstrap_statements, run_bootstrap
from controller.reconcile.clock import Clock, Timing
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import loader
from controller.reconcile.loop import Reconciler
from controller.reconcile.report import Report
from controller.reconcile.state import State
from controller.reconcile.work.backoff import Backoff

_SERIAL = itertools.count(1)
_STEP = 0.02  # real seconds for any virtual wait
PATIENCE = 60.0  # real seconds; only how long a broken loop keeps the tests waiting


class FastClock(Clock):
    """Waits a moment for the event, and calls it the whole time."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return time.monotonic() + self.offset

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if event.wait(min(seconds, _STEP)):
            return True
        self.offset += max(0.0, seconds - _STEP)
        return False


@dataclass
class Live:
    """One project. `n` makes its names its own; in manifests and SQL `@` stands for it: `kind: Warehouse, name: wh_@`."""

    account: RunningAccount
    folder: Path
    n: int
    pool: SessionPool
    admin: Session
    state: State
    reports: list[Report] = field(default_factory=list)
    kinds: Mapping[str, Kind] = field(default_factory=lambda: dict(KINDS))

    @classmethod
    def begin(cls, account: RunningAccount, tmp: Path) -> Live:
        n = next(_SERIAL)
        connection = local_connection(account.details)
        folder = tmp / "manifests"
        folder.mkdir()
        text = f"apiVersion: snowcat/v1\nkind: Project\nproject: proj{n}\nrole: worker{n}\nusers: [admin]\n"
        (folder / "snowcat.yaml").write_text(text)
        admin = open_session(connection, role="ACCOUNTADMIN")
        live = cls(account, folder, n, SessionPool(connection, 12, role=f"worker{n}"), admin, State(tmp / "state.db"))
        run_bootstrap(admin, bootstrap_statements(live.engine().load()))
        admin.execute("USE ROLE ACCOUNTADMIN")
        return live

    def end(self) -> None:
        self.pool.close()
        self.admin.close()
        self.state.close()

    # ---- the user's side -----------------------------------------------------------------------------------------------------------

    def text(self, text: str) -> str:
        return text.replace("@", str(self.n))

    def write(self, **files: str) -> None:
        write(self.folder, **{name: self.text(text) for name, text in files.items()})

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """By hand, as the administrator."""
        return [dict(row) for row in self.admin.execute(self.text(statement)).rows]

    def by_hand(self, statement: str) -> None:
        """By hand, as the project's own role."""
        with self.pool.session() as session:
            session.execute(self.text(statement))

    def row(self, what: str, name: str) -> dict[str, Any] | None:
        return next((row for row in self.sql(f"SHOW {what}") if row["name"] == self.text(name).upper()), None)

    # ---- the loop's side -------------------------------------------------------------------------------------------------------------

    def engine(self) -> Engine:
        return Engine(loader(self.folder), self.kinds, self.state, self.pool, account="local", local=True)

    def reconciler(self, **more: Any) -> Reconciler:
        timing = more.pop("timing", Timing(grace=5))
        return Reconciler(self.engine(), [self.reports.append], timing, FastClock(), Backoff(random=lambda: 0.0), **more)

    def apply(self, timeout: float = 3000) -> Report:
        return self.reconciler().run(until_settled=True, timeout=timeout)

    @contextmanager
    def daemon(self, **more: Any) -> Iterator[Reconciler]:
        """`run` in a thread."""
        reconciler = self.reconciler(**more)
        thread = threading.Thread(target=reconciler.run, daemon=True)
        thread.start()
        try:
            yield reconciler
        finally:
            reconciler.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the loop did not stop"

    def happened(self) -> list[tuple[str, str]]:
        """(object, reason) of all events so far."""
        return [(event.object.replace(str(self.n), "@"), event.reason) for event in self.state.events()]


def eventually(holds: Callable[[], Any], why: str) -> None:
    """Poll until true."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, why
        time.sleep(0.02)
