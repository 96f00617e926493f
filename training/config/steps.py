"""Length, schedule and speed of the training, and how often its state is saved."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from training.config.section import Positive, Section, Seed, later

Dtype = Literal["auto", "float32", "bfloat16"]
Attention = Literal["auto", "varlen", "sdpa", "flex", "eager"]


class Training(Section):
    """Length, schedule, batch size and speed."""

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
        default="auto", description="Longest row in tokens, see data.tooLong; auto: the model's context."
    )
    dtype: Dtype = Field(default="auto", description="Number format of the weights; auto: bfloat16 where the hardware computes in it.")
    seed: Seed = 0
    packing: Literal["auto"] | bool = later(
        "auto", description="Put several rows into one sequence without padding; they do not see each other. auto: on a GPU."
    )
    checkpoint_layers: Literal["auto", "none", "all"] | Positive = later(
        "auto", description="How many layers compute their activations twice to save memory; auto: as few as fit."
    )
    compile: Literal["auto"] | bool = later(
        "auto", description="torch.compile each layer, where rows are packed and attention is varlen or flex; auto: on a GPU."
    )
    attention: Attention = later(
        "auto",
        description="How attention is computed; auto: varlen on a GPU where torch has it, eager on a CPU in bfloat16, else sdpa.",
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError("training takes epochs or maxSteps, not both")
        return self


class Checkpoint(Section):
    """How often the state is saved, so that a lost node costs little."""

    every_minutes: float = Field(default=10.0, gt=0)
    every_steps: Positive | None = later(None, description="Save every so many steps too.")
    keep: Positive = Field(default=2, description="Older complete checkpoints are removed.")
    keep_best: bool = later(
        True, description="Keep the checkpoint with the best score as well (evaluation.earlyStopping.metric, else the loss)."
    )
