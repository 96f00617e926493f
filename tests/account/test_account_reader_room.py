"""A look at the account leaves sessions free for work that is to begin meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from controller.account import reader
from controller.account.snapshot import Show


class Pool:
    """Only how many sessions it has."""

    def __init__(self, size: int) -> None:
        self.size = size


@pytest.mark.parametrize(("size", "most", "reason"), [(8, 6, "two are left"), (3, 1, "two are left"), (1, 1, "one reads all the same")])
def test_a_look_leaves_sessions_free(monkeypatch: pytest.MonkeyPatch, size: int, most: int, reason: str) -> None:
    together = threading.Barrier(most)
    asking: list[int] = []
    lock, now = threading.Lock(), [0]

    def ask(_pool: Any, question: Show, _first: bool) -> tuple[Any, ...]:
        with lock:
            now[0] += 1
            asking.append(now[0])
        together.wait(10)  # as many as may ask at once do so
        with lock:
            now[0] -= 1
        return ()

    monkeypatch.setattr(reader, "_ask", ask)
    questions = [Show(f"KIND {n}") for n in range(2 * most)]
    pool: Any = Pool(size)
    assert set(reader.read(pool, questions)) == set(questions)
    assert max(asking) <= most, reason
