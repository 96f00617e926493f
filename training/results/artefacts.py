"""What a finished run leaves behind, written so that half of it can never be taken for all of it.

The ranks leave models and predictions in a local folder, and an `Outcome` beside it: all else that is worth telling.
Whoever started them may add scores that need the account, then writes the reports and publishes: everything is copied
file by file, and `run.json`, which lists every file with its hash, last. A run without `run.json` does not exist.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.files import RUN_MANIFEST, copy_anew, describe, write_json
from training.history import History
from training.progress import elapsed
from training.results.model_card import model_card
from training.results.outcome import Outcome
from training.scoring.metrics import Prediction

PREDICTIONS = "predictions.jsonl"
LIBRARIES = ("torch", "transformers", "peft", "deepspeed", "tokenizers")


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
    copy_anew(folder, target, files, RUN_MANIFEST)
    document = {
        "version": 1,
        "run": config.run.id,
        "job": config.run.job,
        "attempts": history.attempts,
        "base": {"id": outcome.base_id or config.base.name, "sha256": outcome.base_sha256},
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
