"""Checkpoints: copied beside the training, marked last, pruned; full stages, broken copies, two writers of one folder."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from training.checkpoint import checkpoints as module
from training.checkpoint import state
from training.checkpoint.checkpoints import Checkpoints
from training.checkpoint.owner import Owner
from training.config import Evaluation, Run, TrainingConfig
from training.engine import ZeroChoice
from training.errors import BadInputError
from training.files import FileEntry, Folders, describe, read_entries, sha256
from training.history import EvalRecord, History, StepRecord
from training.loop import StopFlag
from training.tuning import Tuning
from training.watch import Watch


class PlainEngine:
    """What checkpoints need of an engine, without DeepSpeed: one rank, no ZeRO."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.module = torch.nn.Linear(4, 3)
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.1)

    def zero_optimization_stage(self) -> int:
        return 0

    def step(self, history: History) -> None:
        self.optimizer.zero_grad()
        self.module(torch.ones(2, 4)).square().sum().backward()
        self.optimizer.step()
        history.steps.append(StepRecord(history.next_step, 1.0, 0.1, 1.0, 8, 0.1))

    def weights(self) -> list[float]:
        return [float(value) for p in self.module.parameters() for value in p.detach().flatten()]


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """A process group of one rank."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def made(folder: Path, said: list[str] | None = None, attempt: int = 1, **checkpoint: Any) -> Checkpoints:
    config = TrainingConfig.model_validate(
        {
            "run": {"id": "run1", "job": "tiny", "attempt": attempt},
            "base": {"path": "/b"},
            "data": {"path": "/d"},
            "output": {"path": str(folder / "out")},
            "checkpoint": checkpoint,
        }
    )
    store = Checkpoints(
        folder / f"work{attempt}" / "checkpoints", folder / "out" / "checkpoints", config, (said if said is not None else []).append
    )
    store.owner.claim()
    return store


def train(store: Checkpoints, engine: PlainEngine, history: History, steps: int) -> None:
    for _ in range(steps):
        engine.step(history)
        store.save(engine, history)
    store.wait()


def kept(folder: Path) -> list[int]:
    return sorted(int(path.parent.name) for path in (folder / "out" / "checkpoints").glob("*/complete.json"))


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    store, engine, history = made(tmp_path), PlainEngine(), History()
    train(store, engine, history, 3)
    later = PlainEngine()
    found, refused = made(tmp_path, attempt=2).resume(later)
    assert (found.next_step, refused) == (3, [])
    assert later.weights() == engine.weights()
    engine.step(history)
    later.step(found)
    assert later.weights() == engine.weights(), "the optimizer goes on too"
    assert not any((tmp_path / "work1" / "checkpoints").iterdir()), "the node's disk is free again"


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    store, engine, history = made(tmp_path, keep=2), PlainEngine(), History()
    for step, loss in enumerate([3.0, 1.0, 2.0, 2.5, 2.7], 1):
        engine.step(history)
        history.evals.append(EvalRecord(step, {"loss": loss}, 0.1))
        store.save(engine, history)
    store.wait()
    assert kept(tmp_path) == [2, 4, 5]


def test_what_a_kill_has_cut_off_is_cleared_away(tmp_path: Path) -> None:
    store, engine, history = made(tmp_path), PlainEngine(), History()
    half = tmp_path / "out" / "checkpoints" / "1"
    half.mkdir(parents=True)
    (half / "adapters.safetensors").write_bytes(b"half")
    engine.step(history)
    train(store, engine, history, 1)
    assert sorted(path.name for path in half.parent.iterdir()) == ["2"]


def test_one_whose_weights_were_never_uploaded_does_not_count_among_those_to_keep(tmp_path: Path) -> None:
    store, engine, history = made(tmp_path, keep=2), PlainEngine(), History()
    train(store, engine, history, 2)
    (tmp_path / "out" / "checkpoints" / "2" / "adapters.safetensors").unlink()  # marked, but the stage was full
    later = PlainEngine()
    store = made(tmp_path, attempt=2, keep=2)
    history, refused = store.resume(later)
    assert history.next_step == 1 and "adapters.safetensors is missing" in refused[0]
    train(store, later, history, 2)
    assert kept(tmp_path) == [2, 3]
    (tmp_path / "out" / "checkpoints" / "3" / "adapters.safetensors").unlink()
    later.step(history)
    store.save(later, history)
    store.wait()
    assert kept(tmp_path) == [2, 4], "in place of 3 and 4, of which only one could be resumed from"


def test_newer_ones_that_were_passed_over_do_not_cost_the_new_one(tmp_path: Path) -> None:
    """They have their files: only whoever loads them finds what is wrong with them."""
    train(made(tmp_path, keep=3), PlainEngine(), History(), 4)
    for step in (3, 4):
        change(tmp_path / "out" / "checkpoints" / str(step) / "complete.json", version=1)
    store, engine = made(tmp_path, attempt=2, keep=1), PlainEngine()
    history, refused = store.resume(engine)
    assert (history.next_step, len(refused)) == (2, 2)
    train(store, engine, history, 1)
    assert made(tmp_path, attempt=3).resume(PlainEngine())[0].next_step == 3


def test_a_stage_that_does_not_list_does_not_cost_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(folder: Path) -> list[int]:
        raise OSError("the stage does not answer")

    said: list[str] = []
    store, engine, history = made(tmp_path, said), PlainEngine(), History()
    monkeypatch.setattr(module, "_complete", silent)
    train(store, engine, history, 1)
    assert kept(tmp_path) == [1]
    (tmp_path / "out" / "checkpoints" / "2").mkdir()
    (tmp_path / "out" / "checkpoints" / "2" / "adapters.safetensors").symlink_to("/dev/full")
    engine.step(history)
    store.save(engine, history)
    assert "No space left on device" in store.wait()
    assert said[0] == "older checkpoints cannot be removed: the stage does not answer; training goes on"
    assert said[1].endswith("the output folder does not tell which checkpoints are good (the stage does not answer)")
    assert not any((tmp_path / "work1" / "checkpoints").iterdir()), "the copying came to its end"


def test_an_old_one_that_cannot_be_removed_does_not_cost_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = module.shutil.rmtree

    def refused(path: Path, **options: Any) -> None:
        if path == tmp_path / "out" / "checkpoints" / "1":
            raise OSError("the stage does not answer")
        remove(path, **options)

    said: list[str] = []
    store, engine, history = made(tmp_path, said, keep=1), PlainEngine(), History()
    monkeypatch.setattr(module.shutil, "rmtree", refused)
    train(store, engine, history, 2)
    assert kept(tmp_path) == [2] and any("step 1 cannot be removed: the stage does not answer" in line for line in said)
    later = PlainEngine()
    assert made(tmp_path, attempt=2).resume(later)[0].next_step == 2
    assert later.weights() == engine.weights()


def test_a_run_keeps_the_plan_that_it_began_with(tmp_path: Path) -> None:
    store, engine, history = made(tmp_path, keep=2), PlainEngine(), History()
    assert store.begun() is None
    store.plan = (4, 250)
    train(store, engine, history, 2)
    assert made(tmp_path, attempt=2).begun() == (4, 250)
    (tmp_path / "out" / "checkpoints" / "2" / "complete.json").write_text("half")
    assert made(tmp_path, attempt=3).begun() == (4, 250), "any whole one tells"


def test_the_last_weights_stay_when_the_best_are_lost(tmp_path: Path) -> None:
    store, engine, history = made(tmp_path, keep=2), PlainEngine(), History()
    train(store, engine, history, 2)
    (tmp_path / "out" / "checkpoints" / "1" / "complete.json").unlink()
    last, said = engine.weights(), []
    tuning = Tuning(store.config, Folders(*[tmp_path] * 4), ZeroChoice(0, ""), torch.float32, StopFlag(), said.append)
    assert tuning._take_best(store, engine, 1, 2) is None
    assert engine.weights() == last and "complete.json is missing" in str(said[0].message)
    assert tuning._take_best(store, engine, 2, 2) == 2


def test_the_best_is_not_kept_where_that_is_not_wanted(tmp_path: Path) -> None:
    store, engine, history = made(tmp_path, keep=1, keepBest=False), PlainEngine(), History()
    history.evals.append(EvalRecord(1, {"loss": 0.1}, 0.1))
    train(store, engine, history, 3)
    assert kept(tmp_path) == [3]


def test_early_stopping_has_the_best_kept_whatever_is_asked(tmp_path: Path) -> None:
    """Its weights are the result, so the watch that saves them and the removal of older ones must agree."""
    store, engine, history = made(tmp_path, keep=1, keepBest=False), PlainEngine(), History()
    evaluation = Evaluation.model_validate(
        {"everySteps": 1, "earlyStopping": {"patience": 2, "metric": "perplexity"}, "metrics": ["perplexity"]}
    )
    store.config = store.config.model_copy(update={"evaluation": evaluation})
    watch = Watch(evaluation, 9, store.config.keeps_best, lambda: {"loss": 1.0 / history.next_step, "perplexity": 1.0}, lambda record: None)
    engine.step(history)
    assert watch.look(history), "the first is the best, and saved for it"
    store.save(engine, history)
    best = engine.weights()
    for _ in range(2):
        engine.step(history)
        history.evals.append(EvalRecord(history.next_step, {"loss": 0.1, "perplexity": 2.0}, 0.1))
        store.save(engine, history)
    store.wait()
    assert kept(tmp_path) == [1, 3] and watch.kept(history) == 1
    store.restore(engine, 1)
    assert engine.weights() == best


def test_training_goes_on_while_a_checkpoint_is_copied_and_the_next_save_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_copy, copy = threading.Event(), module.copy_files

    def slow(*arguments: Any) -> None:
        may_copy.wait(30)
        copy(*arguments)

    monkeypatch.setattr(module, "copy_files", slow)
    store, engine, history = made(tmp_path), PlainEngine(), History()
    engine.step(history)
    store.save(engine, history)
    saved = engine.weights()
    engine.step(history)
    assert kept(tmp_path) == [], "the step above did not wait for the copy"
    waiting = threading.Thread(target=store.save, args=(engine, history))
    waiting.start()
    assert kept(tmp_path) == []
    may_copy.set()
    waiting.join(30)
    store.wait()
    assert kept(tmp_path) == [1, 2]
    (tmp_path / "out" / "checkpoints" / "2" / "complete.json").unlink()
    later = PlainEngine()
    made(tmp_path, attempt=2).resume(later)
    assert later.weights() == saved, "what is copied is what was there when it was saved"


def test_a_full_disk_of_the_node_is_told_with_what_a_checkpoint_needs(tmp_path: Path) -> None:
    """Not what is written decides, since each library tells it in its own words, but what is left on the disk."""
    store, engine, history = made(tmp_path), PlainEngine(), History()
    engine.step(history)
    assert state.size_here(engine, adapters=True) == 12 * 15
    assert state.size_here(engine, adapters=False) == 16 * 15, "weights too, which all were trained"
    assert module.no_room(store.local, 12 * 15) is None
    told = module.no_room(store.local, 1 << 60)
    assert told is not None and told.exit_code == 10, "not retried"
    assert re.search(rf"{store.local} has [\d.]+ GiB free, and it takes about 1073741824 GiB; take an instance family", str(told))
    store.local.parent.mkdir()
    store.local.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="checkpoints"):
        store.save(engine, history)


def test_a_full_stage_is_told_and_training_goes_on_with_the_last_good_one(tmp_path: Path) -> None:
    said: list[str] = []
    store, engine, history = made(tmp_path, said), PlainEngine(), History()
    train(store, engine, history, 1)
    target = tmp_path / "out" / "checkpoints" / "2"
    target.mkdir()
    (target / "adapters.safetensors").symlink_to("/dev/full")
    engine.step(history)
    store.save(engine, history)
    assert "No space left on device" in store.wait()
    assert said == [
        "the checkpoint after step 2 could not be copied to the output folder: [Errno 28] No space left on device; training goes on, "
        "the last good checkpoint is the one after step 1"
    ]
    assert not target.exists(), "half a checkpoint would only take room"
    train(store, engine, history, 1)
    assert kept(tmp_path) == [1, 3]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "complete.json").unlink(), None),
        (lambda folder: (folder / "complete.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "adapters.safetensors").unlink(), "adapters.safetensors is missing"),
        (lambda folder: (folder / "adapters.safetensors").write_bytes(b"x"), "has 1 bytes instead of"),
        (
            lambda folder: (folder / "history.json").write_text((folder / "history.json").read_text().replace("1.0", "2.0")),
            "another content",
        ),
        (lambda folder: change(folder / "complete.json", run="other"), "it belongs to run other"),
        (lambda folder: change(folder / "complete.json", version=1), "another version of snowcat"),
        (lambda folder: also(folder, "../../../stray.json"), "'../../../stray.json' is no path below the folder"),
        (lambda folder: also(folder, "code.pt"), "is no part of a checkpoint"),
    ],
    ids=[
        "not complete",
        "marker cut off",
        "a file is missing",
        "a file is cut off",
        "a file is changed",
        "of another run",
        "of old",
        "out",
        "code",
    ],
)
def test_what_is_not_whole_is_passed_over_for_an_older_one(tmp_path: Path, spoil: Any, words: str | None) -> None:
    train(made(tmp_path), PlainEngine(), History(), 2)
    spoil(tmp_path / "out" / "checkpoints" / "2")
    found, refused = made(tmp_path, attempt=2).resume(PlainEngine())
    assert found.next_step == 1
    assert len(refused) == (words is not None)
    assert all("the checkpoint after step 2 is not used: " in text and (words or "") in text for text in refused)


class Code:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.made),)


def also(folder: Path, path: str) -> None:
    """Another file that the marker lists with its true size and hash."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    torch.save({"module": Code(folder / "ran")}, folder / path)
    listed = json.loads((folder / "complete.json").read_text())["files"]
    size = (folder / path).stat().st_size
    change(folder / "complete.json", files=[*listed, FileEntry(path, size, sha256(folder / path)).document()])


def test_a_pickle_that_brings_code_along_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"module": Code(tmp_path / "ran")}, tmp_path / "code.pt")
    with state.only_weights(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "code.pt", weights_only=False)
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "code.pt", weights_only=False)
    assert (tmp_path / "ran").exists(), "it would have run"


@pytest.mark.parametrize("path", ["/etc/passwd", "..", "a/../../b", "", ".", "a\\b"])
def test_a_list_of_files_leads_nowhere_else(path: str) -> None:
    with pytest.raises(ValueError, match="is no path below the folder"):
        read_entries({"files": [{"path": path, "bytes": 1, "sha256": "0"}]})


def test_a_stage_that_lists_late_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    store, engine, history = made(tmp_path, said, keep=1), PlainEngine(), History()
    monkeypatch.setattr(store, "_complete", list)
    engine.step(history)
    store.save(engine, history)
    assert store.wait() == "" and said == []
    assert not any((tmp_path / "work1" / "checkpoints").iterdir()), "the copying came to its end"
    assert kept(tmp_path) == [1]


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def stage_like(tmp_path: Path) -> Iterator[list[str]]:
    """What is done in the output folder that a stage volume would refuse."""
    found: list[str] = []
    watching = True
    output = str(tmp_path / "out")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching or event not in ("open", "os.rename", "os.link", "os.symlink", "os.truncate"):
            return
        paths = [os.fsdecode(a) for a in arguments[:2] if isinstance(a, str | bytes)]
        if not any(path.startswith(output) for path in paths):
            return
        if event != "open":
            found.append(f"{event} {paths}")
        elif isinstance(arguments[1], str) and ("a" in arguments[1] or "+" in arguments[1]):
            found.append(f"open {paths[0]} {arguments[1]}")

    sys.addaudithook(hook)
    yield found
    watching = False


def test_nothing_is_renamed_appended_or_written_in_the_middle(tmp_path: Path, stage_like: list[str]) -> None:
    store, engine, history = made(tmp_path, keep=1), PlainEngine(), History()
    train(store, engine, history, 3)
    store.restore(engine, 3)
    store.owner.release()
    assert stage_like == []


def test_an_attempt_whose_folder_was_taken_over_ends(tmp_path: Path) -> None:
    first, engine, history = made(tmp_path), PlainEngine(), History()
    train(first, engine, history, 1)
    made(tmp_path, attempt=2)
    engine.step(history)
    with pytest.raises(BadInputError, match=r"attempt 2 .* has taken over .*; attempt 1 ends here"):
        first.save(engine, history)
    assert kept(tmp_path) == [1], "and it has written nothing more"


def test_no_node_of_such_an_attempt_touches_the_files_of_its_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rank alone looks who has the folder; here it is on another node."""
    store, engine, history = made(tmp_path), PlainEngine(), History()
    train(store, engine, history, 1)
    before = describe(tmp_path / "out" / "checkpoints")
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(module, "_gathered", lambda value: ["attempt 2 has taken over", value])
    with pytest.raises(BadInputError, match="attempt 2 has taken over"):
        store.save(engine, history)
    assert describe(tmp_path / "out" / "checkpoints") == before


RUN = Run(id="run1", job="tiny", attempt=2)


@pytest.mark.parametrize(
    ("before", "ended", "words", "reason"),
    [
        (None, False, None, "an empty folder"),
        (Run(id="run1", job="tiny", attempt=1), False, None, "the attempt before was killed"),
        (Run(id="run1", job="tiny", attempt=2), True, None, "the same attempt was stopped and begins again"),
        (Run(id="run1", job="tiny", attempt=2), False, "two cannot write one folder", "the same attempt twice"),
        (Run(id="run1", job="tiny", attempt=3), True, "two cannot write one folder", "a late start of an earlier attempt"),
        (Run(id="run2", job="tiny", attempt=1), True, "output folder of its own", "another run"),
        (Run(id="run1", job="other", attempt=1), True, "output folder of its own", "another job"),
    ],
)
def test_who_may_write_a_folder(tmp_path: Path, before: Run | None, ended: bool, words: str | None, reason: str) -> None:
    if before is not None:
        earlier = Owner.of(tmp_path / "scratch1", tmp_path / "out", before)
        earlier.claim()
        if ended:
            earlier.release()
    mine = Owner.of(tmp_path / "scratch2", tmp_path / "out", RUN)
    if words is None:
        mine.claim()
        assert mine.lost() == "", reason
    else:
        with pytest.raises(BadInputError, match=words):
            mine.claim()
        assert mine.lost(), reason
