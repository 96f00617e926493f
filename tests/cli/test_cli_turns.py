"""The threads of a daemon take short turns, and those of other commands the usual ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.cli import apply as apply_module
from controller.cli.options import LogFormat
from controller.cli.target import Target
from controller.cli.turns import TURN


@pytest.fixture
def usual() -> Iterator[float]:
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


def test_a_daemon_takes_short_turns_while_it_runs(usual: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: list[float] = []
    monkeypatch.setattr(apply_module, "configure", lambda **how: None)
    monkeypatch.setattr(apply_module, "_run", lambda *what: found.append(sys.getswitchinterval()))
    assert usual == pytest.approx(0.005), "importing the command line changes nothing"
    apply_module.run(Target(tmp_path), LogFormat.JSON)
    assert found == [pytest.approx(TURN)]
