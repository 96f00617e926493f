"""Fixtures for tests of the lab."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from embedded_account import RunningAccount, run_account


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    """An account whose nodes start a hundred times as fast as usual."""
    yield from run_account(tmp_path_factory.mktemp("account") / "state", "--time-scale", "0.01")
