"""What becomes of a finished run: scores by SQL, the table of predictions, and the folder on the stage, in this order."""

from __future__ import annotations

from pathlib import Path

from training import artefacts
from training.config import TrainingConfig
from training.progress import Progress, report


def finish(config: TrainingConfig, work: Path, output: Path) -> None:
    """Publish what the ranks of this node left in `work`; nothing where another node's rank 0 has it."""
    taken = artefacts.take(work)
    if taken is None:
        return
    outcome, history = taken
    folder = work / artefacts.FOLDER
    report(Progress("save", message=f"writing the run's folder {config.output.path}"))
    artefacts.write_reports(folder, config, outcome, history)
    artefacts.publish(folder, output, config, outcome, history)
    scores = {f"base_{name}": value for name, value in outcome.base.items()}
    scores |= {f"tuned_{name}": value for name, value in outcome.tuned.items()}
    report(Progress("done", metrics=scores, message=f"the run is in {config.output.path}"))
