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
        ({"method": {"lora": {"alpha": 10**400}}}, "less than or equal to 1000000", "a scale is a number that torch can hold"),
        ({"training": {"warmup": float("inf")}}, "finite", "a warm-up ends"),
        ({"training": {"seed": 1 << 40}}, "less than 4294967296", "a seed leaves room for step and rank"),
        ({"data": {"table": "T", "path": "/x"}}, "exactly one", "rows come from one place"),
        ({"data": {}}, "exactly one", "rows come from somewhere"),
        ({"base": {"path": "/b", "revision": "main"}}, "huggingFace", "a folder has no revision"),
        ({"prompt": {"template": "instructions"}}, "instruction", "a misspelt template is no inline template"),
        ({"deepspeed": {"zero": 4}}, "zero", "there are stages 0 to 3"),
        ({"deepspeed": {"zero": 1, "offload": "parameters"}}, "zero: 3", "only stage 3 can put weights away"),
        ({"evaluation": {"metrics": ["bleu"]}}, "valid_json", "unknown metrics are named with the known ones"),
        ({"version": 2}, "version", "a later document may mean something else"),
        ({"method": {"lora": {}, "qlora": {}}}, "exactly one", "a base is kept in one form"),
        ({"method": {"lora": {"targets": []}}}, "at least 1", "adapters on nothing learn nothing"),
        ({"data": {"table": "T", "shares": {"train": 0.5}}}, "add up to 1; they are 0.6", "shares are parts of a whole"),
        ({"data": {"table": "T", "shares": {"train": 1.0, "eval": 0.0}}}, "greater than 0", "something must be left to score on"),
        ({"data": {"table": "T", "tooLong": "keep"}}, "truncate", "long rows are not just kept"),
        ({"prompt": {"loss": "assistant"}}, "template: chat", "one answer has no earlier turns"),
        ({"prompt": {"template": "text", "instruction": "x"}}, "leave out instruction", "text is learned as it is"),
        ({"prompt": {"template": "text"}}, "[perplexity]", "text has no answers to compare"),
        ({"training": {"checkpointLayers": 0}}, "checkpointLayers", "none is a word"),
        ({"evaluation": {"earlyStopping": {}}}, "everySteps", "who stops early must look"),
        ({"evaluation": {"everySteps": 1, "earlyStopping": {"metric": "mine"}}}, "is none of loss, valid_json", "no such score"),
        ({"evaluation": {"sql": [{"name": "a", "query": "SELECT 1"}]}}, "does not read {{predictions}}", "a score of nothing"),
        ({"evaluation": {"sql": [{"name": "rouge l", "query": "{{predictions}}"}]}}, "name", "a name that no gate could say"),
        ({"evaluation": {"sql": [{"name": "loss", "query": "{{predictions}}"}]}}, "loss is no name", "taken"),
        ({"predictions": {"table": "T; DROP TABLE X"}}, "predictions.table", "no name of a table"),
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
        {"method": "qlora"},
        {"method": {"qlora": {"rank": 8, "dora": True}}},
        {"prompt": {"template": "text"}, "evaluation": {"metrics": ["perplexity"]}},
        {"data": {"query": "SELECT 1", "tooLong": "split", "shares": {"train": 0.5, "eval": 0.5, "stratifyBy": "x"}}},
        {"training": {"packing": False, "checkpointLayers": 3, "compile": True, "attention": "flex"}},
        {"method": {"lora": {"rank": 8, "targets": ["q_proj", "v_proj"]}}},
        {"deepspeed": {"zero": "auto", "offload": "optimizer"}},
        {"prompt": {"template": "Say {{ input }}", "instruction": "Be kind."}},
        {"training": {"tokensPerStep": 4096, "warmup": 0.03}},
    ],
)
def test_a_document_survives_the_way_to_the_job(change: dict[str, Any]) -> None:
    config = TrainingConfig.model_validate({**MINIMAL, **change})
    assert TrainingConfig.model_validate(config.document()) == config


def test_a_field_that_came_later_is_left_out_while_it_has_its_default() -> None:
    """The identity of a run is a hash of this form: a new field must not make a new run of an old manifest."""
    document = TrainingConfig.model_validate(MINIMAL).document()
    assert {name: sorted(document[name]) for name in ("data", "method", "training", "checkpoint", "evaluation")} == {
        "data": ["columns", "seed", "split", "table"],
        "method": ["full", "lora"],
        "training": sorted(
            ["learningRate", "schedule", "warmup", "weightDecay", "clip", "tokensPerStep", "microBatchTokens", "maxLength", "dtype", "seed"]
        ),
        "checkpoint": ["everyMinutes", "keep"],
        "evaluation": ["batchRows", "maxNewTokens", "metrics", "rows"],
    }
    assert sorted(document["method"]["lora"]) == ["alpha", "dropout", "rank", "targets"]
    assert "text" not in document["data"]["columns"]
    changed = TrainingConfig.model_validate({**MINIMAL, "method": {"lora": {"dora": True}}, "training": {"packing": False}}).document()
    assert changed["method"]["lora"]["dora"] is True
    assert changed["training"]["packing"] is False


@pytest.mark.parametrize(
    ("method", "name"),
    [("full", "full"), ("lora", "LoRA"), ("qlora", "QLoRA"), ({"lora": {"dora": True}}, "DoRA"), ({"qlora": {"dora": True}}, "QDoRA")],
)
def test_methods_have_the_names_that_people_use(method: Any, name: str) -> None:
    assert TrainingConfig.model_validate({**MINIMAL, "method": method}).method.name == name


def test_it_is_free_of_torch() -> None:
    code = "import sys, training.config; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
