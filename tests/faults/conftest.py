"""Fixtures: an embedded account with its faults endpoint, whose rules are gone after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import snowflake.connector
from embedded_account import RunningAccount, run_account
from fault_client import Faults
from faults_crash import Unbroken, run_unbroken

Connection = snowflake.connector.SnowflakeConnection


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    yield from run_account(tmp_path_factory.mktemp("faults") / "state", "--time-scale", "0.01", "--faults")


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """What all that is broken has to end at."""
    return run_unbroken(tmp_path_factory.mktemp("unbroken"))


@pytest.fixture
def faults(account: RunningAccount) -> Iterator[Faults]:
    endpoint = Faults(account.state)
    yield endpoint
    endpoint.clear()


@pytest.fixture
def connect(account: RunningAccount) -> Iterator[Callable[..., Connection]]:
    """A session whose QUERY_TAG is `tag`."""
    opened: list[Connection] = []

    def make(tag: str = "tester", **more: Any) -> Connection:
        opened.append(account.connect(session_parameters={"QUERY_TAG": tag}, **more))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()
