"""Which rows a step holds, and the rate that it learns with."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.batches import learning_rate, plan_batches
from training.config import Training

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
        sizes = [max(lengths[row] for row in rows) * len(rows) for batches in ranks for rows in batches]
        assert all(size <= micro or len(rows) == 1 for size, rows in zip(sizes, chain(*ranks), strict=True))


def test_an_epoch_uses_each_row_once() -> None:
    plan = plan_batches(LENGTHS[:8], Training(epochs=2), 2, on_gpu=False)
    rows = [[row for batches in plan.step(step) for rows in batches for row in rows] for step in range(plan.steps)]
    assert plan.steps == 4
    assert Counter(chain(*rows[:2])) == Counter(range(8))
    assert Counter(chain(*rows)) == Counter(dict.fromkeys(range(8), 2))
    assert plan.epoch(2) == 1.0


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
