"""Which rows a step holds, and the rate that it learns with."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import Training
from training.data.batches import learning_rate, plan_batches

LENGTHS = [30, 90, 50, 70, 20, 60, 80, 40, 25]


@given(
    lengths=st.lists(st.integers(2, 400), min_size=1, max_size=30),
    world=st.integers(1, 4),
    tokens=st.one_of(st.just("auto"), st.integers(1, 5000)),
    micro=st.one_of(st.just("auto"), st.integers(1, 3000)),
)
def test_all_ranks_do_the_same_number_of_micro_batches(lengths: list[int], world: int, tokens: int, micro: int) -> None:
    plan = plan_batches(lengths, Training(tokens_per_step=tokens, micro_batch_tokens=micro), world, on_gpu=False)
    ranks = plan.step(3)
    assert len(ranks) == world
    assert {len(batches) for batches in ranks} == {plan.accumulation}
    assert all(rows for batches in ranks for rows in batches), "ZeRO waits for a backward pass of every rank"
    if micro != "auto":
        sizes = [sum(lengths[row] for row in rows) for batches in ranks for rows in batches]
        assert max(sizes) <= max(micro, *lengths, 1), "a row is never cut, and never shares what it fills"


def test_an_epoch_uses_each_row_once() -> None:
    plan = plan_batches(LENGTHS[:8], Training(epochs=2), 2, on_gpu=False)
    rows = [[row for batches in plan.step(step) for rows in batches for row in rows] for step in range(plan.steps)]
    assert plan.steps == 4
    assert Counter(chain(*rows[:2])) == Counter(range(8))
    assert Counter(chain(*rows)) == Counter(dict.fromkeys(range(8), 2))
    assert plan.epoch(2) == 1.0


@pytest.mark.parametrize(
    ("packing", "micro", "on_gpu", "packed", "reason"),
    [
        ("auto", "auto", False, False, "one row at a time is as fast on a CPU"),
        ("auto", "auto", True, True, "a GPU wants many tokens at once"),
        ("auto", 200, False, True, "asked for so many tokens at once"),
        (True, "auto", False, True, "as asked"),
        (False, 200, True, False, "as asked"),
    ],
)
def test_when_rows_are_packed(packing: Any, micro: Any, on_gpu: bool, packed: bool, reason: str) -> None:
    plan = plan_batches(LENGTHS, Training(packing=packing, micro_batch_tokens=micro), 1, on_gpu=on_gpu)
    assert any(len(rows) > 1 for step in range(3) for rows in plan.step(step)[0]) is packed, reason


def test_packed_epochs_use_each_row_once_and_differ() -> None:
    plan = plan_batches(LENGTHS, Training(epochs=4, micro_batch_tokens=120, tokens_per_step=120), 1, on_gpu=False)
    assert plan.steps % 4 == 0
    epoch = plan.steps // 4
    epochs = [[rows for step in range(epoch) for rows in plan.step(number * epoch + step)[0]] for number in range(4)]
    assert all(Counter(chain(*rows)) == Counter(range(len(LENGTHS))) for rows in epochs)
    assert epochs[0] != epochs[1]
    assert plan.epoch(epoch) == 1.0


def test_a_step_has_the_same_rows_at_any_number_of_ranks() -> None:
    training = Training(max_steps=9, micro_batch_tokens=120, tokens_per_step=300)
    first = plan_batches(LENGTHS, training, 1, on_gpu=False)
    for world in (2, 3, 4):
        other = plan_batches(LENGTHS, training, world, on_gpu=False, like=(first.bins_per_step, first.capacity))
        for step in range(9):
            rows = [rows for batches in other.step(step) for rows in batches if rows]
            assert sorted(rows) == sorted(first.step(step)[0])
            assert {len(batches) for batches in other.step(step)} == {other.accumulation}


def test_a_step_is_the_same_whenever_it_is_asked_for() -> None:
    first = plan_batches(LENGTHS, Training(max_steps=20, seed=5), 2, on_gpu=False)
    again = plan_batches(LENGTHS, Training(max_steps=20, seed=5), 2, on_gpu=False)
    other = plan_batches(LENGTHS, Training(max_steps=20, seed=6), 2, on_gpu=False)
    assert [first.step(17)] == [again.step(17)]
    assert [first.step(i) for i in range(5)] != [other.step(i) for i in range(5)]


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("linear", 2, [1 / 3, 2 / 3, 1.0, 0.88125, 0.7625]),
        ("constant", 2, [1 / 3, 2 / 3, 1.0, 1.0, 1.0]),
        ("cosine", 0, [1.0, 0.9768, 0.9093]),
        ("linear", 0.2, [1 / 3, 2 / 3, 1.0]),
        ("linear", 0, [1.0, 0.905]),
    ],
)
def test_learning_rate(schedule: str, warmup: float, expected: list[float]) -> None:
    training = Training(schedule=schedule, warmup=warmup, learning_rate=1.0)
    found = [learning_rate(training, step, 10) for step in range(len(expected))]
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_ends_near_five_percent(schedule: str) -> None:
    assert learning_rate(Training(schedule=schedule, learning_rate=1.0), 999, 1000) == pytest.approx(0.05, abs=2e-3)
