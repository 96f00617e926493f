"""The training loop: forward on answers only, backward, step; watch, save, stop.

Written out instead of borrowed, because it is short and the borrowed ones own too much: packing, masking, resume and
progress all meet here. Measured on a CPU it is as fast as the alternatives.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.nn import functional

from training.batches import BatchPlan, learning_rate
from training.checkpoints import Checkpoints, History, StepRecord
from training.config import TrainingConfig
from training.data import TrainingSet
from training.errors import BadInputError, StoppedError
from training.model import device

ROUND_LENGTH = 32  # few distinct shapes: a CPU prepares its kernels once for each


class StopFlag:
    """Set by SIGTERM, read between steps: a signal must not cut a collective operation in two."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        """Catch SIGTERM of this process."""
        signal.signal(signal.SIGTERM, self._caught)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


@dataclass(frozen=True)
class MicroBatch:
    """Rows padded on the right. `keep` are the positions whose next token carries loss in any of the rows."""

    ids: torch.Tensor
    keep: torch.Tensor
    targets: torch.Tensor
    tokens: int
    trained: int


def micro_batch(data: TrainingSet, rows: list[int], pad: int, loss: Literal["answer", "all"]) -> MicroBatch:
    """Build one micro-batch: ids (rows, length), keep (k,), targets (rows, k) with -100 where nothing is learned.

    Padding needs no attention mask: it stands on the right, and no token looks to its right. What is learned is
    decided by position alone, because the padding token may be the end token.
    """
    chosen = [data.rows[row] for row in rows]
    longest = max(len(row.ids) for row in chosen)
    width = min(-(-longest // ROUND_LENGTH) * ROUND_LENGTH, max(longest, data.max_length))
    ids = torch.full((len(chosen), width), pad, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for i, row in enumerate(chosen):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        first = row.answer_start if loss == "answer" else 1
        labels[i, first : len(row.ids)] = ids[i, first : len(row.ids)]
    keep = (labels[:, 1:] != -100).any(dim=0).nonzero().squeeze(1)
    targets = labels[:, 1:][:, keep]
    return MicroBatch(ids, keep, targets, sum(len(row.ids) for row in chosen), int((targets != -100).sum()))


def summed_loss(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Cross-entropy summed over the learned tokens, in float32.

    The head runs on the kept positions only: with answers of a twentieth of the text that saves most of its work.
    `use_cache=False` because a cache is waste here, and with packed rows would let them see each other.
    """
    where = device()
    logits = model(input_ids=batch.ids.to(where), logits_to_keep=batch.keep.to(where), use_cache=False).logits
    return functional.cross_entropy(logits.float().flatten(0, 1), batch.targets.to(where).flatten(), ignore_index=-100, reduction="sum")


class Loop:
    """Runs the steps of one job on one rank."""

    def __init__(
        self,
        engine: Any,
        plan: BatchPlan,
        data: TrainingSet,
        config: TrainingConfig,
        checkpoints: Checkpoints,
        pad: int,
        stop: StopFlag,
        report: Callable[[StepRecord], None],
    ) -> None:
        self.engine = engine
        self.plan = plan
        self.data = data
        self.config = config
        self.checkpoints = checkpoints
        self.pad = pad
        self.stop = stop
        self.report = report

    def run(self, history: History) -> None:
        """Do the steps that `history` lacks, and save at the end.

        Raises StoppedError after SIGTERM (state saved) and BadInputError when the loss is no number.
        """
        saved_at = time.monotonic()
        saved_step = history.next_step
        while history.next_step < self.plan.steps:
            record, ends = self._step(history.next_step, saved_at)
            history.steps.append(record)
            self.report(record)
            if ends.stop:
                self.checkpoints.save(self.engine, history)
                raise StoppedError(f"stopped after step {history.next_step} of {self.plan.steps}; the state is saved")
            if ends.save:
                self.checkpoints.save(self.engine, history)
                saved_at, saved_step = time.monotonic(), history.next_step
        if saved_step < history.next_step:
            self.checkpoints.save(self.engine, history)

    def _step(self, step: int, saved_at: float) -> tuple[StepRecord, _Agreed]:
        started = time.monotonic()
        # a seed per step and rank: dropout is the same after a resume, with no generator state to save
        torch.manual_seed((self.config.training.seed * 1_000_003 + step) * 1009 + dist.get_rank())
        ranks = [[micro_batch(self.data, rows, self.pad, self.config.prompt.loss) for rows in batches] for batches in self.plan.step(step)]
        trained = sum(batch.trained for batches in ranks for batch in batches)
        tokens = sum(batch.tokens for batches in ranks for batch in batches)
        mine = ranks[dist.get_rank()]
        rate = learning_rate(self.config.training, step, self.plan.steps)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        # DeepSpeed averages over ranks and micro-batches; this makes it the mean over the step's learned tokens
        scale = len(mine) * self.plan.world / trained
        total = 0.0
        for batch in mine:
            loss = summed_loss(self.engine, batch)
            total += loss.item()
            self.engine.backward(loss * scale)
            self.engine.step()
        due = time.monotonic() - saved_at >= 60 * self.config.checkpoint.every_minutes
        agreed = _agree(total / trained, self.stop.is_set, due)
        if not math.isfinite(agreed.loss):
            self._fail(step, agreed.loss)
        norm = float(self.engine.get_global_grad_norm() or 0.0)
        return StepRecord(step, agreed.loss, rate, norm, tokens, time.monotonic() - started), agreed

    def _fail(self, step: int, loss: float) -> None:
        rows = sorted({row for batches in self.plan.step(step) for rows in batches for row in rows})
        names = ", ".join(self.data.ids[row] for row in rows[:8])
        raise BadInputError(
            f"the loss is {loss} at step {step + 1} of {self.plan.steps} (rows {names}); lower training.learningRate "
            f"({self.config.training.learning_rate:g}), or use dtype: float32, or look at these rows"
        )


@dataclass(frozen=True)
class _Agreed:
    """What all ranks know together after a step."""

    loss: float
    stop: bool
    save: bool


def _agree(loss: float, stop: bool, save: bool) -> _Agreed:
    """Sum the ranks' shares of the loss; stop or save when any rank wants to. One small message a step."""
    values = torch.tensor([loss, float(stop), float(save)], dtype=torch.float64, device=device())
    dist.all_reduce(values)
    return _Agreed(float(values[0]), bool(values[1] > 0), bool(values[2] > 0))
