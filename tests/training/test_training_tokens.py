"""Turns of a conversation, plain text, chat templates of good and of ill will, and tokenizers that are missing or odd."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from training_tiny import CHATML, tiny_tokenizer, write_tiny_model

from training.config import Columns, Prompt
from training.data import tokens as tokens_module
from training.data.prompts import Example, Message, Question, example
from training.data.tokens import Encoded, Tokens
from training.errors import BadInputError
from training.model.folder import check_folder

LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
THINKING = (  # as Qwen3: earlier turns lose what was thought, an opened answer starts alike
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'].split('</think>')[-1] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
COUNTING = (  # writes how many messages there are in front of all of them
    "{{ messages | length }}{% for m in messages %}{{ m['role'] + ':' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
TURNS = (Message("system", "S"), Message("user", "one"), Message("assistant", "first"), Message("user", "two"))


def tokens_with(template: str | None = CHATML) -> Tokens:
    raw = tiny_tokenizer()
    raw.chat_template = template
    return Tokens(raw)


def said(tokens: Tokens, row: Encoded, loss: str = "answer") -> str:
    """The text of the learned positions, markers included."""
    return str(tokens.raw.decode(row.ids[row.learned(loss)].tolist()))


@pytest.mark.parametrize(
    ("template", "learned"),
    [
        (CHATML, "first<|im_end|>last<|im_end|>"),
        (LLAMA2, " first <|im_end|>last<|im_end|>"),
        (THINKING, "first<|im_end|>last<|im_end|>"),
    ],
    ids=["chatml", "llama 2", "thinking"],
)
def test_every_turn_of_the_assistant_is_learned_with_its_end(template: str, learned: str) -> None:
    tokens = tokens_with(template)
    row = tokens.example(Example(Question(TURNS), "last"), "assistant")
    assert said(tokens, row, "assistant") == learned
    once = tokens.example(Example(Question(TURNS), "last"))
    assert said(tokens, once) == "last<|im_end|>"
    assert row.ids.tolist() == once.ids.tolist(), "what is learned changes nothing of what is read"


def test_a_turn_that_repeats_the_question_is_found_where_it_was_said() -> None:
    tokens = tokens_with()
    turns = (Message("user", "yes"), Message("assistant", "yes"), Message("user", "yes"))
    row = tokens.example(Example(Question(turns), "yes"), "assistant")
    assert said(tokens, row, "assistant") == "yes<|im_end|>yes<|im_end|>"
    assert row.answer_tokens == 2 * 4


@pytest.mark.parametrize(
    ("template", "words"),
    [(COUNTING, "rewrites earlier turns"), (None, "no chat template")],
)
def test_turns_that_cannot_be_told_apart_are_refused(template: str | None, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        tokens_with(template).example(Example(Question(TURNS), "last"), "assistant")


@pytest.mark.parametrize(
    ("template", "words", "reason"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "does what no template needs", "the way out of every template engine"),
        ("{{ messages.__init__.__globals__['os'].system('true') }}", "does what no template needs", "a command"),
        (
            "{{ raise_exception('roles must alternate') }}",
            "refuses a conversation of system, user.*roles must alternate",
            "its own refusal",
        ),
        ("{% for m in messages %}", "refuses a conversation", "no template at all"),
        ("{{ messages[99]['content'] + 1 }}", "refuses a conversation", "a mistake in it"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "refuses a conversation", "a loop that is too long"),
        ("{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}", "did not end within", "a loop in a loop"),
    ],
)
def test_a_chat_template_of_ill_will(monkeypatch: pytest.MonkeyPatch, template: str, words: str, reason: str) -> None:
    monkeypatch.setattr(tokens_module, "TEMPLATE_SECONDS", 0.2)
    with pytest.raises(BadInputError, match=words) as caught:
        tokens_with(template).question(Question(TURNS))
    assert caught.value.exit_code == 10, reason


def test_plain_text_is_learned_but_for_its_first_token() -> None:
    tokens = tokens_with()
    row = tokens.example(example(Prompt(template="text"), Columns(), {"text": "abc"}))
    for loss in ("answer", "all"):
        assert said(tokens, row, loss) == "bc<|im_end|>"


def test_a_bare_text_is_not_ended_before_its_answer() -> None:
    """Some tokenizers put the end token behind every text that they are given."""

    class Ending:
        eos_token_id, pad_token_id = 2, None

        def __call__(self, text: str, *, add_special_tokens: bool, **options: Any) -> dict[str, list[int]]:
            return {"input_ids": [1, *map(ord, text), 2] if add_special_tokens else [*map(ord, text)]}

    assert Tokens(Ending()).example(Example(Question(text="a"), "b")).ids.tolist() == [1, ord("a"), ord("b"), 2]


def test_the_padding_token_may_be_the_end_token_or_missing() -> None:
    raw = tiny_tokenizer()
    raw.pad_token = None
    assert Tokens(raw).pad == Tokens(raw).eos
    raw.eos_token = None
    with pytest.raises(BadInputError, match="no end token"):
        Tokens(raw)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "an empty list"),
        ('[{"role": "user"}]', "must be a JSON list"),
        ('[{"role": "tool", "content": "x"}]', "need the roles system, user, assistant; found"),
        ('[{"role": "user", "content": null}, {"role": "assistant", "content": "x"}]', r"message 1 \(user\) has a content that is no text"),
        ('[{"role": "user", "content": "x"}]', "the last message must be the assistant's"),
        ("[" * 100_000, "must be a JSON list"),
        (None, "is NULL"),
    ],
)
def test_conversations_that_cannot_be_read(content: str | None, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        example(Prompt(template="chat"), Columns(), {"messages": content})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer: tokenizer.json is missing"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "no usable tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text('{"model": 3}'), "no usable tokenizer"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "only pytorch_model.bin .pickles are refused"),
    ],
    ids=["no tokenizer", "half a tokenizer", "a strange tokenizer", "no config", "a pickle only"],
)
def test_a_base_model_that_cannot_be_used(tmp_path: Path, spoil: Any, words: str) -> None:
    folder = write_tiny_model(tmp_path / "base")
    spoil(folder)
    with pytest.raises(BadInputError, match=words) as caught:
        check_folder(folder)
        Tokens.load(folder)
    assert caught.value.exit_code == 10


def test_a_tokenizer_with_code_of_its_own_is_not_run(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "base")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with contextlib.suppress(BadInputError):
        Tokens.load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_template_that_asks_for_the_day_gets_always_the_same() -> None:
    raw = tiny_tokenizer()
    raw.chat_template = "{{ strftime_now('%d %B %Y') }}|{% for m in messages %}{{ m['content'] }}{% endfor %}"
    question = Question((Message("user", "Hi"),))
    known, now = Tokens(raw, date(2024, 7, 5)), Tokens(raw)
    assert known.text(known.question(question)) == "05 July 2024|Hi"
    assert str(datetime.now(UTC).year) in now.text(now.question(question))


def test_a_template_that_leaves_out_what_the_user_says() -> None:
    raw = tiny_tokenizer()
    raw.chat_template = "{{ mesages[0]['content'] if mesages else 'Go on: ' }}"
    with pytest.raises(BadInputError, match="leaves out what the user says"):
        Tokens(raw).question(Question((Message("user", "Hi"),)))


def test_an_answer_that_opens_a_conversation_is_not_learned() -> None:
    raw = tiny_tokenizer()
    turns = tuple(Message(role, said) for role, said in (("assistant", "Welcome"), ("user", "1"), ("assistant", "one"), ("user", "2")))
    encoded = Tokens(raw).example(Example(Question(turns), "two"), "assistant")
    learned = raw.decode(encoded.ids[encoded.answer.astype(bool)])
    assert learned == "one<|im_end|>two<|im_end|>"
