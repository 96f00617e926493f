"""Any manifests → load → apply over the wire → plan again: the round trip that every kind must close with an empty plan.

    plan = round_trip(account, [{"kind": "Warehouse", "metadata": {"name": "wh"}, "spec": {"size": "small"}}])
    assert plan.empty, told(plan)

`Trip` is the same in steps: change something by hand between two plans, see it as drift, have it put back.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinds_account import Context

from controller.account.connections import Connection
from controller.account.errors import AccountError
from controller.account.pool import SessionPool
from controller.api.objects import ObjectKey
from controller.kinds.base import Effect, FieldChange, Sql
from controller.kinds.registry import KINDS
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import Loaded, loader
from controller.reconcile.planning.change import Action, Block, Change, Plan
from controller.reconcile.planning.expand import Refusal, attempt
from controller.reconcile.state import State

PATIENCE = 60.0  # seconds without a step forward, only until a broken account fails the test
MOST_ROUNDS = 30  # of changes, one after the other; more is a difference that no change ever mends
EXISTING = ("Database/db", "Schema/db.sch")
STANDING = (
    "CREATE DATABASE IF NOT EXISTS DB",
    "CREATE SCHEMA IF NOT EXISTS DB.SCH",
    "CREATE SECURITY INTEGRATION IF NOT EXISTS AUTH TYPE = API_AUTHENTICATION AUTH_TYPE = OAUTH2 ENABLED = TRUE",
    "CREATE RESOURCE MONITOR IF NOT EXISTS LIMITS WITH CREDIT_QUOTA = 10",
)
"""What others have in the account before any manifest."""

Document = Mapping[str, Any]


def round_trip(account: Connection, documents: Sequence[Document], **settings: Any) -> Plan:
    """Make all of it, plan again, and drop it. The plan is that of a new look that remembers nothing."""
    with trip(account, **settings) as made:
        made.write(documents)
        return made.apply()


@contextmanager
def trip(account: Connection, **settings: Any) -> Iterator[Trip]:
    """A project of its own in the account, whose objects go at the end. `settings` are fields of snowcat.yaml over the usual ones.

    What `STANDING` makes is there and belongs to somebody else. Without a `role`, which has to be given what it needs, an administrator
    works, whom no project file may name.
    """
    role = settings.pop("role", None)
    pool = SessionPool(account, 2, role=role or "ACCOUNTADMIN")
    state = State(None)
    try:
        with tempfile.TemporaryDirectory(prefix="trip-") as folder:
            made = Trip(pool, Path(folder), state, {"project": "proj", "role": role or "worker", "existing": list(EXISTING), **settings})
            if role is None:
                made.by_hand(*STANDING)
            try:
                yield made
            finally:
                made.clear()
    finally:
        pool.close()
        state.close()


@dataclass
class Trip:
    """One project: its files, and the account as its role sees it."""

    pool: SessionPool
    folder: Path
    state: State
    settings: dict[str, Any]
    sent: list[str] = field(default_factory=list)  # statements and effects of the last `apply`, as shown to people
    mended: set[tuple[str, str]] = field(default_factory=set)  # (kind, field) of the differences that the last `apply` found
    _made: dict[ObjectKey, None] = field(default_factory=dict)

    # ---- the user's side -------------------------------------------------------------------------------------------------------------

    def write(self, documents: Iterable[Document]) -> None:
        """Put these manifests in the place of all earlier ones. `apiVersion` is added; `${` is taken literally."""
        (self.folder / "snowcat.yaml").write_text(
            as_yaml([{"apiVersion": "snowcat/v1", "kind": "Project", "deepReads": 10_000, **self.settings}])
        )
        (self.folder / "objects.yaml").write_text(as_yaml([{"apiVersion": "snowcat/v1", **document} for document in documents]))

    def by_hand(self, *statements: str) -> list[Mapping[str, Any]]:
        """Statements of a person; the rows of the last."""
        rows: Sequence[Mapping[str, Any]] = ()
        with self.pool.session() as session:
            for statement in statements:
                rows = session.execute(statement).rows
        return list(rows)

    # ---- the loop's side -------------------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """One look with nothing remembered: every DESCRIBE is asked anew.

        Raises:
            AssertionError: the manifests have errors.
        """
        return self._plan(*self._engine())

    def drift(self, kind: str = "") -> dict[str, FieldChange]:
        """Differences of all objects (of one kind) by field."""
        return {change.path: change for entry in self.plan().changes if kind in ("", entry.key.kind) for change in entry.fields}

    def apply(self, until: Callable[[Plan], bool] | None = None) -> Plan:
        """Carry out what is planned until a new look finds nothing left to do or to wait for (or `until` is true of it): that plan."""
        self.sent, self.mended = [], set()
        end, rounds = time.monotonic() + PATIENCE, 0
        while True:
            now = self.plan()
            runnable = [change for change in now.pending if change.runnable]
            if (until is not None and until(now)) or not (now.pending or _waits(now)):
                return now
            for change in runnable:
                self._made[change.key] = None
                self.mended |= {(change.key.kind, f.path) for f in change.fields}
                self._carry_out(change)
            if runnable:
                rounds += 1
                assert rounds <= MOST_ROUNDS, f"the same again and again:\n{told(now)}"
                end = time.monotonic() + PATIENCE
            else:
                assert time.monotonic() < end, f"nothing moves:\n{told(now)}"
                time.sleep(0.02)

    def clear(self) -> None:
        """Drop what was made, whatever the manifests say of it."""
        if not self._made:
            return
        engine, loaded = self._engine(check=False)
        view = engine.look(loaded)
        for key in reversed(self._made):
            steps = attempt(lambda key=key: tuple(KINDS[key.kind].delete(key, view)))  # type: ignore[misc]
            for step in () if isinstance(steps, Refusal) else steps:
                try:
                    self._step(step)
                except AccountError:
                    continue  # gone already, or with its container
        self._made.clear()

    def _engine(self, *, check: bool = True) -> tuple[Engine, Loaded]:
        engine = Engine(loader(self.folder), KINDS, self.state, self.pool, account="local", local=True)
        loaded = engine.load(keep=False)
        assert not check or not loaded.errors, [str(problem) for problem in loaded.errors]
        return engine, loaded

    @staticmethod
    def _plan(engine: Engine, loaded: Loaded) -> Plan:
        return engine.plan(loaded, engine.look(loaded))

    def _carry_out(self, change: Change) -> None:
        for step in change.steps:
            self.sent.append(str(step))
            self._step(step)

    def _step(self, step: object) -> None:
        with self.pool.session() as session:
            if isinstance(step, Effect):
                step.run(Context(session, self.folder, self.state.remember))
            elif isinstance(step, Sql):
                session.execute(step)


def told(plan: Plan) -> str:
    """What a plan still wants to do, for the message of an assertion."""
    lines = []
    for change in plan.changes:
        if change.action is not Action.NONE:
            lines.append(f"{change.key}: {change.action} {change.block or ''} {change.reason}")
            lines += [f"    {f.path}: {f.before!r} → {f.after!r}" for f in change.fields]
            lines += [f"    {text}" for text in change.statements]
    return "\n".join(lines) or "(empty)"


def _waits(plan: Plan) -> bool:
    return any(change.block is Block.WAITING for change in plan.changes)


def as_yaml(documents: Iterable[Document]) -> str:
    """YAML in its JSON form, all but plain ASCII escaped; `${` is written so that it means itself."""
    return "\n---\n".join(_astral(json.dumps(_literal(document))) for document in documents) + "\n"


def _literal(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list | tuple) else value


def _astral(text: str) -> str:
    """JSON writes what is beyond 16 bits as a pair, YAML as one escape."""

    def one(pair: re.Match[str]) -> str:
        high, low = (int(pair[group], 16) for group in (1, 2))
        return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"

    return re.sub(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", one, text)
