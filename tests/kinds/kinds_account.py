"""A kind driven against the embedded account as the loop would: look, plan, send."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinds_project import Files

from controller.account.pool import SessionPool
from controller.account.reader import current_role, read
from controller.account.snapshot import Show, Snapshot
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import Effect, Observation, Project, Sql, Step, View
from controller.kinds.registry import KINDS

PATIENCE = 60.0  # seconds, only until a broken account fails the test


def until(done: Callable[[], bool]) -> None:
    """Look again and again until it is so."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@dataclass(frozen=True)
class Context:
    """What an effect is given."""

    session: Any
    workdir: Path
    keep: Callable[[str, Any], None] = lambda key, value: None

    def progress(self, message: str) -> None: ...

    def remember(self, key: str, value: Any) -> None:
        self.keep(key, value)


@dataclass(frozen=True)
class Account:
    """A kind's four verbs against a real account, with DESCRIBEs for all that ask for them."""

    pool: SessionPool
    workdir: Path

    def view(self, graph: Graph) -> View:
        gatherer = Files()
        facts = {obj.key: KINDS[obj.key.kind].gather(obj, graph, gatherer) for obj in graph}
        questions = [question for obj in graph for question in KINDS[obj.key.kind].reads(obj, graph)]
        snapshot = Snapshot(read(self.pool, questions), role=current_role(self.pool))
        view = View(Project("proj", self.workdir), graph, snapshot, facts)
        deep = [question for obj in graph for question in KINDS[obj.key.kind].deep_reads(obj, view)]
        return View(view.project, graph, Snapshot({**snapshot.answers, **read(self.pool, deep)}, role=snapshot.role), facts)

    def observe(self, obj: DesiredObject, graph: Graph) -> Observation:
        return KINDS[obj.key.kind].observe(obj, self.view(graph))

    def send(self, steps: list[Step] | tuple[Step, ...] | Any) -> list[str]:
        """Carry out steps; their text."""
        with self.pool.session() as session:
            for step in steps:
                if isinstance(step, Effect):
                    step.run(Context(session, self.workdir))
                elif isinstance(step, Sql):
                    session.execute(step)
        return [str(step) for step in steps]

    def create(self, obj: DesiredObject, graph: Graph) -> list[str]:
        return self.send(KINDS[obj.key.kind].create(obj, self.view(graph)))

    def update(self, obj: DesiredObject, graph: Graph) -> list[str]:
        view = self.view(graph)
        kind = KINDS[obj.key.kind]
        return self.send(kind.update(obj, kind.observe(obj, view), view))

    def delete(self, key: ObjectKey, graph: Graph) -> list[str]:
        return self.send(KINDS[key.kind].delete(key, self.view(graph)))

    def run(self, *statements: str) -> None:
        """Statements of a person."""
        with self.pool.session() as session:
            for statement in statements:
                session.execute(statement)

    def rows(self, question: Show) -> Any:
        return read(self.pool, [question])[question]
