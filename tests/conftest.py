"""How hard the property tests and random schedules look. `make test` runs each once; `make test-deep` (tests/deep.py) repeats them."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, derandomize=True)  # the same examples on every machine
settings.register_profile("deep", deadline=None, max_examples=500, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a script starts behind it; the programs under test would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def seed() -> int:
    """What a random schedule starts from; `make test-deep` counts it up."""
    return int(os.environ.get("SNOWCAT_SEED", "0"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Properties and tests with a random schedule carry the mark `deep`, without having to say so."""
    for item in items:
        if "seed" in getattr(item, "fixturenames", ()) or getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.deep)
