"""From the base model to trained weights: adapters put on, batches planned, a checkpoint found, steps done.

Everything that is built from a seed, a plan or a checkpoint comes together here, so a resumed run builds the same again
and goes on where the last attempt was cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from training import engine, hardware
from training.checkpoint.checkpoints import Checkpoints
from training.config import TrainingConfig
from training.data.batches import BatchPlan, plan_batches
from training.data.encoded import TrainingSet
from training.data.tokens import Tokens
from training.errors import BadInputError
from training.files import Folders
from training.history import EvalRecord, History, StepRecord
from training.loop import Loop, StopFlag
from training.model import attention, blocks, loading
from training.model.folder import attention_dropout
from training.planner import Rows
from training.progress import Pace, Progress
from training.scoring.evaluate import HeldOut
from training.watch import Watch


@dataclass(frozen=True)
class Trained:
    """What training leaves: what `Tuning.take` took of it, and how it went."""

    weights: dict[str, torch.Tensor]
    history: History
    trained_parameters: int
    parameters: int
    best_step: int | None  # steps that the weights have behind them, where these are not all
    share_of_peak: float | None  # see hardware.share_of_peak


@dataclass(frozen=True)
class Tuning:
    """One rank's part of the training. `say` tells of progress, on rank 0; `take` what is wanted of the trained engine before it goes."""

    config: TrainingConfig
    folders: Folders
    choice: engine.ZeroChoice
    dtype: torch.dtype
    stop: StopFlag
    say: Callable[[Progress], None]
    take: Callable[[Any], dict[str, torch.Tensor]] = engine.trained_weights

    def run(self, data: TrainingSet, held_out: HeldOut, tokens: Tokens, after: float) -> Trained:
        """Train, or go on training. `after` are the seconds that the run will need afterwards. Raises TrainingError."""
        checkpoints = Checkpoints(
            self.folders.work / "checkpoints",
            self.folders.output / "checkpoints",
            self.config,
            lambda text: self.say(Progress("train", message=text)),
        )
        plan = self._plan(data, checkpoints)
        trainer, counts = self._build(plan, data)
        history = self._resume(checkpoints, trainer)
        share = hardware.share_of_peak(self.folders.base, dist.get_world_size(), data.mean_length, full=bool(self.config.method.full))
        pace = Pace(plan.steps, share, self.config.evaluation.every_steps, after)
        watch = self._watch(plan, held_out, trainer, pace)

        def tell(record: StepRecord) -> None:
            if (line := pace.step(record, plan.epoch(record.step + 1))) is not None:
                self.say(line)

        Loop(trainer, plan, data, self.config, checkpoints, tokens.pad, self.stop, tell, watch).run(history)
        checkpoints.wait()
        best = self._take_best(checkpoints, trainer, watch.kept(history), plan.steps)
        weights = self.take(trainer)
        engine.release(trainer)
        return Trained(weights, history, *counts, best, share)

    def _plan(self, data: TrainingSet, checkpoints: Checkpoints) -> BatchPlan:
        """The batches of all steps, like those that an earlier attempt began with."""
        planned = self.config.training
        if planned.micro_batch_tokens == "auto" and self.choice.micro_batch_tokens is not None:
            planned = planned.model_copy(update={"micro_batch_tokens": self.choice.micro_batch_tokens})
        on_gpu = torch.cuda.is_available()
        plan = plan_batches(data.lengths.tolist(), planned, dist.get_world_size(), on_gpu=on_gpu, like=checkpoints.begun())
        checkpoints.plan = plan.bins_per_step, plan.capacity
        return plan

    def _build(self, plan: BatchPlan, data: TrainingSet) -> tuple[Any, tuple[int, int]]:
        """(the engine around the model that is trained, how many of its parameters are trained and how many there are)."""
        config, choice = self.config, self.choice
        chosen = attention.choose(config.training.attention, self.dtype, attention_dropout(self.folders.base))
        with engine.spreading(config, choice.stage, plan.accumulation, choice.offload):
            base = loading.load_model(self.folders.base, self.dtype, attention=chosen, four_bit=config.method.qlora is not None)
            torch.manual_seed(config.training.seed)  # the same adapters on every rank, whatever was drawn while loading
            trainable = loading.prepare(base, config.method)
        counts = loading.parameter_counts(trainable)
        lengths = data.lengths.tolist()
        rows = Rows(len(lengths), data.mean_length, max(lengths))
        built = blocks.prepare(
            trainable,
            stage=choice.stage,
            checkpointed=blocks.layers_to_checkpoint(self.folders.base, config, choice.way, rows, plan.capacity or rows.longest),
            # shapes that change with every row would be compiled again and again
            compiled=bool(plan.capacity) and attention.compiles(config.training.compile, chosen),
        )
        message = f"{choice}; {plan.rows_per_step:.4g} rows a step; {counts[0]:,} of {counts[1]:,} parameters; {built}"
        self.say(Progress("train", step=0, steps=plan.steps, message=message))
        return engine.start(trainable, config, choice.stage, plan.accumulation, choice.offload), counts

    def _resume(self, checkpoints: Checkpoints, trainer: Any) -> History:
        history, refused = checkpoints.resume(trainer)
        for reason in refused:
            self.say(Progress("train", message=reason))
        step = history.next_step
        history.attempts.append({"attempt": self.config.run.attempt, "fromStep": step})
        if step:
            self.say(Progress("train", step=step, message=f"resumed from the checkpoint after step {step}"))
        return history

    def _take_best(self, checkpoints: Checkpoints, trainer: Any, best: int | None, steps: int) -> int | None:
        """Put the weights after step `best` into the engine; None where the last ones stay, also because the best are lost."""
        if best is None:
            return None
        try:
            checkpoints.restore(trainer, best)
        except BadInputError as error:  # its copy never arrived: that is no reason to lose the training too
            self.say(Progress("train", step=steps, steps=steps, message=f"the weights after step {best} were the best, but {error}"))
            return None
        self.say(Progress("train", step=best, steps=steps, message=f"the weights after step {best} were the best"))
        return best

    def _watch(self, plan: BatchPlan, held_out: HeldOut, trainer: Any, pace: Pace) -> Watch:
        def score() -> dict[str, float]:
            return held_out.look(trainer, sharded=self.choice.stage == 3)

        def tell(record: EvalRecord) -> None:
            pace.looked(record)
            self.say(Progress("train", step=record.steps, steps=plan.steps, metrics=record.scores, message="held-out rows scored"))

        return Watch(self.config.evaluation, plan.steps, self.config.keeps_best, score, tell)
