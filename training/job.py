"""One fine-tune from the first row to `run.json`, as one rank sees it.

load → data → score the base model → train → score the tuned model → save. All ranks run this; rank 0 reports, writes
and copies. The base model is scored first: then its answers are not lost when the weights change, and the time that it
took tells how long the last part will take.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from training import artefacts, engine, model
from training.batches import BatchPlan, plan_batches
from training.checkpoints import Checkpoints, History, StepRecord
from training.config import TrainingConfig
from training.data import Rows, TrainingSet, encode_rows, read_json_lines, select_rows
from training.errors import StoppedError
from training.evaluate import Scores, answer_limit, evaluate
from training.loop import Loop, StopFlag
from training.progress import Progress, peak_memory, report
from training.tokens import Tokens

REPORT_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Folders:
    """Where a job works: the base model, the rows as JSON lines, a local scratch folder, the output folder."""

    base: Path
    rows: Path
    work: Path
    output: Path


class Job:
    """The state that the phases of one run share."""

    def __init__(self, config: TrainingConfig, folders: Folders, stop: StopFlag) -> None:
        self.config = config
        self.folders = folders
        self.stop = stop
        self.seconds: dict[str, float] = {}
        self.choice = engine.choose_stage(config)
        engine.prepare_environment()
        self.lead = dist.get_rank() == 0
        self.dtype = model.choose_dtype(config.training.dtype)

    def run(self) -> None:
        """Do the whole job. Raises TrainingError with the exit code that the process should end with."""
        with self._phase("data"):
            rows, data, tokens = self._load_data()
        with self._phase("evalBase"):
            base_scores = self._evaluate(model.load_model(self.folders.base, self.dtype), rows, data, "base")
        with self._phase("train"):
            history, trained, counts = self._train(data, tokens)
        with self._phase("evalTuned"):
            local = self.folders.work / "artefacts"
            tuned = self._write_models(trained, tokens, local)
            tuned_scores = self._evaluate(tuned, rows, data, "tuned")
        if self.lead:
            self._say(Progress("save", message="writing the run's artefacts"))
            with self._phase("save"):
                outcome = artefacts.Outcome(
                    config=self.config,
                    base=model.BaseIdentity.read(self.folders.base),
                    fingerprint=fingerprint(rows),
                    splits=dict(rows.splits),
                    used_rows=len(data.rows),
                    too_long=data.too_long,
                    eval_rows=len(rows.eval),
                    history=history,
                    base_scores=base_scores,
                    tuned_scores=tuned_scores,
                    parameters=counts[1],
                    trained_parameters=counts[0],
                    zero=f"{self.choice.stage} ({self.choice.reason})",
                    device=device_name(),
                    dtype=str(self.dtype).removeprefix("torch."),
                    world=dist.get_world_size(),
                    phase_seconds=self.seconds,
                )
                artefacts.write_reports(local, outcome)
                artefacts.publish(local, self.folders.output, outcome)
            summary = {f"base_{name}": value for name, value in base_scores.means.items()}
            summary |= {f"tuned_{name}": value for name, value in tuned_scores.means.items()}
            self._say(Progress("done", metrics=summary, message=f"the run is in {self.folders.output}"))
        dist.barrier()

    def _load_data(self) -> tuple[Rows, TrainingSet, Tokens]:
        self._say(Progress("data", message="rendering and encoding the rows"))
        model.check_folder(self.folders.base)
        config = self.config
        rows = select_rows(read_json_lines(self.folders.rows), config.data, config.prompt, config.evaluation.rows)
        tokens = Tokens.load(self.folders.base)
        wanted = config.training.max_length
        limit = model.context_length(self.folders.base) if wanted == "auto" else wanted
        data = encode_rows(rows.train, tokens, limit)
        dropped = f", {data.too_long} left out as longer than {limit}" if data.too_long else ""
        self._say(
            Progress(
                "data",
                message=f"{len(data.rows)} rows to train on{dropped}, {data.mean_length:.0f} tokens on average; "
                f"{len(rows.eval)} rows to score; splits {dict(rows.splits)}",
            )
        )
        return rows, data, tokens

    def _train(self, data: TrainingSet, tokens: Tokens) -> tuple[History, dict[str, torch.Tensor], tuple[int, int]]:
        config = self.config
        torch.manual_seed(config.training.seed)  # the same adapters on every rank
        # plain attention beats the fused one for the backward pass on a CPU, by a fifth when measured
        attention = "sdpa" if torch.cuda.is_available() else "eager"
        base = model.load_model(self.folders.base, self.dtype, attention=attention)
        trainable = model.prepare(base, config.method)
        counts = model.parameter_counts(trainable)
        plan = plan_batches(
            [len(row.ids) for row in data.rows],
            config.training,
            dist.get_world_size(),
            on_gpu=torch.cuda.is_available(),
        )
        self._say(
            Progress(
                "train",
                step=0,
                steps=plan.steps,
                message=f"ZeRO {self.choice.stage}: {self.choice.reason}; {plan.rows_per_step} rows a step; "
                f"{counts[0]:,} of {counts[1]:,} parameters",
            )
        )
        trainer = engine.start(trainable, config, self.choice.stage, plan.accumulation)
        checkpoints = Checkpoints(
            self.folders.work / "checkpoints",
            self.folders.output / "checkpoints",
            config.run.id,
            config.checkpoint.keep,
            adapters_only=config.method.lora is not None,
        )
        history = self._resume(checkpoints, trainer)
        loop = Loop(trainer, plan, data, config, checkpoints, tokens.pad, self.stop, self._step_reporter(plan))
        loop.run(history)
        return history, engine.trained_weights(trainer), counts

    def _resume(self, checkpoints: Checkpoints, trainer: Any) -> History:
        found: list[Any] = [checkpoints.latest() if self.lead else None]
        dist.broadcast_object_list(found, src=0)
        step, refused = found[0]
        for reason in refused:
            self._say(Progress("train", message=reason))
        history = checkpoints.restore(trainer, step) if step else History()
        history.attempts.append({"attempt": self.config.run.attempt, "fromStep": history.next_step})
        if step:
            self._say(Progress("train", step=step, message=f"resumed from the checkpoint after step {step}"))
        return history

    def _write_models(self, trained: dict[str, torch.Tensor], tokens: Tokens, local: Path) -> Any:
        """Build the tuned model; rank 0 also writes adapter/ and merged/. Returns the model to score."""
        stored = model.stored_dtype(self.folders.base)
        tuned = model.tuned_model(self.folders.base, self.config.method, trained, self.dtype)
        if self.lead:
            shutil.rmtree(local, ignore_errors=True)
            local.mkdir(parents=True)
            if self.config.output.adapter and self.config.method.lora is not None:
                tuned.save_pretrained(str(local / "adapter"))
        # rounded to what is stored before it is scored: the scores are those of the model that will be served
        tuned = model.merge(tuned).to(stored)
        if self.lead and self.config.output.merged:
            tuned.save_pretrained(str(local / "merged"))
            tokens.raw.save_pretrained(str(local / "merged"))
        return tuned.to(self.dtype)

    def _evaluate(self, scored: Any, rows: Rows, data: TrainingSet, which: str) -> Scores:
        started = time.monotonic()
        world, total = dist.get_world_size(), len(rows.eval)
        self._say(Progress("eval", step=0, steps=total, message=f"the {which} model answers {total} rows"))

        def progress(done: int) -> None:
            if self.stop.is_set:
                raise StoppedError(f"stopped while the {which} model was scored")
            passed = min(total, done * world)
            left = (time.monotonic() - started) / passed * (total - passed)
            self._say(Progress("eval", step=passed, steps=total, eta_seconds=round(left, 1)))

        limit = answer_limit(self.config.evaluation, data.longest_answer)
        # own tokenizer object: nothing that generation does to it may reach the training rows
        scores = evaluate(scored, Tokens.load(self.folders.base), rows.eval, self.config.evaluation, limit, progress)
        self._say(Progress("eval", step=total, steps=total, metrics=scores.means, message=f"{which} model scored"))
        return scores

    def _step_reporter(self, plan: BatchPlan) -> Callable[[StepRecord], None]:
        last = 0.0
        recent: list[StepRecord] = []

        def tell(record: StepRecord) -> None:
            nonlocal last
            recent.append(record)
            del recent[:-10]
            is_last = record.step + 1 == plan.steps
            if time.monotonic() - last < REPORT_EVERY_SECONDS and not is_last:
                return
            last = time.monotonic()
            seconds = sum(done.seconds for done in recent)
            left = (plan.steps - record.step - 1) * seconds / len(recent) + self.seconds.get("evalBase", 0.0)
            self._say(
                Progress(
                    "train",
                    step=record.step + 1,
                    steps=plan.steps,
                    epoch=round(plan.epoch(record.step + 1), 3),
                    loss=round(record.loss, 5),
                    learning_rate=record.learning_rate,
                    grad_norm=round(record.grad_norm, 5),
                    tokens_per_second=round(sum(done.tokens for done in recent) / seconds, 1),
                    eta_seconds=round(left, 1),
                )
            )

        return tell

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)

    def _say(self, progress: Progress) -> None:
        if self.lead:
            report(replace(progress, memory_bytes=peak_memory()))


def fingerprint(rows: Rows) -> str:
    """Hash over ids and texts of the rows that were used."""
    digest = hashlib.sha256()
    for row in (*rows.train, *rows.eval):
        digest.update(repr((row.id, row.example)).encode())
    return digest.hexdigest()


def device_name() -> str:
    """The GPU's name, or the CPU's architecture and core count."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU {platform.machine()}, {len(os.sched_getaffinity(0))} cores"
