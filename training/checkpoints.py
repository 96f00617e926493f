"""Checkpoints that survive what kills a job: saved locally, copied to the output folder, marked complete last.

A checkpoint is a folder `checkpoints/<step>/` with DeepSpeed's files, the history so far, and `complete.json`, which
lists every file with its hash. Without that marker, or with a hash that differs, it is passed over for an older one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch.distributed as dist

from training.errors import BadInputError
from training.files import copy_files, describe, problems, read_entries, write_json
from training.history import History

MARKER = "complete.json"
HISTORY = "history.json"


class Checkpoints:
    """The checkpoints of one run: `local` on this node's disk, `remote` in the output folder."""

    def __init__(self, local: Path, remote: Path, run: str, keep: int, *, adapters_only: bool) -> None:
        self.local = local
        self.remote = remote
        self.run = run
        self.keep = keep
        self.adapters_only = adapters_only

    def save(self, engine: Any, history: History) -> None:
        """Save the state after `history.next_step` steps. All ranks must call this."""
        step = history.next_step
        folder = self.local / str(step)
        # frozen weights come from the base model's file again; storing them would turn kilobytes into gigabytes
        engine.save_checkpoint(str(self.local), tag=str(step), save_latest=False, exclude_frozen_parameters=self.adapters_only)
        dist.barrier()
        if dist.get_rank() == 0:
            write_json(folder / HISTORY, history.document())
            self._publish(step, folder)
            self._prune()
        dist.barrier()

    def latest(self) -> tuple[int, list[str]]:
        """(step of the newest usable checkpoint or 0, why newer ones were passed over)."""
        refused: list[str] = []
        for step in sorted(self._steps(self.remote), reverse=True):
            folder = self.remote / str(step)
            reason = self._unusable(folder)
            if not reason:
                return step, refused
            refused.append(f"checkpoint {step} is not used: {reason}")
        return 0, refused

    def restore(self, engine: Any, step: int) -> History:
        """Load checkpoint `step` into the engine. All ranks must call this."""
        folder = self.local / str(step)
        if dist.get_rank() == 0:
            marker = json.loads((self.remote / str(step) / MARKER).read_text(encoding="utf-8"))
            copy_files(self.remote / str(step), folder, read_entries(marker))
        dist.barrier()
        loaded, _ = engine.load_checkpoint(str(self.local), tag=str(step), load_module_strict=not self.adapters_only)
        if loaded is None:
            raise BadInputError(f"DeepSpeed could not load checkpoint {step}; remove {self.remote / str(step)}")
        return History.read(folder / HISTORY)

    def _publish(self, step: int, folder: Path) -> None:
        files = [entry for entry in describe(folder) if entry.path != MARKER]
        target = self.remote / str(step)
        copy_files(folder, target, files)
        document = {
            "version": 1,
            "run": self.run,
            "step": step,
            "worldSize": dist.get_world_size(),
            "files": [entry.document() for entry in files],
        }
        write_json(target / MARKER, document)

    def _prune(self) -> None:
        complete = [step for step in self._steps(self.remote) if (self.remote / str(step) / MARKER).is_file()]
        for step in sorted(complete)[: -self.keep]:
            (self.remote / str(step) / MARKER).unlink()  # first, so that half a folder is never taken for a whole one
            shutil.rmtree(self.remote / str(step))
            shutil.rmtree(self.local / str(step), ignore_errors=True)

    def _unusable(self, folder: Path) -> str:
        try:
            marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
            if marker["run"] != self.run:
                return f"it belongs to run {marker['run']}"
            if marker["worldSize"] != dist.get_world_size():
                return f"it was saved by {marker['worldSize']} ranks, here are {dist.get_world_size()}"
            return "; ".join(problems(folder, read_entries(marker), hashes=True))
        except FileNotFoundError:
            return "it is not complete"
        except (ValueError, KeyError, OSError) as error:
            return f"its marker cannot be read ({error})"

    @staticmethod
    def _steps(folder: Path) -> list[int]:
        if not folder.is_dir():
            return []
        return [int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdigit()]
