"""Which rows are in which step, on which rank, in which micro-batch.

The plan is a pure function of the row lengths, the seed and the step number. So a resumed run needs no saved position:
step 17 holds the same rows whether the run was interrupted or not. Every rank computes the same plan and takes its
share.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from training.config import Training

AUTO_ROWS_PER_STEP = 4  # the measured recipe: with few rows, many small steps learn more than few large ones
AUTO_MICRO_TOKENS_GPU = 8192


@dataclass(frozen=True)
class BatchPlan:
    """Steps over `lengths` (tokens per row)."""

    lengths: tuple[int, ...]
    world: int
    rows_per_step: int
    accumulation: int
    steps: int
    seed: int

    def step(self, number: int) -> list[list[list[int]]]:
        """Row indices of step `number` (from 0) as [rank][micro-batch][row]."""
        chosen = [self._row(number * self.rows_per_step + i) for i in range(self.rows_per_step)]
        chosen.sort(key=lambda row: -self.lengths[row])
        # longest to rank 0, next to rank 1, … and back again, so that the ranks wait little for each other
        order = [*range(self.world), *reversed(range(self.world))]
        ranks: list[list[int]] = [[] for _ in range(self.world)]
        for place, row in enumerate(chosen):
            ranks[order[place % len(order)]].append(row)
        size = math.ceil(self.rows_per_step / self.world / self.accumulation)
        return [[rows[i * size : (i + 1) * size] for i in range(self.accumulation)] for rows in ranks]

    def epoch(self, number: int) -> float:
        """Passes over the data after `number` steps."""
        return number * self.rows_per_step / len(self.lengths)

    def _row(self, place: int) -> int:
        epoch, index = divmod(place, len(self.lengths))
        order = list(range(len(self.lengths)))
        random.Random(f"{self.seed}:{epoch}").shuffle(order)  # noqa: S311 - a reproducible order, no secret
        return order[index]


def plan_batches(lengths: Sequence[int], training: Training, world: int, *, on_gpu: bool) -> BatchPlan:
    """Choose rows per step, micro-batches and number of steps.

    All ranks run the same number of micro-batches, because ZeRO talks between ranks in each of them.
    """
    mean = sum(lengths) / len(lengths)
    wanted = AUTO_ROWS_PER_STEP if training.tokens_per_step == "auto" else round(training.tokens_per_step / mean)
    per_rank = max(1, math.ceil(wanted / world))
    if training.micro_batch_tokens != "auto":
        micro_rows = max(1, training.micro_batch_tokens // max(lengths))
    else:
        # on a CPU one row at a time is as fast as many together, and needs the least memory
        micro_rows = max(1, AUTO_MICRO_TOKENS_GPU // max(lengths)) if on_gpu else 1
    accumulation = math.ceil(per_rank / micro_rows)
    per_rank = accumulation * math.ceil(per_rank / accumulation)
    rows_per_step = per_rank * world
    steps = training.max_steps or max(1, round((training.epochs or 1.0) * len(lengths) / rows_per_step))
    return BatchPlan(tuple(lengths), world, rows_per_step, accumulation, steps, training.seed)


def learning_rate(training: Training, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: warm-up, then down to 5 % (linear, cosine) or level (constant)."""
    warmup = training.warmup if training.warmup >= 1 else training.warmup * steps
    if step < warmup:
        return training.learning_rate * (step + 1) / (math.floor(warmup) + 1)
    if training.schedule == "constant":
        return training.learning_rate
    done = (step - warmup) / max(1.0, steps - warmup)
    falling = 1.0 - done if training.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return training.learning_rate * (0.05 + 0.95 * falling)
