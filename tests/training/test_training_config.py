"""What the document of a fine-tune accepts, refuses and fills in."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from training.config import TrainingConfig

MINIMAL: dict[str, Any] = {
    "run": {"id": "r", "job": "j"},
    "base": {"path": "/b"},
    "data": {"table": "D.S.T"},
    "output": {"path": "/o"},
}


@pytest.mark.parametrize(
    ("change", "words", "reason"),
    [
        ({"trainig": {}}, "trainig", "an unknown section would train with defaults"),
        ({"training": {"learningRte": 1}}, "learningRte", "so would a misspelt field"),
        ({"training": {"epochs": 1, "maxSteps": 3}}, "not both", "two lengths contradict each other"),
        ({"training": {"learningRate": 0}}, "greater than 0", "a rate of nothing learns nothing"),
        ({"method": {"full": True, "lora": {}}}, "exactly one", "a run has one method"),
        ({"method": {"lora": {"rank": 0}}}, "greater than 0", "an adapter has a width"),
        ({"data": {"table": "T", "path": "/x"}}, "exactly one", "rows come from one place"),
        ({"data": {}}, "exactly one", "rows come from somewhere"),
        ({"base": {"path": "/b", "revision": "main"}}, "huggingFace", "a folder has no revision"),
        ({"prompt": {"template": "instructions"}}, "instruction", "a misspelt template is no inline template"),
        ({"deepspeed": {"zero": 4}}, "zero", "there are stages 0 to 3"),
        ({"deepspeed": {"zero": 1, "offload": "parameters"}}, "zero: 3", "only stage 3 can put weights away"),
        ({"evaluation": {"metrics": ["bleu"]}}, "valid_json", "unknown metrics are named with the known ones"),
        ({"version": 2}, "version", "a later document may mean something else"),
    ],
)
def test_refused(change: dict[str, Any], words: str, reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainingConfig.model_validate({**MINIMAL, **change})
    assert words in str(caught.value), reason


@pytest.mark.parametrize(
    "change",
    [
        {"method": "full"},
        {"method": "lora"},
        {"method": {"lora": {"rank": 8, "targets": ["q_proj", "v_proj"]}}},
        {"deepspeed": {"zero": "auto", "offload": "optimizer"}},
        {"prompt": {"template": "Say {{ input }}", "instruction": "Be kind."}},
        {"training": {"tokensPerStep": 4096, "warmup": 0.03}},
    ],
)
def test_a_document_survives_the_way_to_the_job(change: dict[str, Any]) -> None:
    config = TrainingConfig.model_validate({**MINIMAL, **change})
    assert TrainingConfig.model_validate(config.document()) == config


def test_it_is_free_of_torch() -> None:
    code = "import sys, training.config; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
