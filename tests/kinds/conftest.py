"""An embedded account for the tests that go over the wire: one process for all of them, made when first wanted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from embedded_account import RunningAccount, run_account
from services_account import account_for_services

from controller.account.connections import Connection, local_connection
from controller.account.pool import SessionPool


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    for running in run_account(tmp_path_factory.mktemp("account") / "state", "--time-scale", "0.01"):
        yield local_connection(running.details)


@pytest.fixture(scope="session")
def full_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    """Another account, with images and a pool whose only node is taken, so that services can be made and never run."""
    yield from account_for_services(tmp_path_factory.mktemp("services") / "state")


@pytest.fixture
def pool(account: Connection) -> Iterator[SessionPool]:
    """Sessions as ACCOUNTADMIN, closed at the end."""
    sessions = SessionPool(account, 2, role="ACCOUNTADMIN")
    yield sessions
    sessions.close()
