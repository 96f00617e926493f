"""What a finished run leaves behind, written so that half of it can never be taken for all of it.

The ranks leave models and predictions in a local folder, and an `Outcome` beside it: all else that is worth telling.
Whoever started them may add scores that need the account, then writes the reports and publishes: everything is copied
file by file, and `run.json`, which lists every file with its hash, last. A run without `run.json` does not exist.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.files import RUN_MANIFEST, copy_files, describe, write_json
from training.history import History
from training.progress import elapsed
from training.results.model_card import model_card
from training.scoring.metrics import Prediction

FOLDER = "artefacts"  # below the work folder
OUTCOME = "result.json"  # beside it: not there means that the ranks did not finish
PREDICTIONS = "predictions.jsonl"
LIBRARIES = ("torch", "transformers", "peft", "deepspeed", "tokenizers")


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


def write_reports(folder: Path, config: TrainingConfig, outcome: Outcome, history: History) -> None:
    """metrics.json, loss.svg, loss.png and the model card."""
    document = history.document()
    scores = metrics(config, outcome)
    write_json(
        folder / "metrics.json", {**scores, "phaseSeconds": outcome.phase_seconds, "steps": document["steps"], "evals": document["evals"]}
    )
    plot_loss(folder, history)
    (folder / "README.md").write_text(model_card(config, outcome, history, versions()), encoding="utf-8")


def metrics(config: TrainingConfig, outcome: Outcome) -> dict[str, Any]:
    """The scores as metrics.json and run.json have them."""
    return {"base": outcome.base, "tuned": outcome.tuned, "perSeed": {str(config.training.seed): outcome.tuned}}


def versions() -> dict[str, str]:
    """Of Python and of the libraries that shape the result."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}}


def plot_loss(folder: Path, history: History) -> None:
    """The loss per step, and that of held-out rows where it was looked at, as loss.svg and loss.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    losses = [record.loss for record in history.steps]
    axes.plot(range(1, len(losses) + 1), losses, marker="." if len(losses) < 100 else "", label="training rows")
    looks = [record for record in history.evals if "loss" in record.scores]
    if looks:
        axes.plot([record.steps for record in looks], [record.scores["loss"] for record in looks], marker="o", label="held-out rows")
        axes.legend()
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss per answer token (nats)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    for name in ("loss.svg", "loss.png"):
        figure.savefig(folder / name, dpi=120)
    pyplot.close(figure)


def publish(folder: Path, target: Path, config: TrainingConfig, outcome: Outcome, history: History) -> dict[str, Any]:
    """Copy the finished folder to the output folder, `run.json` last. Returns that document."""
    files = describe(folder)
    copy_files(folder, target, files)
    document = {
        "version": 1,
        "run": config.run.id,
        "job": config.run.job,
        "attempts": history.attempts,
        "base": {"id": outcome.base_id or config.base.hugging_face or config.base.path, "sha256": outcome.base_sha256},
        "dataset": {
            "table": config.data.table,
            "rows": outcome.used_rows,
            "fingerprint": outcome.fingerprint,
            "splits": outcome.splits,
        },
        "config": config.document(),
        "metrics": metrics(config, outcome),
        "steps": len(history.steps),
        "bestStep": outcome.best_step,
        "tokens": sum(record.tokens for record in history.steps),
        "elapsedSeconds": elapsed(),
        "seconds": round(sum(outcome.phase_seconds.values()), 1),
        "device": outcome.device,
        "versions": versions(),
        "problems": list(outcome.problems),
        "files": [entry.document() for entry in files],
        "finishedAt": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(target / RUN_MANIFEST, document)
    return document


def write_predictions(folder: Path, base: Sequence[Prediction], tuned: Sequence[Prediction]) -> None:
    """predictions.jsonl: for every row what was asked and wanted, and what each model answered. No file without answers."""
    folder.mkdir(parents=True, exist_ok=True)
    if not tuned:
        return
    with (folder / PREDICTIONS).open("w", encoding="utf-8") as stream:
        for before, after in zip(base, tuned, strict=True):
            line = {
                "row": after.row_id,
                "question": after.question,
                "expected": after.expected,
                "base": {"answer": before.answer, "scores": before.scores},
                "tuned": {"answer": after.answer, "scores": after.scores},
            }
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
