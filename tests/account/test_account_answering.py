"""When an account counts as silent, and when it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from controller.account.answering import Answering
from controller.account.errors import AccountError, Denied, LoginFailed, Transient
from controller.account.errors import NotFound as Missing

GRACE = 0.05


class Heard:
    """What is told, and a clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[float | None] = []
        self.something = threading.Event()
        self.answering = Answering(self._take, grace=GRACE, now=lambda: self.now)

    def _take(self, seconds: float | None) -> None:
        self.told.append(seconds)
        self.something.set()

    def judged(self) -> None:
        """Wait for the judgement of a sign."""
        for thread in threading.enumerate():
            if thread.name == "silence":
                thread.join()


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_silence_is_told_once_and_so_is_its_end(heard: Heard) -> None:
    for _ in range(3):
        heard.answering.missed(heard.now)
        heard.judged()
    assert heard.told == [None]
    heard.now += 30
    heard.answering.answered()
    heard.answering.answered()
    assert heard.told == [None, 30.0]
    heard.now += 1
    heard.answering.missed(heard.now)
    heard.judged()
    assert heard.told == [None, 30.0, None], "it may fall silent again"


def test_the_last_word_is_how_it_is(heard: Heard) -> None:
    """The answer comes while the silence is being told."""
    taken = heard._take

    def slowly(seconds: float | None) -> None:
        if seconds is None:
            threading.Thread(target=heard.answering.answered, name="silence").start()
            while heard.answering._silent_since is not None:
                time.sleep(0.001)
        taken(seconds)

    heard.answering.tell = slowly
    heard.answering.missed(heard.now)
    heard.judged()
    heard.judged()
    assert heard.told == [None, 0.0]


def test_a_sign_is_void_when_anything_was_answered_since(heard: Heard) -> None:
    heard.now += 5
    heard.answering.answered()
    heard.answering.missed(heard.now - 3)
    heard.judged()
    assert heard.told == [], "another statement was answered while this one waited"
    heard.answering.missed(heard.now)
    heard.now += 1
    heard.answering.answered()
    heard.judged()
    assert heard.told == []


@pytest.mark.parametrize(
    ("error", "answer", "reason"),
    [
        (Missing("does not exist", errno=2003), True, "a refusal comes from the account"),
        (Denied("no", errno=3001), True, "the same"),
        (LoginFailed("no", errno=390100), True, "the same"),
        (Transient("session gone", errno=390112), True, "it has said so itself"),
        (Transient("cancelled", errno=604), True, "the same"),
        (Transient("no answer", errno=251011), False, "the driver gave up"),
        (Transient("bad gateway", errno=290502), False, "something before the account answers"),
        (Transient("the session was broken off"), False, "by ourselves"),
    ],
)
def test_which_errors_are_answers(heard: Heard, error: AccountError, answer: bool, reason: str) -> None:
    heard.answering.missed(heard.now)
    heard.now += 1
    heard.answering.failed(error)
    heard.judged()
    assert (heard.told == []) is answer, reason


def test_each_further_try_of_the_driver_is_a_sign(heard: Heard) -> None:
    def policy() -> Iterator[float]:
        yield from (0.5, 1.0)

    waits = heard.answering.waits(policy)
    assert next(waits) == 0.5
    heard.judged()
    assert heard.told == [], "it is asked for before the first try"
    assert next(waits) == 1.0
    heard.judged()
    assert heard.told == [None]
