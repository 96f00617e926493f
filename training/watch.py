"""Looks at held-out rows while the model trains, and says when it has learned enough.

Without it a run trains its steps to the end. With `evaluation.everySteps` it scores the held-out rows now and then;
with `earlyStopping` it ends the training once the score has not become better for some looks in a row. Every decision
is a pure function of the history, so a resumed run decides as an unbroken one; a look draws no random number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from training.config import LOWER_IS_BETTER, EarlyStopping, Evaluation
from training.errors import BadInputError
from training.history import EvalRecord, History


class Watch:
    """`score` gives the scores of the model as it is now (all ranks must take part); `tell` is called with each look.

    `keep_best` is `TrainingConfig.keeps_best`.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        steps: int,
        keep_best: bool,
        score: Callable[[], dict[str, float]],
        tell: Callable[[EvalRecord], None],
    ) -> None:
        self.every = evaluation.every_steps
        self.early = evaluation.early_stopping
        self.metric = evaluation.best_by
        self.keep_best = keep_best
        self.steps = steps
        self.score = score
        self.tell = tell

    def due(self, done: int) -> bool:
        """Whether the held-out rows are looked at after `done` steps: every so often, and at the end."""
        return self.every is not None and (done % self.every == 0 or done == self.steps)

    def look(self, history: History) -> bool:
        """Score the held-out rows when it is time. True when the model is the best so far, and worth keeping for it."""
        done = history.next_step
        if not self.due(done):
            return False
        started = time.monotonic()
        record = EvalRecord(done, self.score(), round(time.monotonic() - started, 2))
        if not all(map(math.isfinite, record.scores.values())):
            raise BadInputError(
                f"the scores on held-out rows are no numbers after step {done} of {self.steps} ({record.scores}); "
                "lower training.learningRate, or use dtype: float32"
            )
        history.evals.append(record)
        self.tell(record)
        return self.keep_best and history.best(self.metric) is record

    def kept(self, history: History) -> int | None:
        """Steps after which the model was best, where early stopping asks for that one instead of the last."""
        best = history.best(self.metric) if self.early is not None else None
        return best.steps if best is not None and best.steps != history.next_step else None

    def enough(self, history: History) -> bool:
        """Whether training should end now, before its last step."""
        return self.early is not None and waited(history.evals, self.early) >= self.early.patience


def waited(evals: Sequence[EvalRecord], early: EarlyStopping) -> int:
    """How many looks in a row, up to the last one, were no better than the best before by more than `minDelta`."""
    sign = 1 if early.metric in LOWER_IS_BETTER else -1
    best, count = math.inf, 0
    for record in evals:
        value = sign * record.scores[early.metric]
        if value < best - early.min_delta:
            best, count = value, 0
        else:
            count += 1
    return count
