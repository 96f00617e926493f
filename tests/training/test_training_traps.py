"""The traps of reference/training.md that cost time before: each is closed by a test."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from training_tiny import encode_rows, select_rows, tiny_rows, tiny_tokenizer

from training.config import Data, Lora, Method, Prompt
from training.data.encoded import TrainingSet
from training.data.prompts import Example, Message, Question
from training.data.tokens import Tokens
from training.errors import BadInputError
from training.loop import micro_batch, summed_loss
from training.model import loading
from training.model.folder import stored_dtype
from training.model.loading import load_model, merge, prepare
from training.scoring.evaluate import generate

PAIR = Example(Question((Message("user", "Hi"),)), "Yes")


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(tiny_tokenizer())


@pytest.fixture
def data(tokens: Tokens) -> TrainingSet:
    return encode_rows(select_rows(tiny_rows(), Data(table="T"), Prompt(), 4).train, tokens, 512)


def test_a_merged_model_is_written_in_the_half_precision_of_its_base(tmp_path: Path) -> None:
    """Llama 2 is stored so: twice its size would be written if only formats were known that something is computed in."""
    (tmp_path / "config.json").write_text('{"torch_dtype": "float16"}', encoding="utf-8")
    assert stored_dtype(tmp_path) == torch.float16


def test_the_end_token_is_learned_although_it_is_the_padding_token(tokens: Tokens, data: TrainingSet) -> None:
    assert tokens.pad == tokens.eos
    rows = sorted(range(len(data.rows)), key=lambda row: len(data.rows[row].ids))
    batch = micro_batch(data, [rows[0], rows[-1]], tokens.pad, "answer")
    assert (batch.targets == tokens.eos).sum() == 2, "one end token a row is learned; padding is not"
    assert batch.ids.shape[1] > batch.tokens, "there is padding to be mistaken for it"
    assert batch.trained == sum(data.rows[row].answer_tokens for row in (rows[0], rows[-1]))


def test_only_the_answer_is_learned_unless_all_is_asked_for(tokens: Tokens, data: TrainingSet) -> None:
    row = data.rows[0]
    answer, everything = (micro_batch(data, [0], tokens.pad, loss) for loss in ("answer", "all"))
    assert answer.targets.tolist() == row.ids[row.answer == 1].tolist()
    assert everything.targets.tolist() == row.ids[1:].tolist()


def test_a_tokenizer_that_was_asked_to_pad_does_not_spoil_training_rows(tokens: Tokens) -> None:
    before = tokens.example(PAIR).ids.tolist()
    tokens.raw(["a", "a much longer text"], padding=True)
    tokens.raw("x", truncation=True, max_length=1)
    assert tokens.example(PAIR).ids.tolist() == before


def test_question_and_answer_meet_exactly_where_generation_will_start(tokens: Tokens) -> None:
    encoded = tokens.example(PAIR)
    asked = tokens.question(PAIR.question)
    assert encoded.ids[: len(asked)].tolist() == asked
    assert encoded.answer.tolist() == [0] * len(asked) + [1] * encoded.answer_tokens
    assert tokens.text(encoded.ids[len(asked) :]) == "Yes"
    assert encoded.ids[-1] == tokens.eos


def test_rows_together_have_the_loss_of_rows_alone(tiny_base: Path, tokens: Tokens, data: TrainingSet) -> None:
    model = load_model(tiny_base, torch.float32)
    alone = [summed_loss(model, micro_batch(data, [row], tokens.pad, "answer")).item() for row in (0, 5, 9)]
    together = summed_loss(model, micro_batch(data, [0, 5, 9], tokens.pad, "answer")).item()
    assert together == pytest.approx(sum(alone), rel=1e-5)


def test_the_head_on_kept_positions_gives_the_loss_of_the_whole_head(tiny_base: Path, tokens: Tokens, data: TrainingSet) -> None:
    adapted = prepare(load_model(tiny_base, torch.float32), Method(lora=Lora(rank=4)))
    batch = micro_batch(data, [3], tokens.pad, "answer")
    row = data.rows[3]
    ids = torch.tensor(row.ids, dtype=torch.long).unsqueeze(0)
    labels = ids.clone()
    labels[0, torch.tensor(row.answer == 0)] = -100
    logits = adapted(input_ids=ids, use_cache=False).logits
    whole = functional.cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum")
    assert summed_loss(adapted, batch).item() == pytest.approx(whole.item(), rel=1e-5)


def test_training_runs_without_a_cache(tiny_base: Path, tokens: Tokens, data: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(tiny_base, torch.float32)
    layers, seen = model.get_decoder(), {}

    def recorded(*args: Any, plain: Any = layers.forward, **kwargs: Any) -> Any:
        seen.update(kwargs)
        return plain(*args, **kwargs)

    monkeypatch.setattr(layers, "forward", recorded)
    summed_loss(model, micro_batch(data, [0, 5], tokens.pad, "answer"))
    assert seen["use_cache"] is False


def test_a_batch_of_unequal_questions_is_answered_as_each_alone(tiny_base: Path, tokens: Tokens) -> None:
    model = load_model(tiny_base, torch.float32)
    questions = [tokens.question(Question((Message("user", text),))) for text in ("a", "some words", "x" * 60)]
    alone = [generate(model, [ids], 6, tokens)[0] for ids in questions]
    assert generate(model, questions, 6, tokens) == alone


def test_merging_changes_no_answer(tiny_base: Path) -> None:
    torch.manual_seed(1)
    adapted = prepare(load_model(tiny_base, torch.float32), Method(lora=Lora(rank=4))).eval()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.arange(5, 40).unsqueeze(0)
    before = adapted(input_ids=ids).logits
    assert torch.allclose(merge(adapted)(input_ids=ids).logits, before, atol=1e-5)


def test_a_base_model_whose_files_lack_a_weight(tiny_base: Path, tmp_path: Path) -> None:
    """transformers would put random numbers there, and other ones on every rank."""
    shutil.copytree(tiny_base, tmp_path / "base")
    file = tmp_path / "base" / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(BadInputError, match=r"lack 1 of the weights .* model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(tmp_path / "base", torch.float32)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"has rounded weights \(gptq\)"),
        ({"num_attention_heads": 5}, "not a multiple of the number of attention heads"),
    ],
    ids=["quantised", "impossible"],
)
def test_a_base_model_with_a_strange_description(tiny_base: Path, tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    shutil.copytree(tiny_base, tmp_path / "base")
    file = tmp_path / "base" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changed), encoding="utf-8")
    with pytest.raises(BadInputError, match=words):
        load_model(tmp_path / "base", torch.float32)


@pytest.mark.parametrize(
    ("error", "spread", "final", "reason"),
    [
        (OSError("no file named model.safetensors found in directory"), False, True, "transformers' own word of a folder"),
        (RuntimeError("size mismatch for model.norm.weight"), False, True, "a weight of another shape"),
        (OSError(errno.EIO, "Input/output error"), False, False, "a mount that did not answer"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), False, False, "no memory on the host"),
        (torch.OutOfMemoryError("CUDA out of memory"), False, False, "nor on the GPU"),
        (RuntimeError("Connection closed by peer"), True, False, "another rank has died"),
    ],
)
def test_a_model_that_another_attempt_may_load(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, spread: bool, final: bool, reason: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", fail)
    monkeypatch.setattr(loading, "is_deepspeed_zero3_enabled", lambda: spread)
    with pytest.raises((BadInputError, type(error))) as caught:
        load_model(tiny_base, torch.float32)
    assert (caught.value is error) != final, reason


def test_a_tokenizer_that_knows_more_than_the_model() -> None:
    raw = tiny_tokenizer()
    size = len(raw)
    raw.add_special_tokens({"additional_special_tokens": ["<call>"], "pad_token": "<pad>"})
    tokens = Tokens(raw, size=size)
    assert tokens.pad == tokens.eos, "a padding token that was added to the tokenizer alone does no harm"
    with pytest.raises(BadInputError, match="the tokenizer knows '<call>', but the base model has"):
        tokens.question(Question(text="a <call> b"))


def test_an_empty_question_is_asked(tiny_base: Path) -> None:
    tokens = Tokens.load(tiny_base)
    answers = generate(load_model(tiny_base, torch.float32), [[], [5, 6]], 3, tokens)
    assert len(answers) == 2
