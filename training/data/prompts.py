"""Rows to chat messages: the one place where the shape of a prompt is decided.

Training, evaluation and the server all come through here, so a model is asked in exactly the form that it was trained
in. Everything is text; tokens come later (`training.data.tokens`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from training.config import PLACEHOLDER, Columns, Prompt
from training.errors import BadInputError

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Question:
    """What the model is asked: a conversation, or bare text for a completion (then `messages` is empty)."""

    messages: tuple[Message, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Example:
    """A question and the answer that the model shall learn, or is scored against."""

    question: Question
    answer: str


def half_a_character(error: UnicodeEncodeError) -> str:
    """What is wrong with a text that has no UTF-8 form, in words: exports that cut texts at a number of bytes make such."""
    found = error.object[error.start : error.end]
    return f"a text holds half a character ({found!a}); mend it where the rows come from"


def plain_text(value: str) -> str:
    """Undo what exports do to text: a JSON string literal becomes its content, line ends become newlines.

    The lab's `input` column is such a literal, quotes and backslashes included; trained on as it is, the model would
    see `\\n` as two characters and real callers would not.
    """
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            decoded = json.loads(text)
        except ValueError:
            decoded = value
        if isinstance(decoded, str):
            text = decoded
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def example(prompt: Prompt, columns: Columns, row: Mapping[str, object]) -> Example:
    """Render one row.

    `row` maps column names in lower case to values. Raises BadInputError that names the column which is missing, NULL
    or not of the wanted form.
    """
    made = _example(prompt, columns, row)
    try:
        "".join([*(message.content for message in made.question.messages), made.question.text, made.answer]).encode()
    except UnicodeEncodeError as error:  # written as \\ud83d in JSON within a column
        raise BadInputError(half_a_character(error)) from error
    return made


def _example(prompt: Prompt, columns: Columns, row: Mapping[str, object]) -> Example:
    if prompt.template == "chat":
        *before, last = _conversation(_text(row, columns.messages))
        if last.role != "assistant" or not before:
            raise BadInputError(f"column {columns.messages!r}: the last message must be the assistant's, after others")
        return Example(Question(tuple(before)), last.content)
    if prompt.template == "completion":
        return Example(Question(text=_text(row, columns.prompt)), _text(row, columns.completion))
    if prompt.template == "text":
        return Example(Question(), _text(row, columns.text))
    answer = plain_text(_text(row, columns.output))
    if prompt.template == "instruction":
        instruction = prompt.instruction or _text(row, columns.instruction)
        return Example(_instructed(instruction, plain_text(_text(row, columns.input))), answer)
    values = {name: plain_text(_text(row, name)) for name in prompt.placeholders}
    return Example(_filled(prompt, values), answer)


def question(prompt: Prompt, argument: str) -> Question:
    """Render the bare string that a SQL function was called with.

    With a template of its own, a JSON object fills the placeholders by name; any other text fills all of them, so a
    template with one placeholder takes plain text. Raises BadInputError when an object lacks a placeholder.
    """
    text = plain_text(argument)
    if prompt.template == "chat":
        is_list = text.startswith("[")
        return Question(tuple(_conversation(text)) if is_list else (Message("user", text),))
    if prompt.template in ("completion", "text"):
        return Question(text=argument)
    if prompt.template == "instruction":
        if not prompt.instruction:
            return Question((Message("user", text),))
        return _instructed(prompt.instruction, text.removeprefix(prompt.instruction.strip()).strip())
    names = prompt.placeholders
    values = dict.fromkeys(names, text)
    if text.startswith("{"):
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if isinstance(document, dict):
            row = {str(key).lower(): value for key, value in document.items()}
            values = {name: plain_text(_text(row, name)) for name in names}
    return _filled(prompt, values)


def _instructed(instruction: str, text: str) -> Question:
    return Question((Message("system", instruction.strip()), Message("user", text)))


def _filled(prompt: Prompt, values: Mapping[str, str]) -> Question:
    # one pass, so that a value which itself holds {{…}} stays as it is
    text = re.sub(PLACEHOLDER, lambda match: values[match.group(1)], prompt.template)
    system = (Message("system", prompt.instruction.strip()),) if prompt.instruction else ()
    return Question((*system, Message("user", text)))


def _conversation(text: str) -> list[Message]:
    try:
        turns = json.loads(text)
        messages = [Message(str(turn["role"]), turn["content"]) for turn in turns]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInputError('chat messages must be a JSON list of {"role": …, "content": …}') from error
    unknown = [message.role for message in messages if message.role not in ROLES]
    if unknown or not messages:
        raise BadInputError(f"chat messages need the roles {', '.join(ROLES)}; found {unknown or 'an empty list'}")
    for place, message in enumerate(messages, start=1):
        if not isinstance(message.content, str):
            raise BadInputError(f"chat message {place} ({message.role}) has a content that is no text: {json.dumps(message.content)[:40]}")
    return messages


def _text(row: Mapping[str, object], column: str) -> str:
    key = column.lower()
    if key not in row:
        raise BadInputError(f"no column {column!r}; the rows have {', '.join(sorted(row)) or 'none'}")
    value = row[key]
    if value is None:
        raise BadInputError(f"column {column!r} is NULL")
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
