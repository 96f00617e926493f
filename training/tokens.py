"""Text to tokens, with the one trap that costs a fine-tune its sense: what is learned is decided by position.

In many models the padding token is the end token. A mask by token id would then hide the very token that teaches the
model to stop, so masks here are made from lengths. Nothing in this module pads through the tokenizer either: a fast
tokenizer that was once asked to pad stays in that mode for its next caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from training.errors import BadInputError
from training.prompts import Example, Question


@dataclass(frozen=True)
class Encoded:
    """One row as token ids; `answer_start` is the position of the answer's first token."""

    ids: tuple[int, ...]
    answer_start: int

    def learned(self, loss: str) -> Sequence[int]:
        """Positions whose token is to be foretold; never 0, because nothing stands before it."""
        return range(self.answer_start if loss == "answer" else 1, len(self.ids))

    @property
    def answer_tokens(self) -> int:
        """How many positions carry loss when only the answer counts."""
        return len(self.ids) - self.answer_start


class Tokens:
    """A tokenizer with the few calls that are needed here."""

    def __init__(self, tokenizer: Any) -> None:
        self.raw = tokenizer
        if tokenizer.eos_token_id is None:
            raise BadInputError("the base model's tokenizer has no end token (eos_token)")
        self.eos = int(tokenizer.eos_token_id)
        self.pad = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.eos)

    @classmethod
    def load(cls, folder: Path) -> Tokens:
        """Read the tokenizer of a model folder. Raises BadInputError when there is none."""
        try:
            return cls(AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False))
        except (OSError, ValueError, KeyError) as error:
            raise BadInputError(f"no usable tokenizer in {folder}: {error}") from error

    def question(self, question: Question) -> list[int]:
        """Token ids up to the point where the answer begins."""
        if not question.messages:
            return self._plain(question.text, start=True)
        if not getattr(self.raw, "chat_template", None):
            text = "\n\n".join(message.content for message in question.messages)
            return self._plain(f"{text}\n\n", start=True)
        messages = [{"role": message.role, "content": message.content} for message in question.messages]
        text = self.raw.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self._plain(text, start=False)

    def example(self, example: Example) -> Encoded:
        """Question, answer and end token; question and answer are encoded apart, so their border is exact."""
        before = self.question(example.question)
        answer = self._plain(example.answer, start=False)
        return Encoded((*before, *answer, self.eos), answer_start=len(before))

    def text(self, ids: list[int]) -> str:
        """Decode an answer without markers."""
        return str(self.raw.decode(ids, skip_special_tokens=True)).strip()

    def _plain(self, text: str, *, start: bool) -> list[int]:
        # a chat template writes its own markers; bare text gets the start token of models that want one
        return list(self.raw(text, add_special_tokens=start, padding=False, truncation=False)["input_ids"])
