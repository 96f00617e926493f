"""A probe on this machine with a tiny model, as the container starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_tiny import REPOSITORY, write_tiny_model

import container.probe
from container.memory import Group
from training.config import Base, Data, DeepSpeed, Lora, Method, Output, Run, Training, TrainingConfig
from training.errors import BadInputError, OutOfMemoryError, TrainingError
from training.model.loading import load_model
from training.planner import Calibration, Machine, Setting, Shape, Task, Verdict, choose
from training.planner.machine import HOST_MEMORY
from training.planner.memory import on_rank
from training.planner.needs import verdict_of
from training.probe import Probe, calibrate, first_layers, held_by_one, machine

LLAMA_7B = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "intermediate_size": 11008, "vocab_size": 32000, "tie_word_embeddings": False,
}  # fmt: skip


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


@pytest.mark.parametrize(
    ("method", "tokens", "layers", "reason"),
    [
        (Method(lora=Lora()), 512, 32, "all are held"),
        (Method(lora=Lora()), 4096, range(8, 24), "without checkpoints not all activations are"),
        (Method(full=True), 1024, range(1, 6), "134 GB of weights and optimizer would be spread"),
    ],
)
def test_as_many_layers_are_measured_as_one_rank_holds(
    tmp_path: Path, method: Method, tokens: int, layers: int | range, reason: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_7B))
    node = Machine.with_gpus("M", "A10G", 24, 1, 178, 44)
    found = held_by_one(Probe(tmp_path, method, Training(dtype="bfloat16", attention="sdpa")), tokens, node)
    assert found.layers in ((layers,) if isinstance(layers, int) else layers), reason
    assert found.setting(tokens).shape.layers == found.layers
    assert verdict_of(found.setting(tokens), node) is Verdict.FITS
    if found.layers < 32:
        assert verdict_of(replace(found, layers=found.layers + 1).setting(tokens), node) is not Verdict.FITS


@pytest.mark.parametrize(("method", "stage"), [(Method(lora=Lora()), 1), (Method(full=True), 0)])
def test_the_stage_that_is_measured_is_that_of_one_rank(tmp_path: Path, method: Method, stage: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_7B))
    task = Task(Shape.of(LLAMA_7B), method, DeepSpeed(), Training())
    assert choose(task, Machine.with_gpus("M", "H200", 1000, 1, 2000, 44)).zero == stage
    assert Probe(tmp_path, method, Training()).setting(128).zero == stage


def test_the_first_layers_of_a_model_are_a_model(tiny_base: Path, tmp_path: Path) -> None:
    whole = load_model(tiny_base, torch.float32)
    first = load_model(first_layers(tiny_base, 1, tmp_path), torch.float32)
    assert (len(whole.model.layers), len(first.model.layers)) == (2, 1)
    assert torch.equal(first.model.layers[0].mlp.up_proj.weight, whole.model.layers[0].mlp.up_proj.weight)


def test_the_container_measures_within_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str | None] = []

    def run(command: list[str], env: dict[str, str], **_: Any) -> Any:
        told.append(env.get(HOST_MEMORY))
        return subprocess.CompletedProcess(command, 10)

    monkeypatch.delenv(HOST_MEMORY, raising=False)
    monkeypatch.setattr(container.probe.subprocess, "run", run)
    monkeypatch.setattr(Group, "limit", lambda group: 1 << 30)
    config = TrainingConfig(
        run=Run(id="probe", job="wishes"),
        base=Base(path=str(write_tiny_model(tmp_path / "base"))),
        data=Data(table="D.S.T"),
        output=Output(path=str(tmp_path)),
    )
    with pytest.raises(BadInputError):
        container.probe.probe(config, "abc.json")
    assert told == [str(1 << 30)]
