"""A probe on this machine with a tiny model, as the container starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from training_tiny import REPOSITORY, write_tiny_model

import container.probe
from training.config import Base, Data, Lora, Method, Output, Run, Training, TrainingConfig
from training.errors import BadInputError, OutOfMemoryError, TrainingError
from training.planner import Calibration, Setting, Shape
from training.planner.memory import on_rank
from training.probe import Probe, calibrate, machine


@pytest.mark.parametrize(("code", "error"), [(10, BadInputError), (11, OutOfMemoryError), (1, TrainingError)])
def test_the_container_ends_as_the_measuring_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    base = write_tiny_model(tmp_path / "base")
    config = TrainingConfig(
        run=Run(id="probe", job="wishes"), base=Base(path=str(base)), data=Data(table="D.S.T"), output=Output(path=str(tmp_path / "out"))
    )
    monkeypatch.setattr(container.probe.subprocess, "run", lambda command, **options: subprocess.CompletedProcess(command, code))
    with pytest.raises(TrainingError) as raised:
        container.probe.probe(config, "abc.json")
    assert type(raised.value) is error, "what a repetition cannot mend is not repeated"


def test_the_container_measures_and_writes_a_calibration(tmp_path: Path) -> None:
    base, output = write_tiny_model(tmp_path / "base"), tmp_path / "stage" / "probes"
    config = TrainingConfig(
        run=Run(id="probe", job="wishes"), base=Base(path=str(base)), data=Data(table="D.S.T"), output=Output(path=str(output))
    )
    environment = {**os.environ, "SNOWCAT_CONFIG": json.dumps(config.document()), "SNOWCAT_PROBE": "abc.json", "OMP_NUM_THREADS": "1"}
    environment.pop("SNOWCAT_ROOT", None)
    command = [sys.executable, "-m", "container.probe"]
    ended = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = [
        json.loads(line.removeprefix("SNOWCAT_PROGRESS ")) for line in ended.stdout.splitlines() if line.startswith("SNOWCAT_PROGRESS ")
    ]
    assert told and all(line["elapsedSeconds"] >= 0 for line in told)
    found = Calibration.parse((output / "abc.json").read_text())
    assert found is not None
    short, long = found.points
    assert short.tokens < long.tokens
    assert 50e6 < short.peak <= long.peak and found.tokens_per_second > 0
    assert found.reached > 0
    shape = Shape.of(json.loads((base / "config.json").read_text()))
    setting = Setting(shape, "lora", shape.adapters(16), 1, "none", long.tokens, 0, long.tokens, width=4, scores=True)
    predicted = on_rank(setting, machine(), found.correction).needed
    assert abs(predicted / long.peak - 1) < 0.1, "the planner says again what was measured"


def test_a_probe_of_nothing_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"config\.json is missing"):
        calibrate(Probe(tmp_path, Method(lora=Lora()), Training()), (8, 16))
