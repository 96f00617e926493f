"""An embedded account is made ready although statements fail in passing: each is tried again, and those before it are not repeated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from controller.account.errors import Transient
from controller.cli import prepare
from controller.kinds.base import Sql

STEPS = ["USE ROLE SECURITYADMIN", "CREATE ROLE R", "USE ROLE ACCOUNTADMIN", "CREATE DATABASE D", "GRANT ROLE R TO USER U"]


class Session:
    """Fails as often as the test says, before each statement."""

    def __init__(self, sent: list[str], failures: dict[str, int]) -> None:
        self.sent, self.failures = sent, failures

    def execute(self, statement: Sql | str) -> SimpleNamespace:
        text = statement if isinstance(statement, str) else statement.text
        if self.failures.get(text, 0):
            self.failures[text] -= 1
            raise Transient("passing")
        if not text.startswith("SHOW"):
            self.sent.append(text)
        return SimpleNamespace(rows=(), query_id="")

    def close(self) -> None:
        """Nothing to do."""


def ready(monkeypatch: pytest.MonkeyPatch, failures: dict[str, int], user: str = "u") -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(prepare, "open_session", lambda *_, **__: Session(sent, failures))
    monkeypatch.setattr(prepare, "_PAUSE", 0.0)
    monkeypatch.setattr(prepare, "bootstrap_statements", lambda _: [Sql(step) for step in STEPS])
    monkeypatch.setattr(prepare, "as_loaded", lambda *_: SimpleNamespace(settings=SimpleNamespace(role="r")))
    connection: Any = SimpleNamespace(user=user)
    result: Any = None
    prepare.prepare_local(connection, result)
    return sent


def test_it_goes_on_where_it_failed_in_the_role_of_that_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ready(monkeypatch, {"CREATE DATABASE D": 1}) == [*STEPS[:3], *STEPS[2:]]


def test_any_number_of_statements_may_fail_but_none_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ready(monkeypatch, {"CREATE ROLE R": 3, "CREATE DATABASE D": 4, STEPS[-1]: 3})[-1] == STEPS[-1]
    with pytest.raises(Transient):
        ready(monkeypatch, {"CREATE ROLE R": 99})


def test_whoever_logs_in_gets_the_role_last_so_that_the_next_command_finds_all_done(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ready(monkeypatch, {}, user="somebody_else") == [*STEPS, "GRANT ROLE R TO USER SOMEBODY_ELSE"]
    granted = SimpleNamespace(rows=({"role": "R"},), query_id="")
    monkeypatch.setattr(Session, "execute", lambda _session, statement: granted if str(statement).startswith("SHOW GRANTS") else None)
    assert ready(monkeypatch, {}, user="somebody_else") == []
