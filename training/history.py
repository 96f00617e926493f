"""What a run has done so far: its steps, its looks at held-out rows, its attempts. Saved with every checkpoint.

A resumed run reads it and goes on, so whatever is decided from it (when to stop early, which step was best) must be a
pure function of it: then an interrupted run decides as an unbroken one would.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from training.config import LOWER_IS_BETTER


@dataclass(frozen=True)
class StepRecord:
    """What one optimizer step did; `step` counts from 0, loss is the mean over the learned tokens."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class EvalRecord:
    """Scores on held-out rows after `steps` optimizer steps."""

    steps: int
    scores: dict[str, float]
    seconds: float


@dataclass
class History:
    """All steps so far, over all attempts, the evaluations between them, and the attempts themselves."""

    steps: list[StepRecord] = field(default_factory=list)
    evals: list[EvalRecord] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def next_step(self) -> int:
        """Number of the first step that has not been done."""
        return self.steps[-1].step + 1 if self.steps else 0

    def speed(self) -> float:
        """Tokens per second over all steps."""
        return sum(record.tokens for record in self.steps) / max(1e-9, sum(record.seconds for record in self.steps))

    def best(self, metric: str) -> EvalRecord | None:
        """The evaluation with the best score by `metric`; of equal ones that with the lowest loss, then the earliest."""
        sign = 1 if metric in LOWER_IS_BETTER else -1
        return min(self.evals, key=lambda record: (sign * record.scores[metric], record.scores["loss"]), default=None)

    @classmethod
    def read(cls, path: Path) -> History:
        """Read a file that holds the JSON form."""
        return cls.of(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def of(cls, document: dict[str, Any]) -> History:
        """From the JSON form."""
        steps = [StepRecord(**record) for record in document["steps"]]
        evals = [EvalRecord(**record) for record in document.get("evals", [])]
        return cls(steps, evals, list(document["attempts"]))

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "steps": [asdict(record) for record in self.steps],
            "evals": [asdict(record) for record in self.evals],
            "attempts": self.attempts,
        }
