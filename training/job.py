"""One fine-tune from the first row to the finished folder, as one rank sees it.

load → data → score the base model → train → score the tuned model → save. All ranks run this; rank 0 reports and
writes. The base model is scored first: then its answers are not lost when the weights change, and the time that it
took tells how long the last part will take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch.distributed as dist

from training import engine, hardware, links
from training.checkpoint.kept_choice import as_begun, begun_with
from training.config import TrainingConfig
from training.data.dataset import Dataset, prepare
from training.errors import StoppedError
from training.files import ARTEFACTS, Folders
from training.loop import StopFlag
from training.model.folder import BaseIdentity, check_folder
from training.planner import Rows, in_words
from training.planner.memory import Held
from training.progress import Progress, report
from training.results import artefacts
from training.results.outcome import Outcome, leave
from training.results.tracker import tracking
from training.scoring.base_scores import BaseScores
from training.scoring.evaluate import HeldOut, Scores, Which
from training.scoring.models import Models, held_here
from training.tuning import Trained, Tuning


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
        self.track: Callable[[Progress], None] = lambda progress: None
        self.dtype = hardware.choose_dtype(config.training.dtype)

    def run(self) -> None:
        """Do the whole job. Raises TrainingError with the exit code that the process should end with."""
        with tracking(self.config, self.lead, lambda text: self._say(Progress("train", message=text))) as self.track:
            self._phases()
        dist.barrier()

    def _phases(self) -> None:
        links.check(lambda text: self._say(Progress("load", message=text)))
        with self._phase("data"):
            data = self._load_data()
        links.agree("rows", data.fingerprint)  # every node has read them for itself
        rows = Rows(len(data.train.lengths), data.train.mean_length, int(max(data.train.lengths)))
        chosen = engine.choose_stage(as_begun(self.config, self.folders.base, self.folders.output, rows), self.folders.base, rows)
        self.choice = begun_with(chosen, self.folders.output, self.config.run.id, lambda text: self._say(Progress("load", message=text)))
        held = held_here(self.config, self.folders.base, self.dtype, self.choice.stage)
        models = Models(self.config, self.folders, self.choice, self.dtype, held, data.tokens)
        base = self._score_base(models, data)
        with self._phase("train"):
            tuning = Tuning(self.config, self.folders, self.choice, self.dtype, self.stop, self._say, models.take)
            trained = tuning.run(data.train, data.held_out, data.tokens, self.seconds["evalBase"])
        with self._phase("evalTuned"), models.tuned(trained.weights) as model:
            tuned = self._score(model, held, data.held_out, "tuned")
        if self.lead:
            self._leave(data, trained, base, tuned)

    # ---- the phases ----------------------------------------------------------------------------------------------

    def _load_data(self) -> Dataset:
        self._say(Progress("data", message="rendering and encoding the rows"))
        check_folder(self.folders.base)
        data = prepare(self.config, self.folders)
        self._say(Progress("data", message=str(data)))
        return data

    def _score_base(self, models: Models, data: Dataset) -> Scores:
        """The base model's scores: those of an earlier attempt, with the seconds that they took then, or found now."""
        identity, four_bit = BaseIdentity.read(self.folders.base), models.held is Held.FOUR_BITS
        kept = BaseScores.of(self.folders.output, self.config, identity, data.fingerprint, self.dtype, four_bit=four_bit)
        found = [kept.read() if self.lead else None]
        dist.broadcast_object_list(found)
        if found[0] is not None:
            scores, self.seconds["evalBase"] = found[0]
            total = len(data.held_out.rows)
            message = "the base model was scored by an earlier attempt"
            self._say(Progress("eval", "base", step=total, steps=total, metrics=scores.means, message=message))
            return scores
        with self._phase("evalBase"), models.base() as model:
            scores = self._score(model, models.held, data.held_out, "base")
        if self.lead:
            try:
                kept.write(scores, self.seconds["evalBase"])
            except OSError as error:
                self._say(Progress("eval", "base", message=f"the scores are not kept for a later attempt: {error}"))
        return scores

    def _score(self, scored: Any, held: Held, held_out: HeldOut, which: Which) -> Scores:
        started, together = time.monotonic(), held is Held.SPREAD
        world, total = dist.get_world_size(), len(held_out.rows)
        self._say(Progress("eval", which, step=0, steps=total, message=f"the {which} model ({held}) answers {total} rows"))

        def stopped() -> bool:
            # spread over the ranks none of them may leave alone
            return hardware.least(not self.stop.is_set) == 0 if together else self.stop.is_set

        def progress(done: int) -> None:
            if stopped():
                raise StoppedError(f"stopped while the {which} model was scored")
            passed = min(total, done * world)
            left = (time.monotonic() - started) / passed * (total - passed)
            self._say(Progress("eval", which, step=passed, steps=total, eta_seconds=round(left, 1)))

        def measured(done: int, of: int) -> None:
            message = f"the loss on the wanted answers, batch {done} of {of}"
            self._say(Progress("eval", which, step=total, steps=total, message=message))

        scores = held_out.score(scored, which, progress, measured=measured, sharded=together)
        self._say(Progress("eval", which, step=total, steps=total, metrics=scores.means, message=f"{which} model scored"))
        return scores

    def _leave(self, data: Dataset, trained: Trained, base: Scores, tuned: Scores) -> None:
        """Hand everything over to whoever started the ranks, see `training.results.artefacts`."""
        self._say(Progress("save", message="writing the run's artefacts"))
        artefacts.write_predictions(self.folders.work / ARTEFACTS, base.predictions, tuned.predictions)
        identity = BaseIdentity.read(self.folders.base)
        outcome = Outcome(
            base_id=identity.id,
            base_sha256=identity.sha256,
            fingerprint=data.fingerprint,
            splits=data.splits,
            used_rows=len(data.train.rows),
            long_rows=str(data.train.counts),
            eval_rows=len(data.held_out.rows),
            parameters=trained.parameters,
            trained_parameters=trained.trained_parameters,
            zero=f"{in_words(self.choice.stage, self.choice.offload)} ({self.choice.reason})",
            device=hardware.name(),
            dtype=str(self.dtype).removeprefix("torch."),
            world=dist.get_world_size(),
            base=base.means,
            tuned=tuned.means,
            phase_seconds=self.seconds,
            best_step=trained.best_step,
            mfu=trained.history.speed() * trained.share_of_peak if trained.share_of_peak is not None else None,
            peak_memory=hardware.peak_memory(),
        )
        leave(self.folders.work, outcome, trained.history)

    # ---- around them ---------------------------------------------------------------------------------------------

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)

    def _say(self, progress: Progress) -> None:
        if self.lead:
            line = replace(progress, memory_bytes=hardware.peak_memory())
            report(line)
            self.track(line)
