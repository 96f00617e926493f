"""Progress as log lines that a program can read: one JSON object a line, behind a fixed prefix.

A job's log is the one thing that every platform shows, so it carries the state of the run too.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict, dataclass
from typing import Literal, TextIO

from pydantic.alias_generators import to_camel

PREFIX = "SNOWCAT_PROGRESS "

Phase = Literal["load", "data", "train", "eval", "save", "done", "failed"]


@dataclass(frozen=True)
class Progress:
    """One line. Fields that are None are left out."""

    phase: Phase
    step: int | None = None
    steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    memory_bytes: int | None = None
    eta_seconds: float | None = None
    metrics: dict[str, float] | None = None
    message: str | None = None

    def line(self) -> str:
        """The log line without its newline."""
        given = {to_camel(name): value for name, value in asdict(self).items() if value is not None}
        return PREFIX + json.dumps(given, ensure_ascii=False)


def report(progress: Progress, stream: TextIO | None = None) -> None:
    """Write one line at once."""
    print(progress.line(), file=stream or sys.stdout, flush=True)


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes (getrusage counts kilobytes on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
