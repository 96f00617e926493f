"""What a finished run leaves behind, written so that half of it can never be taken for all of it.

Everything is made in a local folder first. `publish` copies it file by file and writes `run.json`, which lists every
file with its hash, last. A run without `run.json` does not exist.
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

from training.checkpoints import History
from training.config import TrainingConfig
from training.evaluate import Scores
from training.files import RUN_MANIFEST, copy_files, describe, write_json
from training.model import BaseIdentity

LIBRARIES = ("torch", "transformers", "peft", "deepspeed", "tokenizers")


@dataclass(frozen=True)
class Outcome:
    """All that is worth telling about a finished run."""

    config: TrainingConfig
    base: BaseIdentity
    fingerprint: str
    splits: dict[str, int]
    used_rows: int
    too_long: int
    eval_rows: int
    history: History
    base_scores: Scores
    tuned_scores: Scores
    parameters: int
    trained_parameters: int
    zero: str
    device: str
    dtype: str
    world: int
    phase_seconds: dict[str, float]

    @property
    def metrics(self) -> dict[str, Any]:
        """Scores of base and tuned model on the same rows."""
        tuned = self.tuned_scores.means
        return {"base": self.base_scores.means, "tuned": tuned, "perSeed": {str(self.config.training.seed): tuned}}


def write_reports(folder: Path, outcome: Outcome) -> None:
    """metrics.json, predictions.jsonl, loss.svg, loss.png and the model card."""
    steps = [asdict(record) for record in outcome.history.steps]
    write_json(folder / "metrics.json", {**outcome.metrics, "phaseSeconds": outcome.phase_seconds, "steps": steps})
    with (folder / "predictions.jsonl").open("w", encoding="utf-8") as stream:
        pairs = zip(outcome.base_scores.predictions, outcome.tuned_scores.predictions, strict=True)
        for base, tuned in pairs:
            line = {
                "row": base.row_id,
                "expected": base.expected,
                "base": {"answer": base.answer, "scores": base.scores},
                "tuned": {"answer": tuned.answer, "scores": tuned.scores},
            }
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    plot_loss(folder, [record.loss for record in outcome.history.steps])
    (folder / "README.md").write_text(model_card(outcome), encoding="utf-8")


def plot_loss(folder: Path, losses: Sequence[float]) -> None:
    """The loss per step as loss.svg and loss.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot(range(1, len(losses) + 1), losses, marker="." if len(losses) < 100 else "")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss per answer token (nats)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    for name in ("loss.svg", "loss.png"):
        figure.savefig(folder / name, dpi=120)
    pyplot.close(figure)


def model_card(outcome: Outcome) -> str:
    """README.md of the run."""
    config = outcome.config
    names = list(outcome.tuned_scores.means)
    table = "\n".join(f"| {name} | {outcome.base_scores.means[name]:.3f} | {outcome.tuned_scores.means[name]:.3f} |" for name in names)
    method = "all weights" if config.method.lora is None else "LoRA " + json.dumps(config.method.lora.document())
    losses = [record.loss for record in outcome.history.steps]
    dropped = f", {outcome.too_long} longer ones left out" if outcome.too_long else ""
    return f"""# {config.run.job}, run {config.run.id}

Fine-tuned by Snowcat on {config.data.table or "the rows of a query or file"}.

| score on {outcome.eval_rows} held-out rows | base | tuned |
|---|---|---|
{table}

One run with seed {config.training.seed}: another seed moves these scores by several points. Held-out rows are rows
that training did not see; names in them may well have been seen.

- Base model: `{outcome.base.id or config.base.path}`, sha256 `{outcome.base.sha256 or "not recorded"}`
- Data: {outcome.used_rows} rows trained on{dropped}; splits {json.dumps(outcome.splits)}; fingerprint of the rows used
  `{outcome.fingerprint}`
- Method: {method}; {outcome.trained_parameters:,} of {outcome.parameters:,} parameters
- Prompt: template `{config.prompt.template[:60]}`, loss on {config.prompt.loss}
- Steps: {len(losses)}, loss {losses[0]:.3f} → {losses[-1]:.3f}; learning rate {config.training.learning_rate:g},
  {config.training.schedule}
- Engine: DeepSpeed ZeRO {outcome.zero}, {outcome.world} rank(s) on {outcome.device}, {outcome.dtype}
- Seconds: {json.dumps(outcome.phase_seconds)}

`merged/` is the whole model, ready to serve; `adapter/` is the adapter by itself; `predictions.jsonl` holds every answer.
"""


def publish(folder: Path, target: Path, outcome: Outcome) -> dict[str, Any]:
    """Copy the finished folder to the output folder, `run.json` last. Returns that document."""
    files = describe(folder)
    copy_files(folder, target, files)
    document = run_document(outcome)
    document["files"] = [entry.document() for entry in files]
    document["finishedAt"] = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(target / RUN_MANIFEST, document)
    return document


def run_document(outcome: Outcome) -> dict[str, Any]:
    """`run.json` without its list of files."""
    config, steps = outcome.config, outcome.history.steps
    return {
        "version": 1,
        "run": config.run.id,
        "job": config.run.job,
        "attempts": outcome.history.attempts,
        "base": {"id": outcome.base.id or config.base.hugging_face or config.base.path, "sha256": outcome.base.sha256},
        "dataset": {
            "table": config.data.table,
            "rows": outcome.used_rows,
            "fingerprint": outcome.fingerprint,
            "splits": outcome.splits,
        },
        "config": config.document(),
        "metrics": outcome.metrics,
        "steps": len(steps),
        "tokens": sum(record.tokens for record in steps),
        "seconds": round(sum(outcome.phase_seconds.values()), 1),
        "device": outcome.device,
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}},
    }
