"""Whole runs of a tiny model by ways that differ in data and method: from a file to the merged model, on two ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training_tiny import CITIES, Ranks, tiny_config, write_rows, write_tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("methods") / "base", context=128)


def conversations() -> list[dict[str, Any]]:
    """Chats of two turns without a split; some are longer than the context."""

    def turns(i: int) -> list[dict[str, str]]:
        asked, again = f"call {i}", "x" * (200 if i % 5 == 0 else 5)
        said = [("user", asked), ("assistant", CITIES[i % 3]), ("user", again), ("assistant", CITIES[i % 6])]
        return [{"role": role, "content": content} for role, content in said]

    return [{"messages": turns(i)} for i in range(20)]


def result(ranks: Ranks) -> dict[str, Any]:
    assert ranks.wait() == [0] * len(ranks.processes), ranks.log.read_text(encoding="utf-8")[-3000:]
    return dict(json.loads((ranks.work / "result.json").read_text(encoding="utf-8"))["outcome"])


def test_a_chat_with_four_bits_and_long_rows_on_two_ranks(tmp_path: Path, base: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", conversations())
    parts: dict[str, Any] = {
        "method": {"qlora": {"rank": 4, "dora": False}},
        "prompt": {"template": "chat", "loss": "assistant"},
        "data": {"tooLong": "truncate", "shares": {"train": 0.8, "eval": 0.2}},
        "training": {"maxSteps": 6},
    }
    ranks = Ranks(tmp_path / "work", tiny_config(tmp_path / "out", base, rows, **parts), 2)
    outcome = result(ranks)
    assert outcome["splits"] == {"eval": 4, "train": 16}
    [told] = [line["message"] for line in ranks.progress() if "rows to train on" in line.get("message", "")]
    assert "rows longer than 128 tokens: " in told and " cut" in told
    assert "rows to score (1 left out, their questions are too long" in told
    losses = [line["loss"] for line in ranks.progress() if line.get("loss") is not None]
    assert losses[-1] < losses[0]
    merged = ranks.work / "artefacts" / "merged"
    assert json.loads((merged / "config.json").read_text())["dtype"] == "float32"
    assert "quantization_config" not in json.loads((merged / "config.json").read_text()), "what is served is whole"
