"""Several runs from one FineTuneJob: a grid or a list of values for any of its training fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import Model


class Sweep(Model):
    """Several runs from one manifest: every combination of `grid`, or every entry of `list`. The best of them is the job's result."""

    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] | None = Field(
        default=None, min_length=1, description="Path of a field, such as `training.learningRate`, to the values that are tried."
    )
    runs: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = Field(
        default=None, alias="list", description="The runs one by one: path of a field to its value."
    )
    concurrency: int = Field(default=1, ge=1, description="Runs at once.")
    metric: str = Field(default="loss", description="The score that chooses the best run.")
    goal: Literal["auto", "max", "min"] = Field(
        default="auto", description="auto: the smallest loss or perplexity, else the largest score."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.grid is None) == (self.runs is None):
            raise ValueError("sweep needs exactly one of grid, list")
        return self
