"""What a probe measured on real hardware, and how it corrects the formulas.

Two micro-steps of different lengths give a line: where it begins says what the context and the buffers take beside the model, its slope
what a token takes. Kept as the difference to the formulas, so that it holds for other lengths, stages and numbers of ranks too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.config import Technique
from training.planner.machine import Machine
from training.planner.memory import Correction, Setting, on_rank
from training.planner.speed import model_flops, rate, recomputed_flops

CALIBRATION_VERSION = 1


@dataclass(frozen=True)
class Point:
    """One measured micro-step: the bytes at its peak (of the GPU, or of the process) and the seconds of a later one of the same length."""

    tokens: int
    peak: float
    seconds: float


@dataclass(frozen=True)
class Calibration:
    """`intercept` in bytes and `slope` in bytes a token, as measured; `context` and `activations` are what they say of the formulas."""

    device: str
    technique: Technique
    intercept: float
    slope: float
    tokens_per_second: float
    context: float
    activations: float
    reached: float  # share of the peak FLOP/s
    points: tuple[Point, ...]

    @property
    def correction(self) -> Correction:
        return Correction(self.context, self.activations, measured=True)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {"version": CALIBRATION_VERSION, **asdict(self)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Calibration | None:
        """From the JSON form; None for one of another version or that is not whole."""
        try:
            if document["version"] != CALIBRATION_VERSION:
                return None
            values = {name: document[name] for name in cls.__dataclass_fields__ if name != "points"}
            return cls(points=tuple(Point(**point) for point in document["points"]), **values)
        except (KeyError, TypeError):
            return None

    @classmethod
    def parse(cls, text: str | bytes) -> Calibration | None:
        """From the text of a file; None where it is none."""
        try:
            found = json.loads(text)
        except ValueError:
            return None
        return cls.read(found) if isinstance(found, dict) else None


def fit(device: str, machine: Machine, measured: Sequence[tuple[Setting, Point]]) -> Calibration:
    """Lines through the measured points (least squares; two are enough): over tokens as they are, and over what the formulas say.

    `measured` are points with the settings that were run, which differ in their length only.

    Raises:
        ValueError: fewer than two lengths were measured.
    """
    lengths = sorted({point.tokens for _, point in measured})
    if len(lengths) < 2:
        raise ValueError(f"two lengths are needed for a line; measured: {lengths}")
    terms = [on_rank(setting, machine) for setting, _ in measured]
    intercept, slope = _line([(float(point.tokens), point.peak) for _, point in measured])
    beside = [point.peak - (found.needed - found.activations) for found, (_, point) in zip(terms, measured, strict=True)]
    context, activations = _line([(found.activations, rest) for found, rest in zip(terms, beside, strict=True)])
    setting, longest = max(measured, key=lambda pair: pair[1].tokens)
    done = (model_flops(setting) + recomputed_flops(setting)) * longest.tokens / longest.seconds
    return Calibration(
        device=device,
        technique=setting.technique,
        intercept=intercept,
        slope=slope,
        tokens_per_second=longest.tokens / longest.seconds,
        context=context,
        activations=max(0.1, activations),
        reached=done / rate(setting, machine, 1.0),
        points=tuple(point for _, point in measured),
    )


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(value at 0, slope) by least squares."""
    count = len(points)
    x, y = sum(a for a, _ in points) / count, sum(b for _, b in points) / count
    spread = sum((a - x) ** 2 for a, _ in points)
    slope = sum((a - x) * (b - y) for a, b in points) / spread
    return y - slope * x, slope
