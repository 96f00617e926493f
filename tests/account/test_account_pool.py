"""Who gets a session of a pool, and when they are opened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from controller.account import pool as pools
from controller.account.errors import TimedOut, Transient
from controller.account.pool import SessionPool
from controller.account.session import Session


class Account:
    """Opens sessions that nothing is sent in. `logins` may be `held` back."""

    def __init__(self) -> None:
        self.opened = 0
        self.free = threading.Event()
        self.free.set()
        self.refuses = False
        self._lock = threading.Lock()

    def open(self, *_: object, **__: object) -> Session:
        assert self.free.wait(20)
        if self.refuses:
            raise Transient("away")
        with self._lock:
            self.opened += 1
            return Session(SimpleNamespace(session_id=self.opened, close=lambda: None))


def pool(account: Account, size: int) -> SessionPool:
    nowhere: Any = None
    return SessionPool(nowhere, size, opener=account.open)


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_all_sessions_are_opened_side_by_side_and_nobody_opens_more() -> None:
    account = Account()
    account.free.clear()
    made = pool(account, 4)
    made.open_all()
    assert made.ids == frozenset()
    account.free.set()
    with made.session() as one:
        assert one.id in made.ids
    eventually(lambda: made.ids == {"1", "2", "3", "4"})
    made.open_all()
    assert account.opened == 4


def test_logins_that_failed_are_tried_again_by_who_wants_a_session() -> None:
    account = Account()
    account.refuses = True
    made = pool(account, 2)
    made.open_all()
    with pytest.raises(Transient), made.session():
        pass
    account.refuses = False
    with made.session() as one:
        assert one.id == "1"


def test_a_session_that_is_lost_while_it_ends_one_that_hangs_is_not_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The abort hangs too: it was sent, so the session after that one is lent."""
    made = pool(Account(), 2)
    with made.session() as hung:
        hung.alive = False
        hung.line._broken.set()
        hung.line._thread = threading.main_thread()
    sent: list[str] = []

    def execute(self: Session, statement: Any, **_: object) -> None:
        sent.append(f"{self.id}: {statement}")
        self.alive = False
        raise TimedOut("no answer")

    monkeypatch.setattr(Session, "execute", execute)
    with pytest.raises(TimedOut), made.session():
        pass
    with made.session() as next_one:
        assert next_one.alive and len(sent) == 1 and "ABORT_SESSION" in sent[0]


def test_the_session_that_was_idle_longest_is_lent_first() -> None:
    made = pool(Account(), 3)
    with made.session(), made.session(), made.session():
        pass
    used = []
    for _ in range(3):
        with made.session() as one:
            used.append(one.id)
    assert len(set(used)) == 3, "none stays idle until the account ends it"


def test_a_session_that_was_idle_for_very_long_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = pool(Account(), 2)
    with made.session() as one:
        pass
    monkeypatch.setattr(pools, "_FRESH", 0.0)
    with made.session() as other:
        assert other is not one
    eventually(lambda: not one.alive)


def test_who_goes_first_waits_for_nobody_who_came_before() -> None:
    made = pool(Account(), 1)
    order: list[str] = []

    def borrow(name: str, first: bool) -> None:
        with made.session(first=first):
            order.append(name)

    with made.session():
        threads = [threading.Thread(target=borrow, args=(f"look {n}", False)) for n in range(3)]
        for thread in threads:
            thread.start()
        last = threading.Thread(target=borrow, args=("save", True))
        last.start()
        eventually(lambda: made._first == 1)
    for thread in (*threads, last):
        thread.join(20)
    assert order[0] == "save" and len(order) == 4
