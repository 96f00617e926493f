"""What becomes of a finished run: its answers as a table, scores by SQL, and the folder on the stage, in this order.

The folder is what counts: when the table cannot be written after some tries, the run is published nevertheless, and
says so.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from snowflake.connector.errors import Error

from container.account import AccessError
from container.predictions import Predictions
from training.config import TrainingConfig
from training.errors import TrainingError
from training.files import ARTEFACTS
from training.progress import Progress, report
from training.results import artefacts
from training.results.outcome import Outcome, take
from training.results.tracker import tell_scores

_TRIES = 3
_PAUSE = 2.0  # seconds


def prepare(config: TrainingConfig) -> None:
    """Try everything that will be needed at the end. Raises BadInputError, and AccessError when the account ends the session twice."""
    predictions = Predictions(config)
    if not predictions.wanted:
        return
    report(Progress("data", message="trying the table of predictions and the scores by SQL"))
    try:
        predictions.check()
    except AccessError as error:
        report(Progress("data", message=f"{error}; trying them again"))
        predictions.check()


def finish(config: TrainingConfig, work: Path, output: Path) -> None:
    """Publish what the ranks of this node left in `work`; nothing where another node's rank 0 has it.

    Raises TrainingError (to be tried again) when the stage does not take the folder.
    """
    taken = take(work)
    if taken is None:
        return
    outcome, history = taken
    folder = work / ARTEFACTS
    outcome = _with_answers(config, outcome, folder / artefacts.PREDICTIONS)
    report(Progress("save", message=f"writing the run's folder {config.output.path}"))
    artefacts.write_reports(folder, config, outcome, history)
    try:
        artefacts.publish(folder, output, config, outcome, history)
    except OSError as error:
        raise TrainingError(
            f"the run's folder {config.output.path} cannot be written: {error}; make room on the stage. The next attempt goes on from the "
            "last checkpoint, nothing is trained twice"
        ) from error
    tell_scores(config, history.next_step, outcome.base, outcome.tuned, lambda text: report(Progress("save", message=text)))
    scores = {f"base_{name}": value for name, value in outcome.base.items()}
    scores |= {f"tuned_{name}": value for name, value in outcome.tuned.items()}
    report(Progress("done", metrics=scores, message="; ".join([f"the run is in {config.output.path}", *outcome.problems])))


def _with_answers(config: TrainingConfig, outcome: Outcome, answers: Path) -> Outcome:
    predictions = Predictions(config)
    if not predictions.wanted or not answers.is_file():
        return outcome
    report(Progress("save", message="writing the table of predictions and asking for the scores by SQL"))
    said = ""
    for attempt in range(_TRIES):
        time.sleep(_PAUSE * attempt)
        try:
            base, tuned, missing = predictions.write(answers)
        except (Error, TrainingError) as error:
            said = str(error)
            report(Progress("save", message=f"the table of predictions was not written: {said}"))
        else:
            problems = [f"no score {name}" for name in missing]
            return replace(outcome, base=outcome.base | base, tuned=outcome.tuned | tuned, problems=tuple(problems))
    return replace(outcome, problems=(f"the table of predictions was not written: {said}",))
