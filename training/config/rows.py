"""Where a run starts: the base model, the rows, and how a row becomes text."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from training.config.section import Positive, Section, exactly_one, later

TEMPLATES = ("instruction", "chat", "completion", "text")
PLACEHOLDER = r"\{\{\s*([A-Za-z_][A-Za-z0-9_$]*)\s*\}\}"
SPLIT_COLUMN = "_SPLIT"

Loss = Literal["answer", "all", "assistant"]
TooLong = Literal["drop", "truncate", "split"]


class Base(Section):
    """The model to start from: a folder in Hugging Face form, or an id on the hub."""

    path: str | None = Field(default=None, description="Folder with config.json, model.safetensors, tokenizer.json.")
    hugging_face: str | None = Field(default=None, description="Repository id on the Hugging Face hub.")
    revision: str | None = Field(default=None, description="Commit, tag or branch on the hub.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        exactly_one("base", {"path": self.path, "huggingFace": self.hugging_face})
        if self.revision is not None and self.hugging_face is None:
            raise ValueError("base.revision is only meant for base.huggingFace")
        return self

    @property
    def name(self) -> str:
        """Its id on the hub, else its folder."""
        return self.hugging_face or self.path or ""


class Columns(Section):
    """Names of the columns that the prompt template reads; compared without regard to case."""

    instruction: str = Field(default="instruction", description="What the model shall do (template instruction).")
    input: str = Field(default="input", description="The text to work on (template instruction).")
    output: str = Field(default="output", description="The wanted answer (template instruction, and an inline template).")
    messages: str = Field(default="messages", description="JSON list of {role, content} (template chat).")
    prompt: str = Field(default="prompt", description="The text before the answer (template completion).")
    completion: str = Field(default="completion", description="The wanted answer (template completion).")
    text: str = later("text", description="The whole text (template text).")
    row_id: str = Field(default="_ROW_ID", description="Stable key of a row; a hash of the row where there is no such column.")
    split: str = Field(default=SPLIT_COLUMN, description="Which part of the data a row belongs to.")


class Split(Section):
    """The values of the split column."""

    train: str = "train"
    eval: str = "eval"
    test: str = "test"


class Shares(Section):
    """How rows without a split column are shared out: by a hash of the row, so that a row stays in its part when rows are added."""

    train: float = Field(default=0.9, gt=0, le=1)
    eval: float = Field(default=0.1, gt=0, le=1)
    test: float = Field(default=0.0, ge=0, lt=1, description="Left out of training and of its evaluation.")
    stratify_by: str | None = Field(default=None, description="A column: every value of it is shared out in the same shares.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.eval + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, eval and test must add up to 1; they are {total:g}")
        return self


class Data(Section):
    """Where the rows come from, and how many of them are used."""

    table: str | None = Field(default=None, description="Fully qualified table, read over SQL.")
    query: str | None = Field(default=None, description="A SELECT that returns the columns, read over SQL.")
    path: str | None = Field(default=None, description="A mounted file: .jsonl, .csv or .parquet.")
    columns: Columns = Columns()
    split: Split = Split()
    shares: Shares = later(Shares(), description="For rows that have no split column.")
    seed: int = Field(default=0, ge=0, description="Which rows are taken when maxRows is smaller than the data.")
    max_rows: Positive | None = Field(default=None, description="Train on at most this many rows; none: all of them.")
    too_long: TooLong = later(
        "drop",
        description=(
            "Rows with more than training.maxLength tokens, always counted. `drop`: left out. `truncate`: tokens are taken out of the "
            "middle of the question, so that its beginning and the answer stay. `split`: cut into rows of that length."
        ),
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        exactly_one("data", {"table": self.table, "query": self.query, "path": self.path})
        return self


class Prompt(Section):
    """How a row becomes text for the model. The server uses the same object for a bare prompt."""

    template: Annotated[str, Field(min_length=1)] = Field(
        default="instruction",
        description=(
            "How a row becomes a prompt: `instruction`, `chat`, `completion`, `text` (plain text, learned as a whole), or an inline "
            "template, that is a text of your own with {{column}} placeholders."
        ),
    )
    loss: Loss = Field(
        default="answer",
        description="Which tokens the model learns from; `assistant`: every turn of the assistant (template chat).",
    )
    instruction: str | None = Field(default=None, description="One instruction for all rows, in place of the instruction column.")

    @model_validator(mode="after")
    def _template_is_known(self) -> Self:
        if self.template not in TEMPLATES and not re.search(PLACEHOLDER, self.template):
            raise ValueError(
                f"template {self.template[:40]!r} is neither one of {', '.join(TEMPLATES)} nor a text with a {{{{column}}}} placeholder"
            )
        if self.loss == "assistant" and self.template != "chat":
            raise ValueError("loss: assistant is only meant for template: chat; other templates have one answer, loss: answer")
        if self.template == "text" and self.instruction is not None:
            raise ValueError("template: text learns the text alone; leave out instruction")
        return self

    @property
    def placeholders(self) -> list[str]:
        """The column names in an inline template, in order, once each."""
        return list(dict.fromkeys(re.findall(PLACEHOLDER, self.template)))

    def needed_columns(self, columns: Columns) -> list[str]:
        """The columns that a row must have to be rendered."""
        if self.template == "chat":
            return [columns.messages]
        if self.template == "completion":
            return [columns.prompt, columns.completion]
        if self.template == "text":
            return [columns.text]
        if self.template == "instruction":
            first = [] if self.instruction else [columns.instruction]
            return [*first, columns.input, columns.output]
        return [*self.placeholders, columns.output]
