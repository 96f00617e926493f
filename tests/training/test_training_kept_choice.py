"""The stage that a run's first attempt chose, and what a probe's figures do to a choice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from training import hardware
from training.checkpoint.kept_choice import FILE, as_begun, begun_with
from training.config import TrainingConfig
from training.engine import ZeroChoice, choose_stage
from training.errors import OutOfMemoryError
from training.model.blocks import layers_to_checkpoint
from training.planner import Calibration, Machine, Point, Rows

FIRST, LATER = ZeroChoice(3, "it fits then", 2048, "optimizer"), ZeroChoice(3, "a probe says that it does not", 512)
ROWS = Rows(1000, 520, 1500)
LLAMA_7B = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "intermediate_size": 11008, "vocab_size": 32000, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """A process group of one rank."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder on a node with four A10G."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(hardware, "name", lambda: "NVIDIA A10G")
    monkeypatch.setattr(hardware, "machine", lambda: Machine.with_gpus("M", "A10G", 24, 4, 178, 44))
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_7B))
    return tmp_path


def config(**parts: Any) -> TrainingConfig:
    minimal = {"run": {"id": "r", "job": "j"}, "base": {"path": "/b"}, "data": {"path": "/d"}, "output": {"path": "/o"}}
    return TrainingConfig.model_validate({**minimal, "training": {"dtype": "bfloat16"}, **parts})


def measured(device: str, context: float) -> str:
    points = (Point(1024, 2e10, 1.0), Point(4096, 3e10, 4.0))
    return json.dumps(Calibration(device, "lora", 2e10, 1e6, 1000.0, context, 1.0, 0.4, points).document())


def test_a_later_attempt_keeps_what_the_first_one_chose(tmp_path: Path) -> None:
    assert begun_with(FIRST, tmp_path, "r", print) == FIRST
    assert begun_with(LATER, tmp_path, "r", print) == FIRST


@pytest.mark.parametrize("change", [{"run": "other"}, {"ranks": 8}, {"device": "H100"}, {"version": 1}, {"choice": {}}])
def test_another_run_and_other_gpus_choose_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    begun_with(FIRST, tmp_path, "r", print)
    path = tmp_path / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert begun_with(LATER, tmp_path, "r", print) == LATER


def test_a_file_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    begun_with(FIRST, tmp_path, "r", print)
    path = tmp_path / FILE
    path.write_text(path.read_text()[:-9])
    assert begun_with(LATER, tmp_path, "r", print) == LATER


def test_a_stage_that_is_full_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / FILE).mkdir()
    assert begun_with(FIRST, tmp_path, "r", said.append) == FIRST
    assert len(said) == 1 and "not kept" in said[0]


@pytest.mark.parametrize(
    ("told", "stage", "reason"),
    [
        ("", 1, "by the formulas it fits whole"),
        (measured("NVIDIA A10G", 7e9), 3, "7 GB beside the model leave too little room for it"),
        (measured("NVIDIA H100", 7e9), 1, "measured on other hardware"),
        ("{}", 1, "not a probe's result"),
    ],
)
def test_the_job_plans_with_what_was_measured(base: Path, monkeypatch: pytest.MonkeyPatch, told: str, stage: int, reason: str) -> None:
    monkeypatch.setenv(hardware.CALIBRATION, told)
    assert choose_stage(config(), base, ROWS).stage == stage, reason


@pytest.mark.parametrize(
    ("deepspeed", "stage", "offload", "reason"),
    [
        ({}, 3, "optimizer", "as the plan says of this node: nothing else fits"),
        ({"offload": "none"}, 3, "none", "pinned; what comes nearest"),
        ({"zero": 2}, 2, "optimizer", "the stage is pinned, the rest is not"),
        ({"zero": 3, "offload": "parameters"}, 3, "parameters", "pinned"),
    ],
)
def test_the_job_moves_into_host_memory_what_the_plan_does(
    base: Path, deepspeed: dict[str, Any], stage: int, offload: str, reason: str
) -> None:
    found = choose_stage(config(method="full", deepspeed=deepspeed), base, ROWS)
    assert (found.stage, found.offload) == (stage, offload), reason
    assert ("would need" in found.reason) is ("offload" not in deepspeed)
    assert ("in host memory" in str(found)) is (offload != "none")


def test_all_ranks_plan_for_the_smallest_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 << 30, 24 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A10G")
    here = hardware.machine()
    monkeypatch.setattr(hardware, "least", lambda here: here / 2)  # another node has half of everything
    found = hardware.machine()
    assert (found.host_memory, found.cores, found.gpu_memory) == (here.host_memory / 2, here.cores / 2, here.gpu_memory / 2)


def test_more_layers_are_checkpointed_where_less_room_was_measured(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = layers_to_checkpoint(base, config(), (1, "none"), ROWS, 2048)
    monkeypatch.setenv(hardware.CALIBRATION, measured("NVIDIA A10G", 1.5e9))
    assert layers_to_checkpoint(base, config(), (1, "none"), ROWS, 2048) > without


@pytest.mark.parametrize(
    ("begun", "kept_on", "config_parts", "wanted", "reason"),
    [
        (None, "H100", {}, None, "no step was taken: planned anew"),
        (2048, "H100", {}, 2048, "it fits here too"),
        (65536, "H100", {}, "for these ZeRO 3 comes nearest, and still needs", "the micro-batches of 80 GB in 24 GB"),
        (65536, "NVIDIA A10G", {}, None, "it began on this very GPU, so it fits"),
        (65536, "H100", {"training": {"dtype": "bfloat16", "microBatchTokens": 4096}}, None, "the manifest says how large they are"),
    ],
)
def test_another_gpu_goes_on_with_micro_batches_that_fit(
    base: Path, tmp_path: Path, begun: int | None, kept_on: str, config_parts: dict[str, Any], wanted: int | str | None, reason: str
) -> None:
    output = tmp_path / "out"
    begun_with(FIRST, output, "r", print)
    path = output / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"device": kept_on}))
    if begun is not None:
        step = output / "checkpoints" / "4"
        step.mkdir(parents=True)
        (step / "complete.json").write_text(json.dumps({"run": "r", "plan": [8, begun]}))
    given = config(**config_parts)
    if isinstance(wanted, str):
        with pytest.raises(OutOfMemoryError) as error:
            as_begun(given, base, output, ROWS)
        for words in (f"micro-batches of {begun} tokens", wanted, "GPUs like those", "training.microBatchTokens: ", "a new run"):
            assert words in str(error.value), reason
    else:
        found = as_begun(given, base, output, ROWS).training.micro_batch_tokens
        assert found == (wanted or given.training.micro_batch_tokens), reason
