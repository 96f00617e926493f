"""A look in a thread of its own: what happens while it is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from controller.reconcile.look import looker
from controller.reconcile.look.looker import Looker

PATIENCE = 20.0  # real seconds; only how long a broken looker keeps the test waiting


class Account:
    """A look at it ends while a glance at it is under way."""

    def __init__(self) -> None:
        self.glanced = threading.Event()
        self.looks = threading.Thread()
        self.begun: Callable[[], None] = lambda: None

    def look(self, *_: object, **__: object) -> str:
        self.looks = threading.current_thread()
        self.begun()
        assert self.glanced.wait(PATIENCE)
        return "all"

    def glance(self, *_: object) -> str:
        self.glanced.set()
        self.looks.join(PATIENCE)
        return "some"


def test_a_look_that_ends_during_a_glance_is_not_waited_for_any_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looker, "_STEP", 3 * PATIENCE)
    account: Any = Account()
    nothing: Any = None
    seen: list[object] = []

    def meanwhile() -> None:
        if account.looks.is_alive() and not seen:
            seen.append(made.glance(nothing, nothing, []))

    made = Looker(account, threading.Event(), PATIENCE, meanwhile)
    account.begun = made.poke
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(made.look(nothing, full=True)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert (seen, answers) == (["some"], ["all"])
