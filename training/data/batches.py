"""Which rows are in which step, on which rank, in which micro-batch.

The plan is a pure function of the row lengths, the seed and the step number. So a resumed run needs no saved position:
step 17 holds the same rows whether the run was interrupted or not. Every rank computes the same plan and takes its
share.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from training.config import Training
from training.data.packing import best_fit

AUTO_ROWS_PER_STEP = 4  # the measured recipe: with few rows, many small steps learn more than few large ones
AUTO_MICRO_TOKENS_GPU = 8192


@dataclass(frozen=True)
class BatchPlan:
    """Steps over `lengths` (tokens per row).

    Rows go into bins, a bin is what one rank takes at once: `capacity` tokens, filled with whole rows; capacity 0 means
    one row each. A step takes `bins_per_step` bins over all ranks. With `bins_per_step` and `capacity` given, the rows
    of a step do not depend on the number of ranks.
    """

    lengths: tuple[int, ...]
    world: int
    capacity: int
    bins_per_step: int
    steps: int
    seed: int
    _epochs: dict[int, list[list[int]]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def accumulation(self) -> int:
        """Micro-batches of a step on each rank: the same on all, because ZeRO talks between ranks in each of them."""
        return math.ceil(self.bins_per_step / self.world)

    def step(self, number: int) -> list[list[list[int]]]:
        """Row indices of step `number` (from 0) as [rank][micro-batch][row]; a micro-batch left over is empty."""
        bins = [self._bin(number * self.bins_per_step + place) for place in range(self.bins_per_step)]
        bins.sort(key=lambda rows: -sum(self.lengths[row] for row in rows))
        # longest to rank 0, next to rank 1, … and back again, so that the ranks wait little for each other
        order = [*range(self.world), *reversed(range(self.world))]
        ranks: list[list[list[int]]] = [[] for _ in range(self.world)]
        for place, rows in enumerate(bins):
            ranks[order[place % len(order)]].append(rows)
        return [[*batches, *[[]] * (self.accumulation - len(batches))] for batches in ranks]

    def epoch(self, number: int) -> float:
        """Passes over the data after `number` steps."""
        return number * self.bins_per_step / len(self._bins(0))

    @property
    def rows_per_step(self) -> float:
        """Rows of a step, on average."""
        return self.bins_per_step * len(self.lengths) / len(self._bins(0))

    def _bin(self, place: int) -> list[int]:
        epoch, index = divmod(place, len(self._bins(0)))  # all epochs have as many bins as the first
        return self._bins(epoch)[index]

    def _bins(self, epoch: int) -> list[list[int]]:
        if epoch not in self._epochs:
            shuffle = random.Random(f"{self.seed}:{epoch}").shuffle  # noqa: S311 - a reproducible order, no secret
            rows = list(range(len(self.lengths)))
            shuffle(rows)
            bins = [[row] for row in rows]
            if self.capacity:
                bins = best_fit(self.lengths, rows, self.capacity)
                shuffle(bins)
            for old in [known for known in self._epochs if 0 < known < epoch - 1]:
                del self._epochs[old]
            self._epochs[epoch] = bins
        return self._epochs[epoch]


def plan_batches(lengths: Sequence[int], training: Training, world: int, *, on_gpu: bool, like: tuple[int, int] | None = None) -> BatchPlan:
    """Choose what a rank takes at once, what a step takes, and the number of steps.

    `like` = (bins per step, capacity) of the plan that a run began with: a resume with another number of ranks goes on
    with the same steps.
    """
    mean = sum(lengths) / len(lengths)
    step_tokens = AUTO_ROWS_PER_STEP * mean if training.tokens_per_step == "auto" else training.tokens_per_step
    bins_per_step, capacity = like or (0, _capacity(lengths, training, step_tokens / world, on_gpu=on_gpu))
    plan = BatchPlan(tuple(lengths), world, capacity, 1, 1, training.seed)
    epoch_bins = len(plan._bins(0))
    if not bins_per_step:
        wanted = max(1, round(step_tokens * epoch_bins / sum(lengths)))
        bins_per_step = world * math.ceil(wanted / world)  # a rank without work would only wait
    steps = training.max_steps or max(1, round((training.epochs or 1.0) * epoch_bins / bins_per_step))
    return BatchPlan(tuple(lengths), world, capacity, bins_per_step, steps, training.seed, plan._epochs)


def _capacity(lengths: Sequence[int], training: Training, rank_tokens: float, *, on_gpu: bool) -> int:
    """Tokens of a bin, or 0 for one row each, which on a CPU is as fast as many together and needs the least memory."""
    packing = on_gpu or training.micro_batch_tokens != "auto" if training.packing == "auto" else training.packing
    if not packing:
        return 0
    tokens = min(AUTO_MICRO_TOKENS_GPU, math.ceil(rank_tokens)) if training.micro_batch_tokens == "auto" else training.micro_batch_tokens
    return max(tokens, *lengths, 1)


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
