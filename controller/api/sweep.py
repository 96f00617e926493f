"""Several runs from one FineTuneJob: a grid or a list of values for any field of its training, method or data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import Model
from controller.api.faults import Faults, FieldFault, Path

_SWEPT = ("training", "method", "deepspeed", "data")
_MOST = 200  # runs; a grid grows fast by mistake


@dataclass(frozen=True)
class Setting:
    """What one run sets: path of a field to its value. `places` tells where in the sweep each value stands, `whole` where all do."""

    values: dict[str, Any]
    places: dict[str, Path]
    whole: Path


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
    def settings(self) -> list[Setting]:
        """The runs; those that are named twice count once."""
        if self.runs is not None:
            found = [Setting(run, {path: ("list", n, path) for path in run}, ("list", n)) for n, run in enumerate(self.runs)]
        else:
            grid = self.grid or {}
            found = [
                Setting(
                    {path: value for path, (_, value) in zip(grid, chosen, strict=True)},
                    {path: ("grid", path, n) for path, (n, _) in zip(grid, chosen, strict=True)},
                    ("grid",),
                )
                for chosen in itertools.product(*(list(enumerate(values)) for values in grid.values()))
            ]
        values = [run.values for run in found]
        return [run for place, run in enumerate(found) if run.values not in values[:place]]

    @property
    def values(self) -> list[dict[str, Any]]:
        """What each run sets: path of a field to its value; runs that are named twice count once."""
        return [run.values for run in self.settings]

    @property
    def names(self) -> dict[str, str]:
        """What people read for each path that any run sets: as few of its last parts as tell it from the others (`seed`, `data.seed`)."""
        paths = list(dict.fromkeys(path for run in self.values for path in run))
        return {path: _shortest(path, paths) for path in paths}

    def told(self, values: Mapping[str, Any]) -> str:
        """`learningRate 0.001, rank 8`: what a run differs by, for people."""
        names = self.names
        return ", ".join(f"{names[path]} {value}" for path, value in values.items())

    @property
    def smaller_is_better(self) -> bool:
        return self.goal == "min" or (self.goal == "auto" and self.metric in ("loss", "perplexity"))


def applied(document: Mapping[str, Any], run: Setting) -> dict[str, Any]:
    """A manifest's spec with the values of one run set.

    Raises:
        Faults: paths that no run can set.
    """
    result: dict[str, Any] = dict(document)
    wrong = []
    for path, value in run.values.items():
        first, *rest = path.split(".")
        if first not in _SWEPT or (first == "data" and rest not in (["maxRows"], ["seed"])):
            can = ", ".join(f"{part}.…" for part in _SWEPT[:-1])
            message = f"{path} cannot differ between runs; what can: {can}, data.maxRows, data.seed"
            name = run.places[path][: len(run.whole) + 1]  # where the field's name stands, whatever its values
            wrong.append(FieldFault(("sweep", *name), message, first, _SWEPT if first not in _SWEPT else ()))
            continue
        try:
            result = _set(result, [first, *rest], value)
        except ValueError as error:
            wrong.append(FieldFault(("sweep", *run.places[path]), str(error)))
    if wrong:
        raise Faults(*wrong)
    return result


def _set(document: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {**document, first: value}
    inner = document.get(first)
    if inner is not None and not isinstance(inner, Mapping):
        raise ValueError(f"{first} has no fields")
    return {**document, first: _set(inner or {}, rest, value)}


def _shortest(path: str, paths: Sequence[str]) -> str:
    parts = path.split(".")
    ends = [".".join(parts[place:]) for place in reversed(range(len(parts)))]
    others = [f".{other}" for other in paths if other != path]
    return next((end for end in ends if not any(other.endswith(f".{end}") for other in others)), path)
