"""Checkpoints that survive what kills a job: saved on this node's disk, copied to the output folder while training goes on.

A checkpoint is a folder `checkpoints/<step>/` with the state of `training.checkpoint.state`, the history so far, and `complete.json`,
which is written last and lists every file with its hash. Without that marker, or with a hash that differs, it is passed
over for an older one. The output folder may be on a stage: whole files, from start to end, never renamed.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist
from safetensors import SafetensorError

from training.checkpoint import state
from training.checkpoint.owner import Owner
from training.config import TrainingConfig
from training.errors import BadInputError
from training.files import FileEntry, copy_files, describe, problems, read_entries, write_json
from training.history import History
from training.planner import gib

MARKER = "complete.json"
HISTORY = "history.json"


@dataclass
class _Copying:
    """One checkpoint on its way to the output folder; `why_not` says what went wrong."""

    step: int
    thread: threading.Thread | None = None
    why_not: str = ""


@dataclass(frozen=True)
class _Layout:
    """How a checkpoint was saved: by how many ranks, under which ZeRO stage, after how many updates by the optimizer."""

    world: int
    stage: int
    updates: int


@dataclass
class Checkpoints:
    """The checkpoints of one run: `local` on this node's disk, `remote` in the output folder."""

    local: Path
    remote: Path
    config: TrainingConfig
    say: Callable[[str], None]
    plan: tuple[int, int] | None = None  # (bins per step, capacity) of the run's batches, see training.data.batches
    _copying: _Copying | None = field(default=None, init=False)
    _nodes: Any = field(default=None, init=False)  # the ranks that copy, one of each node; they talk apart from the training

    def __post_init__(self) -> None:
        self.owner = Owner.of(self.local.parent, self.remote.parent, self.config.run)
        leads = _gathered(state.leads_node())
        self._leaders = [rank for rank, lead in enumerate(leads) if lead]
        if len(self._leaders) > 1:
            self._nodes = dist.new_group(self._leaders, backend="gloo")

    # -- saving

    def save(self, engine: Any, history: History) -> None:
        """Save the state after `history.next_step` steps. All ranks must call this.

        It returns when the state is on this node's disk; the copy to the output folder goes on beside the training.
        An earlier copy is waited for. Raises BadInputError when another attempt has taken over the run's folder, or the disk is full.
        """
        self.wait()
        step = history.next_step
        folder = self.local / str(step)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            if self.config.method.adapter is not None:
                state.save_adapters(engine, folder)
            else:
                state.save_all(engine, folder)
        except (OSError, RuntimeError, SafetensorError) as error:  # of whoever writes: each says in its own words that a disk is full
            why = no_room(self.local, state.size_here(engine, adapters=self.config.method.adapter is not None))
            if why is None:
                raise
            raise why from error
        # every rank has written its part once all have answered; and no node touches the files of an attempt that has taken over
        if lost := _gathered(self.owner.lost() if dist.get_rank() == 0 else "")[0]:
            raise BadInputError(lost)
        if state.leads_node():
            folder.mkdir(parents=True, exist_ok=True)
            if dist.get_rank() == 0:
                write_json(folder / HISTORY, history.document())
            layout = _Layout(dist.get_world_size(), engine.zero_optimization_stage(), state.updates(engine))
            copying = _Copying(step)
            best = history.best(self.config.evaluation.best_by) if self.config.keeps_best else None
            arguments = (copying, folder, layout, best.steps if best is not None else None)
            copying.thread = threading.Thread(target=self._publish, args=arguments, daemon=True, name=f"checkpoint-{step}")
            self._copying = copying
            copying.thread.start()

    def wait(self) -> str:
        """Wait for the copy that is under way. The same answer on all ranks: why it did not arrive, or nothing."""
        copying, self._copying = self._copying, None
        if copying is not None and copying.thread is not None:
            copying.thread.join()
        return next((text for text in _gathered(copying.why_not if copying is not None else "") if text), "")

    def _publish(self, copying: _Copying, folder: Path, layout: _Layout, best: int | None) -> None:
        """Runs in a thread of one rank of each node; it never raises, or the thread would end without a word."""
        target, lead = self.remote / str(copying.step), dist.get_rank() == 0
        files, copying.why_not = _copied(folder, target)
        try:
            parts = self._from_nodes((copying.why_not, files))
            if lead:
                copying.why_not = next((text for text, _ in parts if text), "")
            if lead and not copying.why_not:
                listed = {entry.path: entry for _, entries in parts for entry in entries}
                self._mark(copying.step, target, list(listed.values()), layout)
        except (OSError, RuntimeError) as error:
            copying.why_not = str(error)
        if lead and copying.why_not:
            self._give_up(copying, target)
        elif lead:
            self._prune(copying.step, best)
        shutil.rmtree(folder, ignore_errors=True)

    def _from_nodes(self, mine: tuple[str, list[FileEntry]]) -> list[tuple[str, list[FileEntry]]]:
        if self._nodes is None:
            return [mine]
        parts: list[Any] | None = [None] * len(self._leaders) if dist.get_rank() == 0 else None
        dist.gather_object(mine, parts, dst=0, group=self._nodes)
        return parts or []

    def _mark(self, step: int, target: Path, files: list[FileEntry], layout: _Layout) -> None:
        document = {
            "version": 2,
            "run": self.config.run.id,
            "step": step,
            "worldSize": layout.world,
            "zeroStage": layout.stage,
            "updates": layout.updates,
            "plan": self.plan,
            "files": [entry.document() for entry in files],
        }
        write_json(target / MARKER, document)

    def _give_up(self, copying: _Copying, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)  # half a checkpoint only takes the room of the next
        try:
            last = max(self._whole(), default=None)
            kept = f"the last good checkpoint is the one after step {last}" if last is not None else "there is no good checkpoint yet"
        except OSError as error:
            kept = f"the output folder does not tell which checkpoints are good ({error})"
        what = f"the checkpoint after step {copying.step} could not be copied to the output folder"
        self.say(f"{what}: {copying.why_not}; training goes on, {kept}")

    def _prune(self, newest: int, best: int | None) -> None:
        """Remove older ones. One that cannot be removed takes room, but does no harm to the new one."""
        try:
            # a stage may list what was just written only later; what is newer was passed over, and will be written again
            complete = sorted(step for step in {newest, *self._whole()} if step <= newest)
            keep = {best, *complete[-self.config.checkpoint.keep :]}
            found = [path for path in self.remote.iterdir() if path.name.isdigit() and int(path.name) <= newest]
        except OSError as error:
            self.say(f"older checkpoints cannot be removed: {error}; training goes on")
            return
        for folder in found:  # whole or cut off by a kill
            if int(folder.name) not in keep:
                try:
                    (folder / MARKER).unlink(missing_ok=True)  # first, so that half a folder is never taken for a whole one
                    shutil.rmtree(folder)
                except OSError as error:
                    self.say(f"the checkpoint after step {folder.name} cannot be removed: {error}; training goes on")

    # -- going on

    def begun(self) -> tuple[int, int] | None:
        """The plan of the batches that this run began with; None for a new run. All ranks must call this.

        Another number of ranks, or another GPU, would choose another one, and a step would not mean the same rows any more.
        """
        found = begun_plan(self.remote, self.config.run.id) if dist.get_rank() == 0 else None
        plan: tuple[int, int] | None = _gathered(found)[0]
        return plan

    def resume(self, engine: Any) -> tuple[History, list[str]]:
        """Load the newest usable checkpoint: (its history, or an empty one; why newer ones were passed over). All ranks."""
        refused: list[str] = []
        steps = sorted(self._complete(), reverse=True) if dist.get_rank() == 0 else []
        for step in _gathered(steps)[0]:
            try:
                return self.restore(engine, step), refused
            except BadInputError as error:
                refused.append(str(error))
        return History(), refused

    def restore(self, engine: Any, step: int) -> History:
        """Load the checkpoint after `step` steps into the engine. All ranks must call this.

        Raises BadInputError on all ranks when it is not usable, before anything of the engine is changed.
        """
        self.wait()
        folder = self.local / str(step)
        why_not = self._fetch(self.remote / str(step), folder) if state.leads_node() else ""
        if problem := next((text for text in _gathered(why_not) if text), ""):
            raise BadInputError(f"the checkpoint after step {step} is not used: {problem}")
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        saved = _Layout(marker["worldSize"], marker["zeroStage"], marker["updates"])
        if self.config.method.adapter is not None:
            state.load_adapters(engine, folder, saved.updates)
        else:
            # under stage 0 every rank holds everything, so any number of them reads it
            same_ranks = saved.world == dist.get_world_size() or saved.stage == 0
            same_layout = same_ranks and saved.stage == engine.zero_optimization_stage()
            state.load_all(engine, folder, saved.updates, same_layout=same_layout)
        history = History.read(folder / HISTORY)
        dist.barrier()
        if state.leads_node():
            shutil.rmtree(folder, ignore_errors=True)
        return history

    def _fetch(self, source: Path, folder: Path) -> str:
        """Copy a checkpoint to this node's disk and check it; says what is wrong with it."""
        try:
            marker = json.loads((source / MARKER).read_text(encoding="utf-8"))
            if marker["run"] != self.config.run.id:
                return f"it belongs to run {marker['run']}"
            if marker["version"] != 2:
                return f"it is of another version of snowcat ({marker['version']})"
            files = read_entries(marker)
            shutil.rmtree(folder, ignore_errors=True)
            copy_files(source, folder, files)
            write_json(folder / MARKER, marker)
            found = problems(folder, files, hashes=True)
            return "; ".join(found or [f"{what} is no part of a checkpoint" for what in state.foreign_classes(folder)])
        except FileNotFoundError as error:
            return f"{Path(str(error.filename)).name} is missing"
        except (ValueError, KeyError, OSError) as error:
            return f"it cannot be read ({error})"

    def _complete(self) -> list[int]:
        return _complete(self.remote)

    def _whole(self) -> list[int]:
        """Of the complete ones those that have their files: of an earlier attempt an upload may have failed after it was marked."""
        return [step for step in self._complete() if _has_files(self.remote / str(step))]


def _copied(folder: Path, target: Path) -> tuple[list[FileEntry], str]:
    """Copy one node's part of a checkpoint: (its files; why they did not arrive, or nothing)."""
    files: list[FileEntry] = []
    try:
        files = describe(folder)
        (target / MARKER).unlink(missing_ok=True)
        copy_files(folder, target, files)
        return files, "; ".join(problems(target, files, hashes=False))
    except OSError as error:
        return files, str(error)


def no_room(folder: Path, needed: int) -> BadInputError | None:
    """What to tell where the disk of `folder` has less than the bytes that a checkpoint takes; None where it has room for another one."""
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if free >= needed:
        return None
    return BadInputError(
        f"no room for a checkpoint on the node's own disk: {folder} has {gib(free)} free, and it takes about {gib(needed)}; take an "
        "instance family with more storage, more nodes, or method: lora"
    )


def begun_plan(folder: Path, run: str) -> tuple[int, int] | None:
    """(bins per step, tokens of a bin) of the batches that the run began with whose checkpoints are in `folder`; None where it has none."""
    found = None
    for step in sorted(_complete(folder)):
        try:
            marker = json.loads((folder / str(step) / MARKER).read_text(encoding="utf-8"))
            if marker["run"] == run and marker["plan"]:
                found = int(marker["plan"][0]), int(marker["plan"][1])
        except (ValueError, KeyError, OSError):
            continue  # `Checkpoints.resume` says what is wrong with it
    return found


def _complete(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder that were marked complete."""
    if not folder.is_dir():
        return []
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit() and (path / MARKER).is_file()]


def _has_files(folder: Path) -> bool:
    """Whether a marked checkpoint has the files that it lists, with their sizes. True where the stage does not say."""
    try:
        return not problems(folder, read_entries(json.loads((folder / MARKER).read_text(encoding="utf-8"))), hashes=False)
    except OSError:
        return True
    except (ValueError, KeyError, TypeError):
        return False


def _gathered(value: Any) -> list[Any]:
    """The value of every rank, in their order."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found
