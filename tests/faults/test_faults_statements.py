"""Each fault of a statement, over the wire, with Snowflake's own driver."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import snowflake.connector
from fault_client import PATIENCE, Faults
from snowflake.connector.errors import DatabaseError, Error

Connection = snowflake.connector.SnowflakeConnection
_COUNT = itertools.count(1)


class Sql:
    """A session in a fresh database."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.database = f"FAULTY_{next(_COUNT)}"
        self("CREATE DATABASE " + self.database)

    def __call__(self, statement: str, timeout: int | None = None) -> list[Any]:
        with self.connection.cursor() as cursor:
            return list(cursor.execute(statement, timeout=timeout).fetchall())

    def stages(self) -> list[str]:
        return sorted(row[1] for row in self(f"SHOW STAGES IN DATABASE {self.database}"))

    def within(self, statement: str, timeout: int | None = None) -> tuple[threading.Thread, list[Any]]:
        """The statement on a thread; what it gave, or the error, is put into the list."""
        answers: list[Any] = []

        def work() -> None:
            try:
                answers.append(self(statement, timeout))
            except Error as error:
                answers.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread, answers


@pytest.fixture
def sql(connect: Callable[..., Connection], faults: Faults) -> Iterator[Sql]:
    made = Sql(connect())
    yield made
    faults.clear()
    Sql(connect()).connection.cursor().execute(f"DROP DATABASE IF EXISTS {made.database}")


def stories(faults: Faults, text: str) -> list[str]:
    """What became of the statements with the text, in order of arrival."""
    return [entry["outcome"] for entry in faults.statements() if text in entry["statement"]]


@pytest.mark.parametrize(
    ("fault", "outcomes", "reason"),
    [
        ({"drop": "before"}, ["dropped", "done"], "the driver sends it again, and it arrives"),
        ({"drop": "after"}, ["done"], "sent again it is known by its request id, and answered with the first answer"),
        ({"drop": "after", "attempts": 2}, ["done"], "the second answer may be lost too"),
        ({"http": 503}, ["http 503", "done"], "the driver waits and tries again"),
        ({"http": 429, "retryAfter": 0}, ["http 429", "done"], "so it does when told to slow down"),
        ({"expire": "session"}, ["expired session", "done"], "the driver renews the session with its master token"),
        ({"latency": 0.05}, ["done"], "late, but there"),
    ],
)
def test_what_the_driver_survives(sql: Sql, faults: Faults, fault: dict[str, Any], outcomes: list[str], reason: str) -> None:
    faults.put({"match": "^CREATE STAGE", "times": 1, **fault})
    stage = f"{sql.database}.PUBLIC.S{next(_COUNT)}"
    sql(f"CREATE STAGE {stage}")
    assert stories(faults, stage) == outcomes, reason
    assert sql.stages() == [stage.rpartition(".")[2]]
    assert faults.fired() == 1


def test_an_error_at_the_second_match(sql: Sql, faults: Faults) -> None:
    faults.put({"match": "^CREATE STAGE", "nth": [2], "error": {"errno": 3001, "sqlstate": "42501", "message": "not today"}})
    sql(f"CREATE STAGE {sql.database}.PUBLIC.A")
    with pytest.raises(DatabaseError, match="not today") as refused:
        sql(f"CREATE STAGE {sql.database}.PUBLIC.B")
    assert (refused.value.errno, refused.value.sqlstate) == (3001, "42501")
    sql(f"CREATE STAGE {sql.database}.PUBLIC.C")
    assert sql.stages() == ["A", "C"]


def test_an_expired_master_token_ends_the_session(sql: Sql, faults: Faults, connect: Callable[..., Connection]) -> None:
    faults.put({"match": "^CREATE STAGE", "times": 1, "expire": "master"})
    with pytest.raises(DatabaseError) as gone:
        sql(f"CREATE STAGE {sql.database}.PUBLIC.A")
    assert gone.value.errno == 390114
    with pytest.raises(DatabaseError):
        sql("SELECT 1")
    sql.connection = connect()
    assert sql.stages() == []


@pytest.mark.parametrize("how", ["cancel", "time-out", "abort session", "release", "release and cancel", "clear"])
def test_how_a_hung_statement_ends(sql: Sql, faults: Faults, connect: Callable[..., Connection], how: str) -> None:
    if how == "time-out":
        sql("ALTER SESSION SET STATEMENT_TIMEOUT_IN_SECONDS = 1")
    faults.put({"name": "stuck", "match": "^CREATE STAGE", "hang": True})
    thread, answers = sql.within(f"CREATE STAGE {sql.database}.PUBLIC.A", timeout=1 if how == "cancel" else None)
    (held,) = faults.await_held()
    assert (held["rule"], held["side"], held["client"]) == ("stuck", "hang", "tester")
    other = connect("other").cursor()
    assert other.execute("SELECT 1").fetchall() == [(1,)], "nobody else waits for it"
    if how == "abort session":
        other.execute(f"SELECT SYSTEM$ABORT_SESSION({held['session']})")
    elif how.startswith("release"):
        assert faults.release(held["id"], cancel="cancel" in how) == [held["id"]]
    elif how == "clear":
        faults.clear()
    thread.join(PATIENCE)
    done = how in ("release", "clear")
    assert isinstance(answers[0], list) == done, answers
    assert len(other.execute(f"SHOW STAGES IN DATABASE {sql.database}").fetchall()) == done
    assert faults.held() == []


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_held_statement_is_known_and_has_had_its_effect_or_not(
    sql: Sql, faults: Faults, connect: Callable[..., Connection], side: str
) -> None:
    faults.put({"match": "^CREATE STAGE", "hold": side})
    thread, answers = sql.within(f"CREATE STAGE {sql.database}.PUBLIC.A")
    (held,) = faults.await_held()
    assert (held["side"], held["statement"]) == (side, f"CREATE STAGE {sql.database}.PUBLIC.A")
    assert stories(faults, held["statement"]) == [None], "it still runs"
    look = connect().cursor()
    assert len(look.execute(f"SHOW STAGES IN DATABASE {sql.database}").fetchall()) == (side == "after")
    faults.release()
    thread.join(PATIENCE)
    assert isinstance(answers[0], list)
    assert stories(faults, held["statement"]) == ["done"]


def test_waiting_keeps_no_thread(sql: Sql, faults: Faults) -> None:
    """More statements wait than the account has threads, and another session does not notice."""
    faults.put({"match": "^SELECT 'waits'", "hold": "before"})
    for _ in range(100):
        with sql.connection.cursor() as cursor:
            cursor.execute_async("SELECT 'waits'")
    faults.await_held(100)
    assert sql("SELECT 1") == [(1,)]
    assert len(faults.release()) == 100


def test_a_late_listing_knows_neither_what_came_nor_what_went(sql: Sql, faults: Faults) -> None:
    sql(f"CREATE STAGE {sql.database}.PUBLIC.OLD COMMENT = 'then'")
    sql("CREATE ROLE IF NOT EXISTS LATE_READER")
    sql(f"CREATE STAGE {sql.database}.PUBLIC.NEW")
    sql(f"ALTER STAGE {sql.database}.PUBLIC.OLD SET COMMENT = 'now'")
    sql(f"GRANT READ ON STAGE {sql.database}.PUBLIC.OLD TO ROLE LATE_READER")
    faults.put({"match": "^SHOW (STAGES|GRANTS)", "stale": 60})
    with pytest.raises(DatabaseError, match="does not exist"):  # a minute ago there was not even the database
        sql.stages()
    faults.clear()
    assert sql.stages() == ["NEW", "OLD"]
    assert "now" in sql(f"SHOW STAGES IN DATABASE {sql.database}")[1]
    assert any("LATE_READER" in row for row in sql(f"SHOW GRANTS ON STAGE {sql.database}.PUBLIC.OLD"))
    sql(f"DROP STAGE {sql.database}.PUBLIC.OLD")
    faults.put({"match": "^SHOW STAGES", "stale": 0.5})
    seen: list[list[str]] = []
    while ["NEW"] not in seen:  # for half a second it shows what was
        with contextlib.suppress(DatabaseError):  # as long as there was no database
            seen.append(sql.stages())
    assert all("OLD" in listed for listed in seen[:-1] if listed)


def test_statements_are_told_in_order_and_without_secrets(sql: Sql, faults: Faults) -> None:
    last = faults.statements()[-1]["n"]
    sql(f"CREATE SECRET {sql.database}.PUBLIC.X TYPE = GENERIC_STRING SECRET_STRING = 'hush'")
    sql("SELECT 1")
    (secret, select) = faults.statements(since=last)
    assert (secret["n"], select["n"]) == (last + 1, last + 2)
    assert "hush" not in str(secret) and "***" in secret["statement"]
    assert secret["client"] == "tester" and secret["outcome"] == "done" and secret["startedAt"] <= secret["endedAt"] <= select["startedAt"]
