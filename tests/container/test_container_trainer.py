"""The trainer as a job runs it: torchrun below it, exit codes above it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from training_tiny import REPOSITORY, tiny_config, tiny_rows, write_rows

from container import launch, memory
from container.nodes import Nodes
from container.trainer import _finished
from training.errors import TrainingError
from training.files import describe, write_json
from training.rank import write_outcome


def start(config: dict[str, Any], log: Path, **more: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "SNOWCAT_CONFIG": json.dumps(config),
        "SNOWCAT_PROCESSES": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "TMPDIR": str(log.parent),
        **more,
    }
    with log.open("w") as stream:
        return subprocess.Popen([sys.executable, "-m", "container.trainer"], env=environment, stdout=stream, stderr=subprocess.STDOUT)


def failure(log: Path) -> str:
    last = [line for line in log.read_text().splitlines() if line.startswith("SNOWCAT_PROGRESS ")][-1]
    document = json.loads(last.removeprefix("SNOWCAT_PROGRESS "))
    assert document["phase"] == "failed"
    return str(document["message"])


def test_two_ranks_train_and_a_finished_run_is_left_alone(tmp_path: Path, tiny_base: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", tiny_rows())
    config = tiny_config(tmp_path / "out", tiny_base, rows, training={"maxSteps": 3})
    log = tmp_path / "log"
    assert start(config, log, SNOWCAT_PROCESSES="2").wait(timeout=240) == 0, log.read_text()
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["config"]["output"]["path"] == str(tmp_path / "out")
    assert run["steps"] == 3
    assert not list(tmp_path.glob("snowcat-train-*")), "nothing stays in the scratch folder"

    written = (tmp_path / "out" / "run.json").stat().st_mtime_ns
    assert start(config, log).wait(timeout=60) == 0
    assert "already finished" in log.read_text()
    assert (tmp_path / "out" / "run.json").stat().st_mtime_ns == written


def test_a_run_without_its_files_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "weights").write_bytes(b"1234")
    write_json(tmp_path / "run.json", {"run": "r", "files": [entry.document() for entry in describe(tmp_path)]})
    assert _finished(tmp_path, "r") and not _finished(tmp_path, "other")
    (tmp_path / "merged" / "weights").write_bytes(b"12")
    assert not _finished(tmp_path, "r"), "the next attempt writes it again"
    (tmp_path / "merged" / "weights").unlink()
    assert not _finished(tmp_path, "r")


STOPPED, CRASHED, BAD = (12, "stopped while the base model was scored"), (1, "RuntimeError: connection closed"), (10, "the loss is nan")


@dataclass
class Ended:
    """A control group, of which so many processes are ended while the ranks run."""

    ends: int
    asked: int = 0

    def kills(self) -> int:
        self.asked += 1
        return self.ends if self.asked > 1 else 0

    def limit(self) -> int:
        return 1 << 30


@pytest.mark.parametrize(
    ("told", "kills", "stopping", "nodes", "code", "words", "reason"),
    [
        (None, 0, False, 1, 1, "the training processes of node 0 ended with 1", "nobody knows why"),
        (None, 1, False, 1, 11, "out of host memory", "the kernel has ended a rank"),
        (None, 0, True, 1, 12, "before there was anything to save", "stopped while the ranks start"),
        (BAD, 1, False, 1, 10, "the loss is nan", "a rank that knows why it fails"),
        (CRASHED, 0, False, 1, 1, "connection closed", "a rank that has crashed"),
        (CRASHED, 1, False, 1, 11, "out of host memory", "the neighbour of one that the kernel has ended"),
        (CRASHED, 0, True, 1, 12, "before there was anything to save", "the neighbour of one that was stopped"),
        (STOPPED, 0, True, 1, 12, "stopped while", "the job was stopped"),
        (STOPPED, 1, True, 1, 12, "stopped while", "the job was stopped, whatever else has happened"),
        (STOPPED, 1, False, 1, 11, "out of host memory", "torchrun has stopped the neighbours of one that the kernel has ended"),
        (STOPPED, 0, False, 1, 1, "the training processes of node 0 ended with 1", "or of one that has crashed without a word"),
        (STOPPED, 0, False, 2, 12, "stopped while", "another node was stopped, and all ranks have agreed"),
    ],
)
def test_whose_word_counts_when_ranks_fail(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: tuple[int, str] | None,
    kills: int,
    stopping: bool,
    nodes: int,
    code: int,
    words: str,
    reason: str,
) -> None:
    group = Ended(kills)
    monkeypatch.setattr(memory.Group, "own", lambda: group)
    monkeypatch.setattr(launch, "command", lambda *_: ["false"])
    if told is not None:
        write_outcome(tmp_path, *told)
    with pytest.raises(TrainingError, match=words) as caught:
        launch.Ranks(stopping=stopping).run(Nodes(0, ("127.0.0.1",) * nodes), 2, [], tmp_path)
    assert caught.value.exit_code == code, reason


def test_sigterm_reaches_the_ranks_and_comes_back_as_12(tmp_path: Path, tiny_base: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", tiny_rows())
    config = tiny_config(tmp_path / "out", tiny_base, rows, training={"maxSteps": 100_000})
    config["checkpoint"] = {"everyMinutes": 1e-6}
    log = tmp_path / "log"
    process = start(config, log)
    try:
        for _ in range(6000):
            if list((tmp_path / "out").glob("checkpoints/*/complete.json")):
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 12, log.read_text()
    finally:
        process.kill()
    assert "the state is saved" in failure(log)


@pytest.mark.parametrize(
    ("change", "environment", "words"),
    [
        ({"training": {"learningRte": 1}}, {}, "training.learningRte: Extra inputs"),
        ({"base": {"path": "/nowhere/at/all"}}, {}, "no finished model in /nowhere/at/all"),
        ({"data": {"path": "/nowhere.jsonl"}}, {}, "there is no file /nowhere.jsonl"),
        ({"data": {"table": "A.B.C"}}, {}, "not inside a service of an account"),
        ({}, {"SNOWCAT_PROCESSES": "many"}, "SNOWCAT_PROCESSES must be"),
        ({}, {"SNOWFLAKE_JOBS_COUNT": "3", "SNOWFLAKE_JOB_INDEX": "3"}, "below SNOWFLAKE_JOBS_COUNT"),
    ],
)
def test_what_will_not_get_better_ends_with_10(
    tmp_path: Path, tiny_base: Path, change: dict[str, Any], environment: dict[str, str], words: str
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", tiny_rows())
    config = {**tiny_config(tmp_path / "out", tiny_base, rows), **change}
    log = tmp_path / "log"
    assert start(config, log, **environment).wait(timeout=60) == 10, log.read_text()
    assert words in failure(log)
    assert "Traceback" not in log.read_text()
