"""Whole runs of a tiny model by real ranks: results, equality over ZeRO stages, kills, signals and failures."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training_tiny import Ranks, read_json_lines, select_rows, tiny_config, tiny_rows, tiny_tokenizer, write_rows
from transformers import LlamaConfig, LlamaForCausalLM

from training.files import problems, read_entries
from training.model.loading import load_model
from training.planner.machine import HOST_MEMORY


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", tiny_rows())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, rows: Path) -> tuple[Path, Ranks]:
    """One run with two ranks and ZeRO-1, from start to end."""
    folder = tmp_path_factory.mktemp("unbroken")
    ranks = Ranks(folder / "work", tiny_config(folder / "out", tiny_base, rows), world=2)
    codes = ranks.wait()
    assert codes == [0, 0], ranks.log.read_text()
    return folder / "out", ranks


def losses(output: Path) -> list[float]:
    return [step["loss"] for step in json.loads((output / "metrics.json").read_text())["steps"]]


def test_a_run_leaves_all_that_its_manifest_lists(unbroken: tuple[Path, Ranks]) -> None:
    output, _ = unbroken
    run = json.loads((output / "run.json").read_text())
    assert problems(output, read_entries(run), hashes=True) == []
    names = {entry.path for entry in read_entries(run)}
    assert {"metrics.json", "loss.svg", "loss.png", "README.md", "predictions.jsonl"} <= names
    assert {"adapter/adapter_model.safetensors", "merged/model.safetensors", "merged/tokenizer.json"} <= names
    assert run["base"] == {"id": "tiny", "sha256": "0" * 64}
    assert run["dataset"]["splits"] == {"eval": 6, "train": 18}
    assert run["steps"] == 24
    assert set(run["metrics"]["base"]) == set(run["metrics"]["tuned"]) == {"valid_json", "exact_match", "field_f1", "loss"}
    assert len((output / "predictions.jsonl").read_text().splitlines()) == 4


def test_the_model_learns(unbroken: tuple[Path, Ranks]) -> None:
    found = losses(unbroken[0])
    assert found[-1] < 0.95 * found[0]


def test_progress_tells_each_phase_and_the_time_left(unbroken: tuple[Path, Ranks]) -> None:
    lines = unbroken[1].progress()
    phases = list(dict.fromkeys(line["phase"] for line in lines))
    assert phases == ["data", "eval", "train", "save"]
    last = [line for line in lines if line["phase"] == "train"][-1]
    assert last["step"] == last["steps"] == 24
    assert {"epoch", "loss", "learningRate", "gradNorm", "tokensPerSecond", "memoryBytes", "etaSeconds"} <= set(last)


def test_the_merged_model_equals_base_with_adapter(unbroken: tuple[Path, Ranks], tiny_base: Path) -> None:
    from peft import PeftModel

    output, _ = unbroken
    merged = load_model(output / "merged", torch.float32)
    adapted = PeftModel.from_pretrained(load_model(tiny_base, torch.float32), str(output / "adapter")).eval()
    ids = torch.arange(3, 60).unsqueeze(0)
    base = load_model(tiny_base, torch.float32)(input_ids=ids).logits
    assert torch.allclose(merged(input_ids=ids).logits, adapted(input_ids=ids).logits, atol=1e-5)
    assert not torch.allclose(merged(input_ids=ids).logits, base, atol=1e-3), "the adapter must have learned something"


@pytest.mark.parametrize("zero", [2, 3])
def test_every_zero_stage_gives_the_same_losses(
    tmp_path: Path, tiny_base: Path, rows: Path, unbroken: tuple[Path, Ranks], zero: int
) -> None:
    config = tiny_config(tmp_path / "out", tiny_base, rows, deepspeed={"zero": zero}, training={"maxSteps": 4})
    config["training"]["schedule"] = "constant"
    ranks = Ranks(tmp_path / "work", config, world=2)
    assert ranks.wait() == [0, 0], ranks.log.read_text()
    # another schedule means another rate from step 3 on, so only the steps before are the same
    assert losses(tmp_path / "out")[:3] == pytest.approx(losses(unbroken[0])[:3], abs=1e-5)


def test_a_run_whose_model_no_rank_may_hold_leaves_the_same(
    tmp_path: Path, tiny_base: Path, rows: Path, unbroken: tuple[Path, Ranks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOST_MEMORY, "100000")  # bytes for both ranks together: less than the model
    config = tiny_config(tmp_path / "out", tiny_base, rows, deepspeed={"zero": 3}, training={"maxSteps": 2})
    config["output"]["merged"] = False
    ranks = Ranks(tmp_path / "work", config, world=2)
    assert ranks.wait() == [0, 0], ranks.log.read_text()
    messages = [line.get("message", "") for line in ranks.progress()]
    assert "the base model (spread over the ranks) answers 4 rows" in messages
    assert "the tuned model (spread over the ranks) answers 4 rows" in messages
    spread, whole = (read_json_lines(output / "predictions.jsonl") for output in (tmp_path / "out", unbroken[0]))
    assert [line["base"] for line in spread] == [line["base"] for line in whole]
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    assert not list(tmp_path.rglob("merged")), "it was scored from a local folder, and nobody wanted that one"


def test_killed_and_stopped_runs_go_on_as_if_nothing_had_happened(
    tmp_path: Path, tiny_base: Path, rows: Path, unbroken: tuple[Path, Ranks]
) -> None:
    output = tmp_path / "out"

    def attempt(number: int) -> Ranks:
        config = tiny_config(output, tiny_base, rows, run={"id": "run1", "job": "tiny", "attempt": number})
        config["checkpoint"] = {"everyMinutes": 1e-6, "keep": 2}
        return Ranks(tmp_path / f"work{number}", config, world=2)

    first = attempt(1)
    wait_for_checkpoint(first, output, 3)
    for process in first.processes:
        process.send_signal(signal.SIGKILL)
    assert first.wait() == [-9, -9]
    done = latest(output)
    assert 3 <= done < 20, "the kill must come in the middle"

    damage(output / "checkpoints" / str(done))
    second = attempt(2)
    wait_for_checkpoint(second, output, done + 1)
    for process in second.processes:
        process.send_signal(signal.SIGTERM)
    assert second.wait() == [12, 12], second.log.read_text()
    messages = [line.get("message", "") for line in second.progress()]
    assert any(f"the checkpoint after step {done} is not used" in message for message in messages)
    assert any(f"resumed from the checkpoint after step {done - 1}" in message for message in messages)
    assert "the state is saved" in json.loads((second.work / "outcome.json").read_text())["message"]
    assert not (output / "run.json").exists(), "an unfinished run must not exist"

    third = attempt(3)
    assert third.wait() == [0, 0], third.log.read_text()
    assert losses(output) == pytest.approx(losses(unbroken[0]), abs=1e-5)
    run = json.loads((output / "run.json").read_text())
    assert [entry["attempt"] for entry in run["attempts"]] == [1, 2, 3]
    kept = sorted(int(path.name) for path in (output / "checkpoints").iterdir())
    assert kept == [23, 24]


def test_a_loss_that_is_no_number_ends_the_run_names_the_place_and_leaves_the_last_checkpoint(tmp_path: Path, tiny_base: Path) -> None:
    """One row of the training alone has a character for which the base has no numbers."""
    spoilt = tiny_rows()
    spoilt[7]["INPUT"] += BROKEN
    base = with_a_broken_character(tiny_base, tmp_path / "base")
    config = tiny_config(
        tmp_path / "out",
        base,
        write_rows(tmp_path / "rows.jsonl", spoilt),
        training={"tokensPerStep": 200, "maxSteps": 30},
        checkpoint={"everySteps": 1},
        evaluation={"rows": 2, "maxNewTokens": 1},
    )
    ranks = Ranks(tmp_path / "work", config, world=1)
    assert ranks.wait() == [10], ranks.log.read_text()
    message = json.loads((ranks.work / "outcome.json").read_text())["message"]
    place = re.search(r"the loss is nan at step (\d+) of 30 \(rows ([^)]*)\); lower training.learningRate", message)
    assert place is not None and spoilt[7]["_ROW_ID"] in place[2], message
    kept = {int(path.name): path for path in (tmp_path / "out/checkpoints").iterdir()}
    last = int(place[1]) - 1
    assert last > 0 and max(kept) == last and (kept[last] / "complete.json").is_file()


def test_a_base_whose_loss_is_no_number_is_told_before_anything_is_trained(tmp_path: Path, tiny_base: Path, rows: Path) -> None:
    base = with_huge_weights(tiny_base, tmp_path / "base")
    ranks = Ranks(tmp_path / "work", tiny_config(tmp_path / "out", base, rows, evaluation={"rows": 1, "maxNewTokens": 1}), world=1)
    assert ranks.wait() == [10], ranks.log.read_text()
    message = json.loads((ranks.work / "outcome.json").read_text())["message"]
    assert re.search("the loss of the base model on the rows to score is (nan|inf); nothing was trained yet: .*float32", message), message
    assert "learningRate" not in message


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda row: row.pop("OUTPUT"), "lacks the column output"),
        (lambda row: row.update(_SPLIT="train"), "no rows in its 'eval' split"),
        (lambda row: row.update(INPUT=None), "column 'input' is NULL"),
    ],
    ids=["missing column", "no eval split", "NULL"],
)
def test_bad_data_ends_with_10(tmp_path: Path, tiny_base: Path, spoil: Any, words: str) -> None:
    bad = tiny_rows()
    for row in bad:
        spoil(row)
    config = tiny_config(tmp_path / "out", tiny_base, write_rows(tmp_path / "rows.jsonl", bad))
    from training.config import TrainingConfig
    from training.errors import BadInputError

    checked = TrainingConfig.model_validate(config)
    with pytest.raises(BadInputError, match=words) as caught:
        select_rows(read_json_lines(tmp_path / "rows.jsonl"), checked.data, checked.prompt, 4)
    assert caught.value.exit_code == 10


def wait_for_checkpoint(ranks: Ranks, output: Path, step: int) -> None:
    for _ in range(4000):
        if latest(output) >= step:
            return
        assert ranks.processes[0].poll() is None, ranks.log.read_text()
        time.sleep(0.02)
    raise AssertionError(f"no checkpoint {step}: {ranks.log.read_text()}")


def latest(output: Path) -> int:
    return max((int(path.parent.name) for path in output.glob("checkpoints/*/complete.json")), default=0)


def damage(checkpoint: Path) -> None:
    victim = checkpoint / "adapters.safetensors"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(content)


def with_huge_weights(source: Path, target: Path) -> Path:
    """A copy of the model whose logits overflow."""
    model = load_model(source, torch.float32)
    with torch.no_grad():
        model.model.norm.weight.fill_(3e38)
    return saved(model, source, target)


BROKEN = "~"


def with_a_broken_character(source: Path, target: Path) -> Path:
    """A copy of the model whose embedding of `BROKEN` is infinite; its head is another matrix, so other rows are as they were."""
    whole = load_model(source, torch.float32)
    settings = {**whole.config.to_dict(), "tie_word_embeddings": False}
    model = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    model.load_state_dict(whole.state_dict())
    with torch.no_grad():
        model.model.embed_tokens.weight[tiny_tokenizer().convert_tokens_to_ids(BROKEN)] = torch.inf
    return saved(model, source, target)


def saved(model: Any, source: Path, target: Path) -> Path:
    model.save_pretrained(str(target))
    for path in source.glob("tokenizer*"):
        (target / path.name).write_bytes(path.read_bytes())
    return target
