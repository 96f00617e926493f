"""Fixtures: one embedded account for all tests here, and a fresh project in it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_account import RunningAccount, run_account
from reconcile_live import Live


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    """An account whose nodes start a hundred times as fast as usual."""
    yield from run_account(tmp_path_factory.mktemp("account") / "state", "--time-scale", "0.01")


@pytest.fixture
def live(account: RunningAccount, tmp_path: Path) -> Iterator[Live]:
    project = Live.begin(account, tmp_path)
    yield project
    project.end()
