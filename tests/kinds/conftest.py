"""An embedded account for the tests that go over the wire: one process for all of them, made when first wanted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from embedded_account import run_account

from controller.account.connections import Connection, local_connection
from controller.account.session import SessionPool


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    for running in run_account(tmp_path_factory.mktemp("account") / "state", "--time-scale", "0.01"):
        yield local_connection(running.details)


@pytest.fixture
def pool(account: Connection) -> Iterator[SessionPool]:
    """Sessions as ACCOUNTADMIN, closed at the end."""
    sessions = SessionPool(account, 2, role="ACCOUNTADMIN")
    yield sessions
    sessions.close()
