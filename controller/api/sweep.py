"""Several runs from one FineTuneJob: a grid or a list of values for any field of its training, method or data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import Model

_SWEPT = ("training", "method", "deepspeed", "data")
_MOST = 200  # runs; a grid grows fast by mistake


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
        asked = len(self.runs or ()) if self.grid is None else math.prod(len(values) for values in self.grid.values())
        if asked > _MOST:  # counted before any is made: a grid of a few long lists has millions
            raise ValueError(f"sweep asks for {asked:,} runs; more than {_MOST} are taken for a mistake")
        return self

    @property
    def values(self) -> list[dict[str, Any]]:
        """What each run sets: path of a field to its value; runs that are named twice count once."""
        if self.runs is not None:
            found = [dict(run) for run in self.runs]
        else:
            grid = self.grid or {}
            found = [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]
        return [run for place, run in enumerate(found) if run not in found[:place]]

    @property
    def smaller_is_better(self) -> bool:
        return self.goal == "min" or (self.goal == "auto" and self.metric in ("loss", "perplexity"))


def applied(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's spec with the values of one run set.

    Raises:
        ValueError: a path that no run can set.
    """
    result: dict[str, Any] = dict(document)
    for path, value in values.items():
        first, *rest = path.split(".")
        if first not in _SWEPT or (first == "data" and rest not in (["maxRows"], ["seed"])):
            can = ", ".join(f"{part}.…" for part in _SWEPT[:-1])
            raise ValueError(f"sweep: {path} cannot differ between runs; what can: {can}, data.maxRows, data.seed")
        result = _set(result, [first, *rest], value, path)
    return result


def _set(document: Mapping[str, Any], path: list[str], value: Any, whole: str) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {**document, first: value}
    inner = document.get(first)
    if inner is not None and not isinstance(inner, Mapping):
        raise ValueError(f"sweep: {whole}: {first} has no fields")
    return {**document, first: _set(inner or {}, rest, value, whole)}


def told(values: Mapping[str, Any]) -> str:
    """`learningRate 0.001, rank 8`: what a run differs by, for people."""
    return ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in values.items())
