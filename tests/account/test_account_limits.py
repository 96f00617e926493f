"""What statements are held to: the token bucket on virtual time, time-outs by class, and calls that nobody need wait for."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.account.counters import class_of_statement
from controller.account.errors import TimedOut, Transient
from controller.account.limits import Timeouts, TokenBucket
from controller.account.line import Line


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time


def test_a_burst_goes_at_once_and_the_rest_in_order_at_the_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(per_second=10, burst=3, now=clock.now)
    assert [round(bucket.take(), 3) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]
    clock.time += 10
    assert [round(bucket.take(), 3) for _ in range(4)] == [0, 0, 0, 0.1], "a quiet time fills it up to the burst, and no further"


def test_what_is_urgent_never_waits_and_counts_all_the_same() -> None:
    bucket = TokenBucket(per_second=10, burst=1, now=Clock().now)
    assert bucket.take() == 0
    assert bucket.take(urgent=True) == 0
    assert round(bucket.take(), 3) == 0.2


def test_an_account_that_asks_for_less_is_left_alone_for_a_while() -> None:
    clock = Clock()
    bucket = TokenBucket(per_second=10, burst=5, now=clock.now)
    bucket.pause(3)
    bucket.pause(1)
    assert bucket.take() == 3 and bucket.take(urgent=True) == 0
    clock.time += 3
    assert bucket.take() == 0


@given(
    st.lists(st.floats(0, 2), min_size=1, max_size=60),
    st.integers(1, 20).map(float),
    st.integers(1, 10),
)
def test_never_more_than_the_burst_and_the_rate_in_any_time(gaps: list[float], rate: float, burst: int) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, burst, now=clock.now)
    sent = []
    for gap in gaps:
        clock.time += gap
        sent.append(clock.time + bucket.take())
    assert sent == sorted(sent), "who comes first goes first"
    for i, begin in enumerate(sent):
        for j, end in enumerate(sent[i:], 1):
            assert j <= burst + rate * (end - begin) + 1e-6


TIMES = Timeouts(read=1, change=2, transfer=3)
CLASSES = [
    ("SHOW WAREHOUSES", False, 1, "a look"),
    ("DESC STAGE S", False, 1, "a look at one object"),
    ("USE ROLE R", False, 1, "a setting of the session"),
    ("SELECT SYSTEM$GET_SERVICE_LOGS('S', 0, 'c')", False, 1, "a question that needs no warehouse"),
    ("SELECT COUNT(*) FROM T", True, 3, "a question in a warehouse takes what it takes"),
    ("CREATE WAREHOUSE W", False, 2, "a change"),
    ("GRANT USAGE ON DATABASE D TO ROLE R", False, 2, "a change of rights"),
    ("PUT file:///x @S", False, 3, "an upload"),
    ("COPY INTO T FROM @S", True, 3, "a load"),
    ("EXECUTE JOB SERVICE IN COMPUTE POOL P NAME = J", False, 3, "a job"),
]


@pytest.mark.parametrize(("text", "warehouse", "seconds", "reason"), CLASSES, ids=[row[3] for row in CLASSES])
def test_each_class_has_its_time(text: str, warehouse: bool, seconds: float, reason: str) -> None:
    assert TIMES.of(class_of_statement(text), warehouse=warehouse) == seconds, reason


# ---- a line ------------------------------------------------------------------------------------------------------------------------------


def test_answers_and_errors_come_back_and_calls_share_a_thread() -> None:
    line = Line()
    first = line.call(threading.get_ident, 5, "x")
    assert first == line.call(threading.get_ident, 5, "x") != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        line.call(lambda: 1 // 0, 5, "x")
    assert line.call(lambda: 7, 5, "x") == 7
    line.break_off()


def test_a_call_that_hangs_is_left_behind() -> None:
    line, release = Line(), threading.Event()
    with pytest.raises(TimedOut, match=r"SHOW X: no answer in 0\.05 seconds"):
        line.call(release.wait, 0.05, "SHOW X")
    assert line.broken and line.hanging
    with pytest.raises(Transient, match="broken off"):
        line.call(lambda: 1, 5, "SHOW Y")
    release.set()
    until = time.monotonic() + 10
    while line.hanging:
        assert time.monotonic() < until, "its thread ends once the call returns"
        time.sleep(0.005)


@pytest.mark.parametrize("waits", ["for an answer", "for a token"])
def test_whoever_waits_gets_away_when_the_line_is_broken_off(waits: str) -> None:
    line, release, caught = Line(), threading.Event(), list[Exception]()

    def wait() -> None:
        try:
            if waits == "for an answer":
                line.call(release.wait, 60, "SHOW X")
            else:
                line.pause(60)
        except Transient as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.02)
    line.break_off()
    thread.join(10)
    release.set()
    assert len(caught) == 1 and not isinstance(caught[0], TimedOut)
