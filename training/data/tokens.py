"""Text to tokens, with the one trap that costs a fine-tune its sense: what is learned is decided by position.

In many models the padding token is the end token. A mask by token id would then hide the very token that teaches the
model to stop, so masks here are made from lengths. Nothing in this module pads through the tokenizer either: a fast
tokenizer that was once asked to pad stays in that mode for its next caller.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from transformers import AutoTokenizer

from training.data.prompts import Example, Message, Question
from training.errors import BadInputError
from training.model.folder import vocabulary

Ids = npt.NDArray[np.int32]
Mask = npt.NDArray[np.uint8]

A_DAY = date(2024, 7, 26)  # what Llama 3 itself takes where its template cannot ask for the day
WORD = "Hello"
ASKS_FOR_TODAY = r"""strftime_now\(\s*(["'])(.*?)\1\s*\)"""
TEMPLATE_SECONDS = 20  # a chat template comes with the model and may be of ill will; a good one takes milliseconds


@dataclass(frozen=True, eq=False)
class Encoded:
    """One row as token ids; `answer` is 1 where a token belongs to an answer, its end token included."""

    ids: Ids
    answer: Mask

    @classmethod
    def of(cls, ids: Sequence[int], spans: Iterable[tuple[int, int]]) -> Encoded:
        """From the ids and the spans (first, behind the last) of the answers."""
        answer = np.zeros(len(ids), np.uint8)
        for first, end in spans:
            answer[first:end] = 1
        return cls(np.asarray(ids, np.int32), answer)

    def learned(self, loss: str) -> npt.NDArray[np.int64]:
        """Positions whose token is to be foretold; never 0, because nothing stands before it."""
        return np.arange(1, len(self.ids)) if loss == "all" else np.flatnonzero(self.answer[1:]) + 1

    @property
    def answer_tokens(self) -> int:
        """How many positions carry loss when only answers count."""
        return int(self.answer[1:].sum())


class Tokens:
    """A tokenizer with the few calls that are needed here.

    Some chat templates tell the model what day it is. With `today` it is always that one: an attempt that goes on after
    midnight must see the rows of the one before.
    """

    def __init__(self, tokenizer: Any, today: date | None = None, size: int | None = None) -> None:
        self.raw = tokenizer
        self._hears = False  # whether a question was seen to reach the model
        self._template = getattr(tokenizer, "chat_template", None)
        if today is not None and isinstance(self._template, str):
            self._template = re.sub(ASKS_FOR_TODAY, lambda match: repr(today.strftime(match.group(2))), self._template)
        if tokenizer.eos_token_id is None:
            raise BadInputError("the base model's tokenizer has no end token (eos_token)")
        self.eos = int(tokenizer.eos_token_id)
        self.size = size or 1 << 31  # tokens that the model has an embedding for
        if self.eos >= self.size:
            raise self._foreign(self.eos)
        pad = tokenizer.pad_token_id
        self.pad = self.eos if pad is None or pad >= self.size else int(pad)  # padding is never looked at: any token will do

    @classmethod
    def load(cls, folder: Path, today: date | None = None) -> Tokens:
        """Read the tokenizer of a model folder. Raises BadInputError when there is none."""
        if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
            raise BadInputError(f"the base model in {folder} has no tokenizer: tokenizer.json is missing; take it from the model's source")
        try:
            return cls(
                AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False), today, vocabulary(folder)
            )
        except BadInputError:
            raise
        except Exception as error:  # tokenizers raise whatever their file makes them stumble over, plain Exception too
            raise BadInputError(f"no usable tokenizer in {folder}: {error}") from error

    def question(self, question: Question) -> list[int]:
        """Token ids up to the point where the answer begins."""
        if not question.messages:
            return self._plain(question.text, start=True)
        if not self._template:
            return self._plain(_untemplated(question.messages), start=True)
        if not self._hears:
            self._hears = True
            if WORD not in self._rendered([*question.messages[:-1], Message("user", WORD)]):
                raise BadInputError(
                    "the base model's chat template leaves out what the user says: take the right one from the model's source"
                )
        return self._plain(self._rendered(question.messages), start=False)

    def example(self, example: Example, loss: str = "answer") -> Encoded:
        """Question, answer and end token; question and answer are encoded apart, so their border is exact.

        With `loss: assistant` the assistant's earlier turns within the question count as answers too.
        """
        earlier = any(message.role == "assistant" for message in example.question.messages)
        if loss == "assistant" and earlier:
            ids, spans = self._conversation(example.question.messages)
        else:
            ids, spans = self.question(example.question), []
        answer = self._plain(example.answer, start=False)
        whole = [*ids, *answer, self.eos]
        return Encoded.of(whole, [*spans, (len(ids), len(whole))])

    def text(self, ids: Sequence[int]) -> str:
        """Decode an answer without markers."""
        return str(self.raw.decode([int(token) for token in ids], skip_special_tokens=True)).strip()

    def _conversation(self, messages: Sequence[Message]) -> tuple[list[int], list[tuple[int, int]]]:
        """A conversation up to its last answer, and the spans of the assistant's turns in it, end tokens included.

        Where a turn lies is found in the rendered text: it follows the conversation before it with the opening of an
        answer, in just the form in which the model will be asked.
        """
        if not self._template:
            raise BadInputError("the base model has no chat template, so turns cannot be told apart: use prompt.loss: answer")
        whole, end_token = self._rendered(messages), str(self.raw.eos_token)
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        done = 0
        for place, message in enumerate(messages):
            if message.role != "assistant" or not place:  # what opens a conversation answers nothing
                continue
            before, said = self._rendered(messages[:place]), message.content.strip()
            found = whole.find(said, len(before)) if said and whole.startswith(before) else -1
            if found < 0 or whole[len(before) : found].strip() or len(before) < done:
                raise BadInputError(
                    f"the base model's chat template rewrites earlier turns (turn {place + 1} is not where it was when it was said), "
                    "so they cannot be learned as they would be said: use prompt.loss: answer"
                )
            end = found + len(said)
            gap = len(whole[end:]) - len(whole[end:].lstrip())
            if whole.startswith(end_token, end + gap):
                end += gap + len(end_token)
            ids += self._plain(whole[done : len(before)], start=False)
            first = len(ids)
            ids += self._plain(whole[len(before) : end], start=False)
            spans.append((first, len(ids)))
            done = end
        return [*ids, *self._plain(whole[done:], start=False)], spans

    def _rendered(self, messages: Sequence[Message]) -> str:
        """The conversation in the model's own form, up to where an answer begins.

        The template is a program that came with the model; it runs in Jinja's sandbox and within a time limit.
        """
        documents = [{"role": message.role, "content": message.content} for message in messages]
        try:
            with _time_limit():
                found = self.raw.apply_chat_template(documents, tokenize=False, add_generation_prompt=True, chat_template=self._template)
            str(found).encode()  # half a character would stop the tokenizer, without a word why
            return str(found)
        except SecurityError as error:
            raise BadInputError(f"the base model's chat template does what no template needs, and was stopped: {error}") from error
        except TimeoutError as error:
            raise BadInputError(f"the base model's chat template did not end within {TEMPLATE_SECONDS} s, and was stopped") from error
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
            roles = ", ".join(message.role for message in messages)
            raise BadInputError(f"the base model's chat template refuses a conversation of {roles}: {error}") from error

    def _plain(self, text: str, *, start: bool) -> list[int]:
        # a chat template writes its own markers; bare text gets the start token of models that want one
        ids = list(self.raw(text, add_special_tokens=start, padding=False, truncation=False)["input_ids"])
        if ids and max(ids) >= self.size:
            raise self._foreign(max(ids))
        return ids[:-1] if start and ids and ids[-1] == self.eos else ids  # some tokenizers end every text

    def _foreign(self, token: int) -> BadInputError:
        what = self.raw.convert_ids_to_tokens(token)
        return BadInputError(f"the tokenizer knows {what!r}, but the base model has {self.size} tokens only: they do not belong together")


def _untemplated(messages: Sequence[Message]) -> str:
    return "".join(f"{message.content}\n\n" for message in messages)


@contextmanager
def _time_limit() -> Iterator[None]:
    """Raise TimeoutError in what runs too long; signals reach the main thread only, so elsewhere there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, TEMPLATE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
