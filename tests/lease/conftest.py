"""Fixtures: an embedded account with its faults endpoint, and a project that several processes share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_account import RunningAccount, run_account
from fault_client import Faults
from lease_daemons import Shared

_COUNT = itertools.count(1)


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    yield from run_account(tmp_path_factory.mktemp("lease") / "state", "--time-scale", "0.01", "--faults")


@pytest.fixture
def shared(account: RunningAccount, tmp_path: Path) -> Iterator[Shared]:
    faults = Faults(account.state)
    shared = Shared(account, faults, tmp_path / "project", f"p{next(_COUNT)}")
    yield shared
    faults.clear()
    for process in shared.processes:
        process.kill()
