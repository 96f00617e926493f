"""The two models of a run as they are scored: the base, and what the training made of it, which is written first.

Where they fit each rank holds all weights and answers its share of the rows by itself. Where they do not, they stay as
they were trained: on four bits, or spread over the ranks (ZeRO-3). What is scored is what will be served: the merged
model, rounded to the number format of the base's own file.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from training import engine, hardware
from training.checkpoint.state import leads_node
from training.config import TrainingConfig
from training.data.tokens import Tokens
from training.files import ARTEFACTS, Folders
from training.model import loading, spread
from training.model.folder import stored_bytes, stored_dtype
from training.planner.memory import Held, Offload, how_held


def held_here(config: TrainingConfig, base: Path, dtype: torch.dtype, stage: int) -> Held:
    """The same on all ranks, which must all call this before any of them holds a model."""
    weights = stored_bytes(base) * dtype.itemsize / stored_dtype(base).itemsize
    gpu = hardware.least(hardware.free_gpu_memory()) if torch.cuda.is_available() else None
    host = hardware.least(hardware.free_host_memory() / hardware.ranks_here())
    return how_held(weights, config.method.technique, stage, gpu=gpu, host=host)


@dataclass(frozen=True)
class Models:
    """Loads, writes and gives back. All ranks must call each of these; rank 0 writes what the run leaves."""

    config: TrainingConfig
    folders: Folders
    choice: engine.ZeroChoice
    dtype: torch.dtype
    held: Held
    tokens: Tokens

    @contextmanager
    def base(self) -> Iterator[Any]:
        """The base model, ready to be scored."""
        with self._loaded(self.folders.base) as model:
            yield model

    def take(self, trainer: Any) -> dict[str, torch.Tensor]:
        """What a finished training leaves: its weights by name, or nothing where they are too large; then the model is written now."""
        if self.held is not Held.SPREAD:
            return engine.trained_weights(trainer)
        self._make_folder()
        lead = dist.get_rank() == 0
        if self.config.method.adapter is not None and self.config.output.adapter:
            adapters = engine.trained_weights(trainer)
            if lead:
                trainer.module.save_pretrained(str(self._folder / "adapter"), state_dict=adapters)
        if lead and self.config.output.merged:
            self.tokens.raw.save_pretrained(str(self._merged))
        # once on each node, whose ranks read it again
        spread.write_merged(trainer.module, self._merged if leads_node() else None, stored_dtype(self.folders.base))
        return {}

    @contextmanager
    def tuned(self, weights: dict[str, torch.Tensor]) -> Iterator[Any]:
        """The tuned model, ready to be scored; adapter/ and merged/ are written."""
        lead = dist.get_rank() == 0
        if self.held is Held.SPREAD:
            dist.barrier()
            with self._loaded(self._merged) as model:
                yield model
            if leads_node() and not (lead and self.config.output.merged):
                shutil.rmtree(self._merged, ignore_errors=True)
            return
        self._make_folder()
        base, method, four_bits = self.folders.base, self.config.method, self.held is Held.FOUR_BITS
        if lead or not four_bits:
            tuned = loading.tuned_model(base, method, weights, self.dtype, place=torch.device("cpu") if four_bits else None)
            if lead and self.config.output.adapter and method.adapter is not None:
                tuned.save_pretrained(str(self._folder / "adapter"))
            tuned = loading.merge(tuned).to(stored_dtype(base))
            if lead and self.config.output.merged:
                tuned.save_pretrained(str(self._merged))
                self.tokens.raw.save_pretrained(str(self._merged))
        if four_bits:
            tuned = loading.tuned_model(base, method, weights, self.dtype, four_bit=True)
        yield tuned.to(self.dtype)

    @property
    def _folder(self) -> Path:
        return self.folders.work / ARTEFACTS

    @property
    def _merged(self) -> Path:
        return self._folder / "merged" if self.config.output.merged else self.folders.work / "merged"

    def _make_folder(self) -> None:
        if leads_node():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)

    @contextmanager
    def _loaded(self, folder: Path) -> Iterator[Any]:
        if self.held is Held.SPREAD:
            offload: Offload = "parameters" if self.choice.offload == "parameters" else "none"
            with engine.spreading(self.config, 3, 1, offload):
                model = loading.load_model(folder, self.dtype)
            runner = engine.run_only(model, self.config, offload)
            yield runner.module
            engine.release(runner)
            return
        model = loading.load_model(folder, self.dtype, four_bit=self.held is Held.FOUR_BITS)
        yield model
        del model
        hardware.tidy()
