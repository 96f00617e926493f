"""One account for all tests of the embedded account; each test works in a database of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import snowflake.connector
from embedded_account import RunningAccount, run_account

_count = itertools.count(1)
Connection = snowflake.connector.SnowflakeConnection


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    yield from run_account(tmp_path_factory.mktemp("emulator") / "state", "--time-scale", "0.01")


@pytest.fixture
def connect(account: RunningAccount) -> Iterator[Callable[..., Connection]]:
    opened: list[Connection] = []

    def make(**more: Any) -> Connection:
        opened.append(account.connect(**more))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture
def session(connect: Callable[..., Connection]) -> Iterator[Connection]:
    """A session with a fresh database, schema PUBLIC and a warehouse."""
    connection = connect()
    name = f"DB_{next(_count)}"
    connection.cursor().execute("CREATE WAREHOUSE IF NOT EXISTS TEST_WH WAREHOUSE_SIZE = XSMALL")
    connection.cursor().execute("USE WAREHOUSE TEST_WH")
    connection.cursor().execute(f"CREATE DATABASE {name}")
    yield connection
    connection.cursor().execute("USE ROLE ACCOUNTADMIN")
    connection.cursor().execute(f"DROP DATABASE IF EXISTS {name}")


def rows(connection: Connection, statement: str) -> list[Any]:
    return connection.cursor().execute(statement).fetchall()
