"""Many cycles on virtual time, with an account that fails at random: nothing grows, nothing is left behind, and storms stay small."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconcile_live import FastClock
from reconcile_world import WAREHOUSE, mark, warehouse, write
from snowflake.connector.errors import OperationalError, ProgrammingError

from controller.account.connections import Connection
from controller.account.counters import Counters
from controller.account.limits import Limits
from controller.account.pool import SessionPool
from controller.account.session import Session
from controller.kinds.registry import KINDS
from controller.reconcile import state as state_module
from controller.reconcile.clock import Timing
from controller.reconcile.engine import Engine
from controller.reconcile.events import Reason
from controller.reconcile.look.files import loader
from controller.reconcile.loop import Reconciler
from controller.reconcile.report import Report
from controller.reconcile.state import State
from controller.reconcile.work.backoff import Backoff

OBJECTS = 6
CYCLES = 200


@dataclass
class Account:
    """Warehouses that are changed by hand again and again, and answers that fail at random."""

    chance: random.Random
    errors: float = 0.2
    sent: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def drift(self) -> None:
        """Somebody sets them otherwise, or drops one."""
        comment = {n: mark("Warehouse", f"wh{n}", delete="yes", set="autoSuspend,size") for n in range(OBJECTS)}
        self.rows = [
            {"name": f"WH{n}", "owner": "WORKER", "comment": comment[n], **WAREHOUSE, "auto_suspend": self.chance.randint(1, 50)}
            for n in range(OBJECTS)
            if self.chance.random() < 0.9
        ]

    def answer(self, text: str) -> list[dict[str, Any]]:
        with self.lock:
            self.sent += 1
            if self.chance.random() < self.errors:
                raise self.chance.choice(
                    [
                        OperationalError(msg="the network broke", errno=250003),
                        ProgrammingError(msg="not allowed just now", errno=3001),
                        ProgrammingError(msg="the session is gone", errno=390111),
                        ProgrammingError(msg=f"never the same text {self.sent}", errno=1003),
                    ]
                )
            return [dict(row) for row in self.rows] if text == "SHOW WAREHOUSES" else []


class Driver:
    """As little of Snowflake's driver as a session uses."""

    role = "WORKER"
    session_id = 1

    def __init__(self, account: Account) -> None:
        self._account = account

    def cursor(self) -> Cursor:
        return Cursor(self._account)

    def close(self) -> None:
        """Nothing is open."""


class Cursor:
    sfqid = "1"
    rowcount = None
    description: tuple[tuple[str], ...] = ()

    def __init__(self, account: Account) -> None:
        self._account = account
        self._rows: list[dict[str, Any]] = []

    def execute(self, text: str, parameters: Any = None, timeout: int | None = None) -> None:
        self._rows = self._account.answer(text)
        self.description = tuple((column,) for column in self._rows[0]) if self._rows else ()

    def fetchall(self) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self._rows]

    def close(self) -> None:
        """Nothing is open."""


def pool_of(account: Account) -> SessionPool:
    def opener(connection: Connection, *, role: str | None, counters: Counters, tag: str, limits: Limits) -> Session:
        return Session(Driver(account), counters, limits=limits)

    return SessionPool(Connection("fake", "a test", {}), 6, opener=opener)


def run(folder: Path, account: Account, state: State, cycles: int, each: Callable[[int], None]) -> list[Report]:
    reports: list[Report] = []
    pool = pool_of(account)
    engine = Engine(loader(folder), KINDS, state, pool)
    clock = FastClock()

    def count(report: Report) -> None:
        reports.append(report)
        each(len(reports))
        if len(reports) >= cycles:
            reconciler.stop()

    reconciler = Reconciler(engine, [count], Timing(grace=5, poke=1e6), clock, Backoff(random=account.chance.random))
    engine.silent.now = clock.now
    reconciler.run()
    assert reconciler._failures.known.keys() <= {status.key for report in reports for status in report.statuses}
    assert len(engine.deep.known) <= 2 * OBJECTS and len(engine.silent.known) <= 4
    pool.close()
    return reports


def test_many_cycles_with_errors_leave_nothing_behind(tmp_path: Path, seed: int) -> None:
    folder = write(tmp_path / "p", **{f"w{n}": warehouse(f"wh{n}") for n in range(OBJECTS)})
    account, state = Account(random.Random(seed)), State(tmp_path / "state.db")
    account.drift()
    before = {thread.ident for thread in threading.enumerate()}
    sizes: list[tuple[int, int]] = []

    def each(cycle: int) -> None:
        if cycle % 3 == 0:
            account.drift()
        if cycle % 50 == 0:
            gc.collect()
            sizes.append((len(gc.get_objects()), threading.active_count()))

    reports = run(folder, account, state, CYCLES, each)
    assert len(reports) == CYCLES and account.sent > 3 * CYCLES
    objects, threads = zip(*sizes, strict=True)
    reports_kept = CYCLES * 200  # by this test itself
    assert objects[-1] - objects[0] < reports_kept, f"{objects}: what a cycle leaves behind is let go"
    assert max(threads) - len(before) <= 3 * 6 + 4, f"{threads}: workers, readers and one line for each session"
    left = [thread.name for thread in threading.enumerate() if thread.ident not in before and thread.is_alive()]
    assert not [name for name in left if name.startswith(("worker", "look", "read"))], left
    happened = state.events(limit=100_000)
    assert sum(event.count for event in happened) > CYCLES, "there was a storm"
    per_object = len(happened) / OBJECTS
    assert per_object < 2 * CYCLES, f"{per_object} entries for each object: what repeats is counted"
    state.close()


def test_the_state_file_keeps_a_bounded_number_of_events(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(state_module, "_KEPT_EVENTS", 50)
    state = State(tmp_path / "state.db")
    for n in range(200):
        state.event(f"Warehouse/W{n % 7}", Reason.RETRYING, f"another text {n}")
    assert len(state.events(limit=1000)) == 50
    assert state.events(limit=1000)[-1].message == "another text 199"
    state.close()
