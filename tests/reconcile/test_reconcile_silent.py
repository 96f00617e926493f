"""Details that all hang: asked once, and then left alone for a while."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from reconcile_world import Account, mark, write

from controller.account.errors import TimedOut
from controller.account.snapshot import Describe, Missing, Row
from controller.kinds.registry import KINDS
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import loader
from controller.reconcile.state import State

RULES = """
    kind: Database
    metadata: {name: db}
    ---
    kind: Schema
    metadata: {name: sch, database: db}
    ---
    kind: NetworkRule
    metadata: {name: r0, schema: db.sch}
    spec: {values: [example.com]}
    ---
    kind: NetworkRule
    metadata: {name: r1, schema: db.sch}
    spec: {values: [example.com]}
"""


class Hanging(Account):
    """Several questions of which none is answered fail as `controller.account.reader.read` does."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs: type | tuple[type, ...] = Describe
        self.hung: list[int] = []  # how many were waited for, each time

    def read(self, _: object, reads: Iterable[Any], *, first: bool = False) -> dict[Any, tuple[Row, ...] | Missing]:
        questions = list(reads)
        silent = [question for question in questions if isinstance(question, self.hangs)]
        self.hung += [len(silent)] if silent else []
        if len(silent) == len(questions) > 1:
            raise TimedOut("nobody answers")
        return self.ask([question for question in questions if question not in silent])


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Hanging:
    account = Hanging()
    for n in range(2):
        account.put("NETWORK RULES", f"db.sch.r{n}", mark("NetworkRule", f"db.sch.r{n}"))
    monkeypatch.setattr("controller.reconcile.engine.read", account.read)
    monkeypatch.setattr("controller.reconcile.engine.current_role", lambda _: "WORKER")
    return account


def engine(folder: Path) -> Engine:
    pool: Any = object()
    return Engine(loader(write(folder, a=RULES)), KINDS, State(None), pool)


def test_details_that_all_hang_are_waited_for_once(tmp_path: Path, account: Hanging) -> None:
    made = engine(tmp_path / "p")
    loaded = made.load()
    for _ in range(3):
        made.look(loaded)
    assert account.hung == [2]
    assert {type(question) for question in made.silent.known} == {Describe}


def test_details_that_hang_while_only_they_are_read_are_left_alone_too(tmp_path: Path, account: Hanging) -> None:
    made = engine(tmp_path / "p")
    loaded = made.load()
    made.deep.budget = 0
    made.look(loaded)
    made.deep.budget = 20
    with pytest.raises(TimedOut):
        made.read_on()
    assert not made.read_on() and account.hung == [2]


def test_an_account_that_is_away_is_asked_again_at_every_look(tmp_path: Path, account: Hanging) -> None:
    made, account.hangs = engine(tmp_path / "p"), object
    loaded = made.load()
    for _ in range(2):
        with pytest.raises(TimedOut):
            made.look(loaded)
    assert not made.silent.known, "or it would be missing answers that are told, and not the account"
