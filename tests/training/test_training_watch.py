"""Looks at held-out rows: when, what they decide, and that they leave no mark on the training."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from training_tiny import Ranks, select_rows, tiny_config, tiny_rows, tiny_tokenizer, write_rows

from training import engine, tuning
from training.config import Data, EarlyStopping, Evaluation, Prompt, TrainingConfig
from training.data import rows
from training.data.dataset import prepare
from training.data.tokens import Tokens
from training.errors import BadInputError
from training.files import Folders
from training.history import EvalRecord, History, StepRecord
from training.loop import StopFlag
from training.model import attention
from training.model.loading import load_model
from training.progress import Pace, Progress
from training.scoring import evaluate
from training.scoring.evaluate import answer_loss
from training.watch import Watch, waited


@pytest.mark.parametrize(
    ("metric", "delta", "scores", "expected", "reason"),
    [
        ("loss", 0.0, [3, 2, 1], 0, "better each time"),
        ("loss", 0.0, [3, 2, 2, 2.5], 2, "equal is no improvement"),
        ("loss", 0.5, [3, 2.8, 2.6, 2.4], 0, "small gains add up: the last is better than the first by more than 0.5"),
        ("loss", 0.5, [3, 2.8, 2.6], 2, "each gain is too small"),
        ("field_f1", 0.0, [0.1, 0.3, 0.2], 1, "more is better"),
        ("perplexity", 0.0, [9, 8, 10, 7], 0, "less is better"),
        ("loss", 0.0, [], 0, "no look yet"),
    ],
)
def test_patience(metric: str, delta: float, scores: list[float], expected: int, reason: str) -> None:
    evals = [EvalRecord(i + 1, {metric: float(value)}, 0.0) for i, value in enumerate(scores)]
    assert waited(evals, EarlyStopping(metric=metric, min_delta=delta)) == expected, reason


def watch_of(losses: Iterator[float], **evaluation: Any) -> Watch:
    return Watch(Evaluation.model_validate(evaluation), 10, True, lambda: {"loss": next(losses)}, lambda record: None)


def test_it_looks_every_so_often_and_at_the_end() -> None:
    watch = watch_of(iter([]), everySteps=4)
    assert [done for done in range(1, 11) if watch.due(done)] == [4, 8, 10]
    assert not any(watch_of(iter([])).due(done) for done in range(1, 11))


def test_the_best_so_far_is_worth_keeping_and_patience_ends_it() -> None:
    watch = watch_of(iter([3.0, 2.0, 2.5, 2.0]), everySteps=1, earlyStopping={"patience": 2})
    history = History()
    kept, enough = [], []
    for step in range(4):
        history.steps.append(StepRecord(step, 1.0, 1e-3, 1.0, 10, 0.1))
        kept.append(watch.look(history))
        enough.append(watch.enough(history))
    assert kept == [True, True, False, False], "equal scores: the earlier one"
    assert enough == [False, False, False, True]
    assert watch.kept(history) == 2
    assert History.of(history.document()) == history


def test_a_score_that_is_no_number_ends_the_run() -> None:
    with pytest.raises(BadInputError, match="no numbers after step 1 of 10"):
        watch_of(iter([math.nan]), everySteps=1).look(History([StepRecord(0, 1.0, 1e-3, 1.0, 10, 0.1)]))


def test_the_pace_tells_mfu_scores_and_the_time_for_what_is_still_to_come() -> None:
    pace = Pace(steps=100, share_of_peak=1e-3, every=10, after=7.0)
    pace.looked(EvalRecord(10, {"loss": 0.5}, seconds=2.0))
    line = pace.step(StepRecord(9, 1.0, 1e-3, 1.0, 40, 0.5), 0.1)
    assert line is not None
    assert (line.tokens_per_second, line.mfu, line.metrics) == (80.0, 0.08, {"loss": 0.5})
    assert line.eta_seconds == 90 * 0.5 + 9 * 2.0 + 7.0
    assert pace.step(StepRecord(10, 1.0, 1e-3, 1.0, 40, 0.5), 0.1) is None, "one line a second"


def test_of_equal_scores_the_lower_loss_is_the_best() -> None:
    scores = [(0.5, 2.0), (0.5, 1.0), (0.4, 0.5), (0.5, 1.0)]
    evals = [EvalRecord(i + 1, {"rouge_l": score, "loss": loss}, 0.0) for i, (score, loss) in enumerate(scores)]
    best = History(evals=evals).best("rouge_l")
    assert best is not None and best.steps == 2


# ---- with a model ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_rank() -> Iterator[None]:
    before, threads = dict(os.environ), torch.get_num_threads()
    torch.set_num_threads(1)
    engine.prepare_environment()
    yield
    dist.destroy_process_group()
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("watch")
    lines = write_rows(folder / "rows.jsonl", tiny_rows())
    rows.write_rows(rows.read_file(lines), Data(table="T"), Prompt(), folder / "rows.arrow")
    return tiny_base, folder / "rows.arrow"


def folders_of(tmp: Path, parts: tuple[Path, Path]) -> Folders:
    (tmp / "work").mkdir(parents=True)
    return Folders(*parts, tmp / "work", tmp / "out")


def tune(
    tmp: Path, parts: tuple[Path, Path], more: dict[str, Any] | None = None, **evaluation: Any
) -> tuple[tuning.Trained, list[Progress]]:
    folders = folders_of(tmp, parts)
    method = {"lora": {"rank": 4, "dropout": 0.2}}
    training = {"maxSteps": 6, "schedule": "constant", **(more or {})}
    document = tiny_config(tmp / "out", *parts, training=training, evaluation=evaluation)
    config = TrainingConfig.model_validate({**document, "method": method})
    said: list[Progress] = []
    data = prepare(config, folders)
    one = tuning.Tuning(config, folders, engine.choose_stage(config), torch.float32, StopFlag(), said.append)
    return one.run(data.train, data.held_out, data.tokens, after=0.0), said


def test_a_look_in_between_changes_no_loss(tmp_path: Path, parts: tuple[Path, Path], one_rank: None) -> None:
    """With dropout, so that a random number drawn by a look would be seen; by answering too."""
    plain, _ = tune(tmp_path / "plain", parts)
    looked, said = tune(tmp_path / "looked", parts, metrics=["rouge_l"], everySteps=2, earlyStopping={"metric": "rouge_l", "patience": 9})
    assert [record.loss for record in looked.history.steps] == [record.loss for record in plain.history.steps]
    assert [record.steps for record in looked.history.evals] == [2, 4, 6]
    assert all(set(record.scores) == {"loss", "rouge_l"} for record in looked.history.evals)
    told = [line.metrics for line in said if line.message == "held-out rows scored"]
    assert told == [record.scores for record in looked.history.evals]


def test_packed_rows_are_not_compiled_for_every_batch_anew(tmp_path: Path, parts: tuple[Path, Path], one_rank: None) -> None:
    _, said = tune(tmp_path, parts, {"maxSteps": 1, "packing": True, "compile": True})
    [told] = [line.message for line in said if "layers checkpointed" in (line.message or "")]
    assert "compiled" not in told, "attention here goes through the documents one by one"


def test_early_stopping_ends_with_the_best_weights(tmp_path: Path, parts: tuple[Path, Path], one_rank: None) -> None:
    stopped, _ = tune(tmp_path / "a", parts, everySteps=1, earlyStopping={"patience": 2, "minDelta": 100})
    assert stopped.history.next_step == 3, "the first look counts as better, then two were not"
    best = stopped.history.best("loss")
    assert best is not None
    assert stopped.best_step == (best.steps if best.steps < 3 else None)
    again, _ = tune(tmp_path / "b", parts, everySteps=best.steps, earlyStopping={"patience": 1, "minDelta": 0})
    first = again.history.evals[0]
    assert first.scores == best.scores, "the same step scores the same in another run"


def test_the_loss_of_the_rows_is_the_mean_over_their_answer_tokens(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    config = TrainingConfig.model_validate(tiny_config(tmp_path / "out", *parts))
    held_out = prepare(config, folders_of(tmp_path, parts)).held_out
    model = load_model(parts[0], torch.float32)
    total, count = 0.0, 0
    for row in held_out.encoded.rows:
        logits = model(input_ids=torch.tensor(row.ids.tolist()).unsqueeze(0)).logits[0].detach().log_softmax(-1)
        places = row.learned("answer")
        total -= sum(float(logits[place - 1, row.ids[place]]) for place in places)
        count += len(places)
    for size in (1, 3):
        told: list[tuple[int, int]] = []
        found = answer_loss(model, held_out.encoded, held_out.tokens.pad, size, lambda *batches, told=told: told.append(batches))
        assert found == pytest.approx(total / count, rel=1e-5)
        assert told == [(n + 1, len(told)) for n in range(len(told))], "every batch is told, for those who wait"


@pytest.mark.parametrize(("attends", "filled"), [("flex", True), ("varlen", False), ("sdpa", False)])
def test_only_flex_attention_is_given_batches_of_one_length(
    tmp_path: Path, parts: tuple[Path, Path], attends: str, filled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = prepare(TrainingConfig.model_validate(tiny_config(tmp_path / "out", *parts)), folders_of(tmp_path, parts)).held_out
    model = torch.nn.Module()
    model.config = SimpleNamespace(_attn_implementation=attention.PREFIX + attends)  # type: ignore[assignment]
    lengths: list[int] = []
    monkeypatch.setattr(evaluate, "summed_loss", lambda model, batch: lengths.append(batch.ids.shape[1]) or 1.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    answer_loss(model, held_out.encoded, held_out.tokens.pad, 3)
    assert len(lengths) > 1
    assert (len(set(lengths)) == 1) is filled, lengths


def test_rows_that_are_cut_for_the_loss_are_told(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    tokens, held_out = Tokens(tiny_tokenizer()), select_rows(tiny_rows(), Data(table="T"), Prompt(), 4).eval
    limit = max(len(tokens.question(row.example.question)) for row in held_out) + 2
    document = tiny_config(tmp_path / "out", *parts, training={"maxLength": limit}, data={"tooLong": "truncate"})
    data = prepare(TrainingConfig.model_validate(document), folders_of(tmp_path, parts))
    assert f"4 rows to score (for the loss 4 rows longer than {limit} tokens: 4 cut)" in str(data)


@pytest.mark.slow
def test_looks_and_scores_are_the_same_for_any_stage_and_world(tmp_path: Path, tiny_base: Path) -> None:
    """Answers in the middle of the training too, with the weights spread over two ranks."""
    lines = write_rows(tmp_path / "rows.jsonl", tiny_rows())
    evaluation = {"rows": 5, "metrics": ["rouge_l", "perplexity"], "everySteps": 2, "earlyStopping": {"metric": "rouge_l", "patience": 9}}
    found = []
    for world, zero in ((2, 3), (2, 1), (1, 0)):
        out = tmp_path / f"out{world}{zero}"
        training = {"maxSteps": 6, "schedule": "constant"}
        config = tiny_config(out, tiny_base, lines, deepspeed={"zero": zero}, training=training, evaluation=evaluation)
        ranks = Ranks(tmp_path / f"work{world}{zero}", config, world=world)
        assert ranks.wait() == [0] * world, ranks.log.read_text()
        metrics = json.loads((out / "metrics.json").read_text())
        found.append(([record["scores"] for record in metrics["evals"]], metrics["base"], metrics["tuned"]))
    for looks, base, tuned in found[1:]:
        for look, other in zip(looks, found[0][0], strict=True):
            assert look == pytest.approx(other, abs=1e-4)
        assert (base, tuned) == (pytest.approx(found[0][1], rel=1e-3), pytest.approx(found[0][2], rel=1e-3))
