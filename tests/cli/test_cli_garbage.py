"""What is there to stay is set aside for Python's garbage collector once a plan has stood for a look, and no more often than that."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from controller.cli.garbage import at_rest
from controller.reconcile.planning.change import Plan
from controller.reconcile.report import Report


@pytest.fixture
def collections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Full collections; what was frozen is given back after the test."""
    found: list[int] = []
    real = gc.collect
    monkeypatch.setattr(gc, "collect", lambda *args: found.append(1) or real(*args))  # type: ignore[func-returns-value]
    usual = gc.get_threshold()
    yield found
    gc.set_threshold(*usual)
    gc.unfreeze()


def test_each_plan_that_has_stood_for_a_look_is_set_aside_once(collections: list[int]) -> None:
    listen = at_rest()
    plans = [Plan("p", "a", {}) for _ in range(3)]
    for plan, settled, wanted, reason in [
        (None, False, 0, "nothing was looked at"),
        (plans[0], False, 1, "the first look: the files stay as they are for the most part"),
        (plans[1], False, 1, "something is on its way"),
        (plans[1], True, 2, "at rest"),
        (plans[1], True, 2, "still"),
        (plans[2], True, 2, "another plan, which may be followed by the next save"),
        (plans[2], True, 3, "that one has stood for a look"),
    ]:
        listen(Report("p", plan=plan, settled=settled))
        assert len(collections) == wanted, reason
    assert gc.get_freeze_count() > 0


def test_in_between_everything_is_gone_through_seldom(collections: list[int]) -> None:
    young, middle, old = gc.get_threshold()
    at_rest()
    assert gc.get_threshold() == (young, middle, 10 * old)
