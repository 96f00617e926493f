"""The document that describes one fine-tune, as it is handed to the job.

The controller writes it, the trainer reads it, and the parts about method and training are also the `spec` of a
FineTuneJob manifest. So this module knows nothing of torch, and unknown fields are errors: a misspelt `learningRte`
must never train with a default. Field names are camelCase in documents and snake_case in Python.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

CONFIG_VERSION: Literal[1] = 1

TEMPLATES = ("instruction", "chat", "completion")
PLACEHOLDER = r"\{\{\s*([A-Za-z_][A-Za-z0-9_$]*)\s*\}\}"

Dtype = Literal["auto", "float32", "bfloat16"]
Metric = Literal["valid_json", "exact_match", "field_f1"]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Base of every part of the document: camelCase outside, unknown fields refused, values frozen."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def document(self) -> dict[str, Any]:
        """The plain JSON form, camelCase, without fields that are not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _exactly_one(section: str, given: dict[str, object]) -> None:
    named = [name for name, value in given.items() if value not in (None, False)]
    if len(named) != 1:
        found = " and ".join(named) if named else "none"
        raise ValueError(f"{section} needs exactly one of {', '.join(given)}; found {found}")


class Run(Section):
    """Which run this is. The identity is computed by the controller: the same identity is the same run."""

    id: str = Field(min_length=1, description="Hash of base model, dataset fingerprint and training config.")
    job: str = Field(min_length=1, description="Name of the FineTuneJob.")
    attempt: int = Field(default=1, ge=1, description="1 for the first start, one more for each retry.")


class Base(Section):
    """The model to start from: a folder in Hugging Face form, or an id on the hub."""

    path: str | None = Field(default=None, description="Folder with config.json, model.safetensors, tokenizer.json.")
    hugging_face: str | None = Field(default=None, description="Repository id on the Hugging Face hub.")
    revision: str | None = Field(default=None, description="Commit, tag or branch on the hub.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _exactly_one("base", {"path": self.path, "huggingFace": self.hugging_face})
        if self.revision is not None and self.hugging_face is None:
            raise ValueError("base.revision is only meant for base.huggingFace")
        return self


class Columns(Section):
    """Names of the columns that the prompt template reads; compared without regard to case."""

    instruction: str = Field(default="instruction", description="What the model shall do (template instruction).")
    input: str = Field(default="input", description="The text to work on (template instruction).")
    output: str = Field(default="output", description="The wanted answer (template instruction, and an inline template).")
    messages: str = Field(default="messages", description="JSON list of {role, content} (template chat).")
    prompt: str = Field(default="prompt", description="The text before the answer (template completion).")
    completion: str = Field(default="completion", description="The wanted answer (template completion).")
    row_id: str = Field(default="_ROW_ID", description="Stable key of a row.")
    split: str = Field(default="_SPLIT", description="Which part of the data a row belongs to.")


class Split(Section):
    """The values of the split column."""

    train: str = "train"
    eval: str = "eval"
    test: str = "test"


class Data(Section):
    """Where the rows come from, and how many of them are used."""

    table: str | None = Field(default=None, description="Fully qualified table, read over SQL.")
    query: str | None = Field(default=None, description="A SELECT that returns the columns, read over SQL.")
    path: str | None = Field(default=None, description="A JSON-lines file.")
    columns: Columns = Columns()
    split: Split = Split()
    seed: int = Field(default=0, ge=0, description="Which rows are taken when maxRows is smaller than the data.")
    max_rows: Positive | None = Field(default=None, description="Train on at most this many rows; none: all of them.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _exactly_one("data", {"table": self.table, "query": self.query, "path": self.path})
        return self


class Prompt(Section):
    """How a row becomes text for the model. The server uses the same object for a bare prompt."""

    template: str = Field(
        default="instruction",
        min_length=1,
        description=(
            "How a row becomes a prompt: `instruction`, `chat`, `completion`, or an inline template, that is a text of your own with "
            "{{column}} placeholders."
        ),
    )
    loss: Literal["answer", "all"] = Field(default="answer", description="Which tokens the model learns from.")
    instruction: str | None = Field(default=None, description="One instruction for all rows, in place of the instruction column.")

    @model_validator(mode="after")
    def _template_is_known(self) -> Self:
        if self.template in TEMPLATES or re.search(PLACEHOLDER, self.template):
            return self
        raise ValueError(
            f"template {self.template[:40]!r} is neither one of {', '.join(TEMPLATES)} nor a text with a {{{{column}}}} placeholder"
        )

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
        if self.template == "instruction":
            first = [] if self.instruction else [columns.instruction]
            return [*first, columns.input, columns.output]
        return [*self.placeholders, columns.output]


class Lora(Section):
    """Low-rank adapters on top of frozen weights."""

    rank: Positive = Field(default=16, description="Width of the adapters.")
    alpha: Positive = Field(default=32, description="Scale of the adapters; the effective factor is alpha / rank.")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: Literal["all-linear"] | list[str] = Field(
        default="all-linear", description="Module names that get an adapter; all-linear: every projection but the head."
    )


class Method(Section):
    """What is trained: all weights (`full`) or adapters (`lora`, the default)."""

    full: bool = False
    lora: Lora | None = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: object) -> object:
        if value == "full":
            return {"full": True}
        if value == "lora" or value == {}:
            return {"lora": {}}
        return value

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        _exactly_one("method", {"full": self.full, "lora": self.lora})
        return self


class DeepSpeed(Section):
    """How the optimizer's state, gradients and weights are spread over the ranks."""

    zero: Literal["auto", 0, 1, 2, 3] = Field(default="auto", description="ZeRO stage; auto chooses and says why.")
    offload: Literal["none", "optimizer", "parameters"] = Field(
        default="none", description="Keep the optimizer's state, or the weights too, in host memory (GPU only)."
    )

    @model_validator(mode="after")
    def _offload_fits_the_stage(self) -> Self:
        if self.offload == "parameters" and self.zero not in ("auto", 3):
            raise ValueError("offload: parameters needs zero: 3 (or auto)")
        if self.offload == "optimizer" and self.zero == 0:
            raise ValueError("offload: optimizer needs zero: 1, 2 or 3 (or auto)")
        return self


class Training(Section):
    """Length, schedule and batch size."""

    epochs: float | None = Field(default=None, gt=0, description="Passes over the training rows (1 if neither is set).")
    max_steps: Positive | None = Field(default=None, description="Number of optimizer steps, in place of epochs.")
    learning_rate: float = Field(default=1.0e-3, gt=0, le=1.0)
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="How the rate falls after the warm-up; linear and cosine end at 5 % of it."
    )
    warmup: float = Field(default=2, ge=0, description="Steps of warm-up; below 1: share of all steps.")
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient.")
    tokens_per_step: Literal["auto"] | Positive = Field(
        default="auto", description="Tokens of one optimizer step over all ranks; auto: four rows."
    )
    micro_batch_tokens: Literal["auto"] | Positive = Field(
        default="auto", description="Tokens that one rank holds at once; auto: one row on a CPU."
    )
    max_length: Literal["auto"] | Positive = Field(
        default="auto", description="Rows with more tokens are left out and counted; auto: the model's context."
    )
    dtype: Dtype = Field(default="auto", description="Number format of the weights; auto: bfloat16 where the hardware computes in it.")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError("training takes epochs or maxSteps, not both")
        return self


class Checkpoint(Section):
    """How often the state is saved, so that a lost node costs little."""

    every_minutes: float = Field(default=10.0, gt=0)
    keep: Positive = Field(default=2, description="Older complete checkpoints are removed.")


class Evaluation(Section):
    """How base and tuned model are compared, by greedy generation on the same rows of the eval split."""

    metrics: list[Metric] = Field(
        default=["valid_json", "exact_match", "field_f1"],
        min_length=1,
        description=(
            "The scores, each from 0 to 1 and the mean over the rows. `valid_json`: the answer is a JSON object (where the wanted one is "
            "none: it is not empty). `exact_match`: the share of the wanted answer's plain fields, such as a location, that the answer has "
            "right (where it is no JSON object: the whole text is the same). `field_f1`: how well the items of its list fields agree, "
            "counting what is missing and what is too much (where it is no JSON object: the words). Case and outer spaces never count."
        ),
    )
    rows: Positive = Field(default=32, description="Rows of the eval split that are scored.")
    max_new_tokens: Literal["auto"] | Positive = Field(
        default="auto", description="Longest answer; auto: a quarter more than the longest training answer."
    )
    batch_rows: Positive = Field(default=8, description="Rows generated together on one rank.")


class Output(Section):
    """Where the artefacts go, and which."""

    path: str = Field(min_length=1, description="Folder of this run: <stage>/<job>/<run>.")
    merged: bool = Field(default=True, description="Write the whole tuned model, ready to be served.")
    adapter: bool = Field(default=True, description="Write the adapter by itself (LoRA only).")


class TrainingConfig(Section):
    """One fine-tune, complete."""

    version: Literal[1] = CONFIG_VERSION
    run: Run
    base: Base
    data: Data
    prompt: Prompt = Prompt()
    method: Method = Method(lora=Lora())
    deepspeed: DeepSpeed = DeepSpeed()
    training: Training = Training()
    checkpoint: Checkpoint = Checkpoint()
    evaluation: Evaluation = Evaluation()
    output: Output
