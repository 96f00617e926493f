"""The training loop: forward on answers only, backward, step; watch, save, stop.

Written out instead of borrowed, because it is short and the borrowed ones own too much: packing, masking, resume and
progress all meet here. Measured on a CPU it is as fast as the alternatives.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from training.checkpoint.checkpoints import Checkpoints
from training.config import TrainingConfig
from training.data.batches import BatchPlan, learning_rate
from training.data.encoded import TrainingSet
from training.data.packing import MicroBatch, micro_batch
from training.errors import BadInputError, StoppedError
from training.hardware import device
from training.history import History, StepRecord
from training.watch import Watch


class StopFlag:
    """Set by SIGTERM, read between steps: a signal must not cut a collective operation in two."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        """Catch SIGTERM of this process."""
        signal.signal(signal.SIGTERM, self._caught)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


def summed_loss(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Cross-entropy summed over the learned tokens, in float32. The model must know `training.model.forward.install`."""
    batch = batch.to(device())
    loss: torch.Tensor = model(input_ids=batch.ids, documents=batch.documents, keep=batch.keep, targets=batch.targets)
    return loss


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
        watch: Watch,
    ) -> None:
        self.engine = engine
        self.plan = plan
        self.data = data
        self.config = config
        self.checkpoints = checkpoints
        self.pad = pad
        self.stop = stop
        self.report = report
        self.watch = watch
        # steps in flight: what a GPU has done is read while it does the next step, since waiting for it would leave it idle in between
        # (DeepSpeed itself waits for the norm before the optimizer steps, but not in float32 without ZeRO)
        self.late = 1 if torch.cuda.is_available() else 0
        self._launched: list[_Launched] = []
        self._saved_at = self._read_at = 0.0
        self._saved_step = 0

    def run(self, history: History) -> None:
        """Do the steps that `history` lacks, or fewer when the watch has seen enough, and save at the end.

        Raises StoppedError after SIGTERM (state saved) and BadInputError when the loss is no number.
        """
        self._saved_step = history.next_step
        self._saved_at = self._read_at = time.monotonic()
        while (step := history.next_step + len(self._launched)) < self.plan.steps and not self.watch.enough(history):
            self._launched.append(self._launch(step))
            done = step + 1
            waits = self.watch.due(done) or self._save_due(done) or done == self.plan.steps
            ends = self._settle(history, all_steps=waits)
            is_best = self._look(history)  # before a save, so that a resumed run knows what was seen
            if ends.stop or ends.save or is_best or self._save_due(done):
                self._save(history)
            if ends.stop:
                self._raise_stopped(history)
            if not self._launched:
                self._read_at = time.monotonic()  # a look and a save are no part of the next step's time
        if self._saved_step < history.next_step:
            self._save(history)

    def _settle(self, history: History, *, all_steps: bool) -> _Ends:
        """Take what was launched into the history; a GPU's last step stays in flight unless all are wanted, or a rank stops or saves."""
        ends = self._read(history, leave=0 if all_steps else self.late)
        if ends.stop or ends.save:
            ends = ends.also(self._read(history, leave=0))  # what is saved must be what the history tells
        return ends

    def _look(self, history: History) -> bool:
        """Score the held-out rows when it is time; True when the model is the best so far.

        Not with a step in flight: the model is then a step further than the history.
        """
        return False if self._launched else self.watch.look(history)

    def _save(self, history: History) -> None:
        self.checkpoints.save(self.engine, history)
        self._saved_at, self._saved_step = time.monotonic(), history.next_step

    def _raise_stopped(self, history: History) -> None:
        why_not = self.checkpoints.wait()
        saved = f"its state could not be saved: {why_not}" if why_not else "the state is saved"
        raise StoppedError(f"stopped after step {history.next_step} of {self.plan.steps}; {saved}")

    def _save_due(self, done: int) -> bool:
        every = self.config.checkpoint.every_steps
        return every is not None and done % every == 0

    def _launch(self, step: int) -> _Launched:
        """Hand one step to the device, without waiting for anything that it computes."""
        # a seed per step and rank: dropout is the same after a resume, with no generator state to save
        torch.manual_seed((self.config.training.seed * 1_000_003 + step) * 1009 + dist.get_rank())
        ranks = self.plan.step(step)
        chosen = [self.data.rows[row] for batches in ranks for rows in batches for row in rows]
        trained = sum(len(row.learned(self.config.prompt.loss)) for row in chosen)
        rate = learning_rate(self.config.training, step, self.plan.steps)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        mine = (
            micro_batch(self.data, rows, self.pad, self.config.prompt.loss, width=self.plan.capacity) for rows in ranks[dist.get_rank()]
        )
        # DeepSpeed averages over ranks and micro-batches; this makes it the mean over the step's learned tokens
        total = train_step(self.engine, mine, self.plan.accumulation * self.plan.world / trained)
        due = time.monotonic() - self._saved_at >= 60 * self.config.checkpoint.every_minutes
        agreement = _Agreement(total / trained, self.stop.is_set, due, self.engine)
        skipped = getattr(self.engine, "skipped_steps", 0) > 0  # DeepSpeed leaves out a step whose gradient is no number, and would go on
        return _Launched(step, rate, sum(len(row.ids) for row in chosen), skipped, agreement)

    def _read(self, history: History, *, leave: int) -> _Ends:
        """Put what was launched into the history, but the last `leave` steps."""
        ends = _Ends(False, False)
        while len(self._launched) > leave:
            launched = self._launched.pop(0)
            loss, norm, found = launched.agreement.read()
            if not math.isfinite(loss):
                self._fail(launched.step, f"the loss is {loss}")
            if launched.skipped or not math.isfinite(norm) or norm < 0:  # -1 is what some of DeepSpeed's stages say of such a norm
                self._fail(launched.step, "the gradient is no number")
            now = time.monotonic()
            record = StepRecord(launched.step, loss, launched.rate, norm, launched.tokens, now - self._read_at)
            self._read_at = now
            history.steps.append(record)
            self.report(record)
            ends = ends.also(found)
        return ends

    def _fail(self, step: int, what: str) -> None:
        rows = sorted({row for batches in self.plan.step(step) for rows in batches for row in rows})
        names = ", ".join(self.data.ids[row] for row in rows[:8])
        raise BadInputError(
            f"{what} at step {step + 1} of {self.plan.steps} (rows {names}); lower training.learningRate "
            f"({self.config.training.learning_rate:g}), or use dtype: float32, or look at these rows"
        )


def train_step(engine: Any, batches: Iterable[MicroBatch], scale: float) -> torch.Tensor:
    """Forward, backward and optimizer over one step's micro-batches; the summed loss, still on the device."""
    total = torch.zeros((), dtype=torch.float64, device=device())
    for batch in batches:
        loss = summed_loss(engine, batch)
        total += loss.detach()
        engine.backward(loss * scale)
        engine.step()
    return total


@dataclass(frozen=True)
class _Ends:
    """What is to be done after a step."""

    stop: bool
    save: bool

    def also(self, other: _Ends) -> _Ends:
        return _Ends(self.stop or other.stop, self.save or other.save)


class _Agreement:
    """What all ranks find together after a step: the sum of their losses; stop or save when any of them wants to.

    One small message a step. It is copied to the host when the device comes to it, and waited for in `read` only.
    """

    def __init__(self, loss: torch.Tensor, stop: bool, save: bool, engine: Any) -> None:
        on_gpu = loss.is_cuda
        values = torch.stack([loss, *torch.tensor([float(stop), float(save)], dtype=torch.float64).to(loss.device, non_blocking=True)])
        dist.all_reduce(values)
        norm = engine.get_global_grad_norm()
        norm = torch.as_tensor(0.0 if norm is None else norm, dtype=torch.float64, device=loss.device)
        values = torch.cat([values, norm.reshape(1)])
        self._host = torch.empty(len(values), dtype=torch.float64, pin_memory=on_gpu).copy_(values, non_blocking=on_gpu)
        self._done = torch.cuda.current_stream().record_event() if on_gpu else None

    def read(self) -> tuple[float, float, _Ends]:
        """(loss, norm of the gradient, what to do)."""
        if self._done is not None:
            self._done.synchronize()
        loss, stop, save, norm = self._host.tolist()
        return loss, norm, _Ends(stop > 0, save > 0)


@dataclass(frozen=True)
class _Launched:
    """A step that the device works on."""

    step: int
    rate: float
    tokens: int
    skipped: bool
    agreement: _Agreement
