"""Rows and bare prompts to chat messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from training.config import Columns, Prompt
from training.data.prompts import Message, Question, example, plain_text, question
from training.errors import BadInputError

ASK = "Give JSON."
SYSTEM = Message("system", ASK)


@pytest.mark.parametrize(
    ("raw", "plain", "reason"),
    [
        ('"a\\nb \\"c\\""', 'a\nb "c"', "the lab's column is a JSON string literal"),
        ('"a\\r\\nb"', "a\nb", "line ends become newlines"),
        ("a\r\nb", "a\nb", "in plain text too"),
        ('"one" and "two"', '"one" and "two"', "quotes around words are no literal"),
        ('"', '"', "a lone quote stays"),
        ("\\n", "\\n", "a backslash in plain text is what it is"),
    ],
)
def test_plain_text(raw: str, plain: str, reason: str) -> None:
    assert plain_text(raw) == plain, reason


@pytest.mark.parametrize(
    ("prompt", "row", "expected"),
    [
        (Prompt(), {"instruction": ASK, "input": '"a\\nb"', "output": "{}"}, Question((SYSTEM, Message("user", "a\nb")))),
        (Prompt(instruction=ASK), {"input": "x", "output": "{}"}, Question((SYSTEM, Message("user", "x")))),
        (
            Prompt(template="chat"),
            {"messages": '[{"role": "user", "content": "x"}, {"role": "assistant", "content": "{}"}]'},
            Question((Message("user", "x"),)),
        ),
        (Prompt(template="completion"), {"prompt": "x = ", "completion": "{}"}, Question(text="x = ")),
        (Prompt(template="Read {{ a }}!"), {"a": "x", "output": "{}"}, Question((Message("user", "Read x!"),))),
        (
            Prompt(template="{{a}}{{b}}"),
            {"a": "{{b}}", "b": "B", "output": "{}"},
            Question((Message("user", "{{b}}B"),)),
        ),
    ],
    ids=["instruction", "one instruction", "chat", "completion", "inline", "a value that looks like a placeholder"],
)
def test_a_row_becomes_a_question(prompt: Prompt, row: dict[str, Any], expected: Question) -> None:
    made = example(prompt, Columns(), row)
    assert made.question == expected
    assert made.answer == "{}"


@pytest.mark.parametrize(
    ("prompt", "row", "words"),
    [
        (Prompt(), {"input": "x", "output": "y"}, "no column 'instruction'; the rows have input, output"),
        (Prompt(instruction=ASK), {"input": None, "output": "y"}, "'input' is NULL"),
        (Prompt(template="chat"), {"messages": "hello"}, "JSON list"),
        (Prompt(template="chat"), {"messages": '[{"role": "robot", "content": "x"}]'}, "robot"),
        (Prompt(template="chat"), {"messages": '[{"role": "assistant", "content": "x"}]'}, "after others"),
        (Prompt(template="{{nothing}}"), {"output": "y"}, "no column 'nothing'"),
    ],
)
def test_a_row_that_does_not_fit_says_why(prompt: Prompt, row: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        example(prompt, Columns(), row)


@pytest.mark.parametrize(
    ("prompt", "argument", "expected"),
    [
        (Prompt(instruction=ASK), "call", Question((SYSTEM, Message("user", "call")))),
        (Prompt(instruction=ASK), f"{ASK} call", Question((SYSTEM, Message("user", "call")))),
        (Prompt(instruction=ASK), json.dumps("a\nb"), Question((SYSTEM, Message("user", "a\nb")))),
        (Prompt(), "call", Question((Message("user", "call"),))),
        (Prompt(template="chat"), "hi", Question((Message("user", "hi"),))),
        (Prompt(template="chat"), '[{"role": "user", "content": "hi"}]', Question((Message("user", "hi"),))),
        (Prompt(template="completion"), "x = ", Question(text="x = ")),
        (Prompt(template="Read {{a}}!"), "this", Question((Message("user", "Read this!"),))),
        (Prompt(template="{{A}}-{{b}}"), '{"a": 1, "B": "x"}', Question((Message("user", "1-x"),))),
    ],
)
def test_a_bare_prompt_becomes_the_same_question(prompt: Prompt, argument: str, expected: Question) -> None:
    assert question(prompt, argument) == expected


def test_server_and_training_agree() -> None:
    prompt = Prompt(instruction=ASK)
    row = {"input": '"caller: hi\\r\\nfrosty: ho"', "output": "{}"}
    assert question(prompt, row["input"]) == example(prompt, Columns(), row).question
