"""What the ranks tell of a finished run, handed in a file to the process that started them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from training.files import write_json
from training.history import History

OUTCOME = "result.json"  # in the work folder: not there means that the ranks did not finish


@dataclass(frozen=True)
class Outcome:
    """All that is worth telling about a finished run, in plain values. Scores are of base and tuned model on the same rows."""

    base_id: str
    base_sha256: str
    fingerprint: str  # over ids and texts of the rows that were used
    splits: dict[str, int]
    used_rows: int
    long_rows: str  # what became of rows longer than the limit; empty where there were none
    eval_rows: int
    parameters: int
    trained_parameters: int
    zero: str
    device: str
    dtype: str
    world: int
    base: dict[str, float]
    tuned: dict[str, float]
    phase_seconds: dict[str, float]
    best_step: int | None = None  # steps done by the weights that were kept, where these are not the last ones
    mfu: float | None = None
    peak_memory: int = 0
    problems: tuple[str, ...] = ()  # what could not be done after the training


def leave(work: Path, outcome: Outcome, history: History) -> None:
    """Hand the outcome over to whoever publishes it. Called last by rank 0."""
    write_json(work / OUTCOME, {"outcome": asdict(outcome), "history": history.document()})


def take(work: Path) -> tuple[Outcome, History] | None:
    """What `leave` wrote; None when the ranks of this node did not."""
    path = work / OUTCOME
    if not path.is_file():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    known = document["outcome"]
    return Outcome(**{**known, "problems": tuple(known["problems"])}), History.of(document["history"])
