"""Scores of the base model that an earlier attempt has kept: when they are read, and when not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.config import TrainingConfig
from training.model.folder import BaseIdentity
from training.scoring.base_scores import FILE, BaseScores
from training.scoring.evaluate import Scores
from training.scoring.metrics import Prediction

SCORES = Scores({"exact_match": 1 / 3, "loss": 0.1}, (Prediction("r1", "where?", "Oslo", "Ås", {"exact_match": 1 / 3}),))


def kept(folder: Path, *, evaluation: dict[str, Any] | None = None, **parts: Any) -> BaseScores:
    config = TrainingConfig.model_validate(
        {
            "run": {"id": "r", "job": "j"},
            "base": {"path": "/b"},
            "data": {"path": "/d"},
            "output": {"path": str(folder)},
            "evaluation": evaluation or {},
        }
    )
    values = {"base": BaseIdentity("tiny", "0" * 64), "fingerprint": "f", "dtype": torch.float32, "four_bit": False, **parts}
    return BaseScores.of(folder, config, **values)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    kept(tmp_path).write(SCORES, 12.5)
    assert kept(tmp_path).read() == (SCORES, 12.5)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"fingerprint": "g"}, "other rows"),
        ({"base": BaseIdentity("tiny", "1" * 64)}, "another base model"),
        ({"base": BaseIdentity("", "")}, "a base model that nobody knows"),
        ({"evaluation": {"maxNewTokens": 3}}, "shorter answers"),
        ({"dtype": torch.bfloat16}, "other numbers"),
        ({"four_bit": True}, "rounded weights"),
    ],
)
def test_scores_of_something_else_are_not_read(tmp_path: Path, other: dict[str, Any], reason: str) -> None:
    kept(tmp_path).write(SCORES, 12.5)
    assert kept(tmp_path, **other).read() is None, reason


@pytest.mark.parametrize("spoil", [lambda text: text[:-9], lambda text: "", lambda text: "[]", lambda text: '{"version": 1}'])
def test_a_file_that_is_not_whole_does_not_count(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    kept(tmp_path).write(SCORES, 12.5)
    path = tmp_path / FILE
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert kept(tmp_path).read() is None


def test_a_model_without_identity_leaves_nothing(tmp_path: Path) -> None:
    kept(tmp_path, base=BaseIdentity("", "")).write(SCORES, 1.0)
    assert not (tmp_path / FILE).exists()
