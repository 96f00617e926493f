"""One fine-tune, complete."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from training.config.method import DeepSpeed, Lora, Method
from training.config.rows import Base, Data, Prompt
from training.config.scoring import Evaluation, Predictions, Tracker
from training.config.section import Section, later
from training.config.steps import Checkpoint, Training

CONFIG_VERSION: Literal[1] = 1


class Run(Section):
    """Which run this is. The identity is computed by the controller: the same identity is the same run."""

    id: str = Field(min_length=1, description="Hash of base model, dataset fingerprint and training config.")
    job: str = Field(min_length=1, description="Name of the FineTuneJob.")
    attempt: int = Field(default=1, ge=1, description="1 for the first start, one more for each retry.")


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
    predictions: Predictions | None = later(None)
    tracker: Tracker | None = later(None)
    output: Output

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        check_parts(self.prompt, self.evaluation, self.predictions)
        return self

    @property
    def keeps_best(self) -> bool:
        """Whether the checkpoint with the best score is kept: as asked, and always where early stopping will go back to it."""
        return self.checkpoint.keep_best or self.evaluation.early_stopping is not None


def check_parts(prompt: Prompt, evaluation: Evaluation, predictions: Predictions | None) -> None:
    """Raise ValueError where two parts contradict each other."""
    if prompt.template == "text" and set(evaluation.metrics) != {"perplexity"}:
        raise ValueError("template: text has no answers that could be compared; set evaluation.metrics: [perplexity]")
    if prompt.template == "text" and (evaluation.sql or predictions is not None):
        raise ValueError("template: text has no answers that could be shown: leave out evaluation.sql and predictions")
