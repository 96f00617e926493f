"""DeepSpeed's configuration, and what is known before it starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from training import engine, rank
from training.config import Lora, Method, TrainingConfig
from training.engine import choose_stage, deepspeed_config
from training.errors import BadInputError, is_out_of_memory
from training.model.folder import check_folder, stored_dtype
from training.model.loading import load_model, prepare
from training.rank import write_outcome


def config(**parts: Any) -> TrainingConfig:
    minimal = {"run": {"id": "r", "job": "j"}, "base": {"path": "/b"}, "data": {"path": "/d"}, "output": {"path": "/o"}}
    return TrainingConfig.model_validate({**minimal, **parts})


@pytest.mark.parametrize(
    ("zero", "stage", "reason"),
    [("auto", 1, "LoRA on a CPU spreads only the optimizer"), (0, 0, "as asked"), (3, 3, "as asked")],
)
def test_the_stage(zero: Any, stage: int, reason: str) -> None:
    choice = choose_stage(config(deepspeed={"zero": zero}))
    assert choice.stage == stage, reason
    assert choice.reason


def test_offload_without_a_gpu_is_refused() -> None:
    with pytest.raises(BadInputError, match="offload: none"):
        choose_stage(config(deepspeed={"zero": "auto", "offload": "optimizer"}))


@pytest.mark.parametrize(("offload", "stage"), [("none", 0), ("optimizer", 2)])
def test_one_rank_alone_takes_a_stage_of_zero_where_something_is_offloaded(
    monkeypatch: pytest.MonkeyPatch, offload: Any, stage: int
) -> None:
    """Without ZeRO DeepSpeed leaves everything on the GPU, and does not say so."""
    monkeypatch.setattr(engine.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(engine.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(engine.dist, "get_world_size", lambda: 1)
    assert choose_stage(config(method={"full": True}, deepspeed={"offload": offload})).way == (stage, offload)


@pytest.mark.parametrize(("dtype", "enabled"), [("bfloat16", True), ("float32", False)])
def test_deepspeed_keeps_master_weights_only_for_bfloat16(dtype: str, enabled: bool) -> None:
    document = deepspeed_config(config(training={"dtype": dtype, "clip": 0.5}), stage=2, accumulation=3)
    assert document["bf16"] == {"enabled": enabled}
    assert document["zero_optimization"] == {"stage": 2}
    assert document["gradient_accumulation_steps"] == 3
    assert document["gradient_clipping"] == 0.5


@pytest.mark.parametrize(
    ("stage", "dtype", "clip"), [(0, "float32", 0.0), (0, "bfloat16", 0.5), (1, "float32", 0.5)], ids=["we clip", "masters", "ZeRO"]
)
def test_who_clips(stage: int, dtype: str, clip: float) -> None:
    assert deepspeed_config(config(training={"dtype": dtype, "clip": 0.5}), stage, 1)["gradient_clipping"] == clip


@pytest.mark.parametrize(
    ("offload", "moved"),
    [("none", set()), ("optimizer", {"offload_optimizer"}), ("parameters", {"offload_optimizer", "offload_param"})],
)
def test_what_deepspeed_keeps_in_host_memory(offload: Any, moved: set[str]) -> None:
    zero = deepspeed_config(config(), 3, 1, offload)["zero_optimization"]
    assert zero.keys() - {"stage"} == moved
    assert all(zero[name]["device"] == "cpu" for name in moved)


def test_targets_that_the_model_lacks_are_named(tiny_base: Path) -> None:
    with pytest.raises(BadInputError, match="targets: the model has no module 'qkv_proj'"):
        prepare(load_model(tiny_base, torch.float32), Method(lora=Lora(targets=["qkv_proj"])))


def test_only_the_named_targets_are_trained(tiny_base: Path) -> None:
    model = prepare(load_model(tiny_base, torch.float32), Method(lora=Lora(targets=["q_proj", "v_proj"])))
    trained = {name.split(".lora_")[0].split(".")[-1] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("names", "words"),
    [([], "config.json is missing"), (["config.json"], "no weights"), (["config.json", "model.bin"], "pickles are refused")],
)
def test_a_folder_that_is_no_model(tmp_path: Path, names: list[str], words: str) -> None:
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(BadInputError, match=words):
        check_folder(tmp_path)


def test_stored_dtype(tiny_base: Path) -> None:
    assert stored_dtype(tiny_base) == torch.float32


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_first_reason_stays(tmp_path: Path) -> None:
    write_outcome(tmp_path, 10, "first")
    write_outcome(tmp_path, 12, "second")
    assert "first" in (tmp_path / "outcome.json").read_text()


def test_a_crash_is_told_before_the_other_ranks_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(arguments: list[str]) -> int:
        raise KeyError("weights")

    monkeypatch.setattr(rank, "die_with_parent", lambda: None)
    monkeypatch.setattr(rank, "main", crash)
    monkeypatch.setattr(rank.os, "_exit", sys.exit)
    with pytest.raises(SystemExit, match="1"):
        rank.run(["config", "rows", "base", str(tmp_path), "output"])
    write_outcome(tmp_path, 12, "stopped")
    found = json.loads((tmp_path / "outcome.json").read_text())
    assert found == {"exitCode": 1, "message": "KeyError: 'weights'; the trace stands above in this log"}
