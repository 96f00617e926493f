"""Progress as log lines that a program can read: one JSON object a line, behind a fixed prefix.

A job's log is the one thing that every platform shows, so it carries the state of the run too.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import Literal, TextIO

from pydantic.alias_generators import to_camel

from training.history import EvalRecord, StepRecord

PREFIX = "SNOWCAT_PROGRESS "
REPORT_EVERY_SECONDS = 1.0
_BEGUN = "SNOWCAT_BEGUN"
RECENT_STEPS = 10  # speed and time left are told from the last few steps

Phase = Literal["load", "data", "train", "eval", "save", "done", "failed"]


@dataclass(frozen=True)
class Progress:
    """One line. Fields that are None are left out."""

    phase: Phase
    model: Literal["base", "tuned"] | None = None  # the one that is scored
    step: int | None = None
    steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    memory_bytes: int | None = None
    eta_seconds: float | None = None
    elapsed_seconds: float | None = None
    metrics: dict[str, float] | None = None
    message: str | None = None

    def line(self) -> str:
        """The log line without its newline."""
        given = {to_camel(name): value for name, value in asdict(self).items() if value is not None}
        return PREFIX + json.dumps(given, ensure_ascii=False)


def begin() -> None:
    """Let the time of this attempt count from here on, in this process and in those that it starts."""
    os.environ[_BEGUN] = str(time.time())


def elapsed() -> float | None:
    """Seconds since `begin`; None where nobody called it."""
    begun = os.environ.get(_BEGUN)
    return round(time.time() - float(begun), 1) if begun else None


def report(progress: Progress, stream: TextIO | None = None) -> None:
    """Write one line at once, with the time that the attempt has taken so far."""
    print(replace(progress, elapsed_seconds=elapsed()).line(), file=stream or sys.stdout, flush=True)


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes (getrusage counts kilobytes on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Pace:
    """Turns finished steps into progress lines, one a second at most.

    `share_of_peak` is the MFU of one token a second, None where the peak is not known; `every` how many steps lie
    between two looks at held-out rows; `after` the seconds that the run will need once the last step is done.
    """

    def __init__(self, steps: int, share_of_peak: float | None, every: int | None, after: float) -> None:
        self.steps = steps
        self.share_of_peak = share_of_peak
        self.every = every
        self.after = after
        self._recent: deque[StepRecord] = deque(maxlen=RECENT_STEPS)
        self._look: EvalRecord | None = None
        self._told = 0.0

    def looked(self, record: EvalRecord) -> None:
        """Scores on held-out rows stand on every line from here on."""
        self._look = record

    def step(self, record: StepRecord, epoch: float) -> Progress | None:
        """The line for a finished step; None when the last one is too young. `epoch`: passes over the data so far."""
        self._recent.append(record)
        done = record.step + 1
        if time.monotonic() - self._told < REPORT_EVERY_SECONDS and done != self.steps:
            return None
        self._told = time.monotonic()
        seconds = sum(step.seconds for step in self._recent)
        speed = sum(step.tokens for step in self._recent) / seconds
        looks = (self.steps - done) // self.every * self._look.seconds if self.every and self._look else 0.0
        return Progress(
            "train",
            step=done,
            steps=self.steps,
            epoch=round(epoch, 3),
            loss=round(record.loss, 5),
            learning_rate=record.learning_rate,
            grad_norm=round(record.grad_norm, 5),
            tokens_per_second=round(speed, 1),
            mfu=None if self.share_of_peak is None else round(speed * self.share_of_peak, 4),
            eta_seconds=round((self.steps - done) * seconds / len(self._recent) + looks + self.after, 1),
            metrics=self._look.scores if self._look else None,
        )
