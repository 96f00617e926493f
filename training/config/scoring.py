"""How base and tuned model are compared, and where answers and scores are shown."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from training.config.section import Positive, Section, later

Metric = Literal["valid_json", "exact_match", "field_f1", "rouge_l", "perplexity"]
BUILT_IN: tuple[str, ...] = get_args(Metric)
PREDICTIONS_PLACE = "{{predictions}}"
LOWER_IS_BETTER = ("loss", "perplexity")


class SqlMetric(Section):
    """A score of your own, computed by SQL over the predictions."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the score.")
    query: str = Field(
        min_length=1,
        description=(
            "A SELECT that returns one number. `{{predictions}}` stands for the answers of one model, with the columns ROW_ID, QUESTION, "
            "EXPECTED, ANSWER and SCORES (an object); it is asked once for the base model and once for the tuned one."
        ),
    )

    @model_validator(mode="after")
    def _reads_the_answers(self) -> Self:
        if PREDICTIONS_PLACE not in self.query:
            raise ValueError(f"the query of {self.name} does not read {PREDICTIONS_PLACE}")
        return self


class EarlyStopping(Section):
    """Stop when a score has not become better for some time, and take the weights that were best."""

    metric: str = Field(default="loss", description="`loss` (of the eval rows) or one of evaluation.metrics.")
    patience: Positive = Field(default=3, description="Evaluations without improvement.")
    min_delta: float = Field(default=0.0, ge=0, description="Smallest change that counts as an improvement.")


class Evaluation(Section):
    """How base and tuned model are compared, by greedy generation on the same rows of the eval split."""

    metrics: Annotated[list[Metric], Field(min_length=1)] = Field(
        default=["valid_json", "exact_match", "field_f1"],
        description=(
            "The scores, each from 0 to 1 and the mean over the rows. `valid_json`: the answer is a JSON object (where the wanted one is "
            "none: it is not empty). `exact_match`: the share of the wanted answer's plain fields, such as a location, that the answer has "
            "right (where it is no JSON object: the whole text is the same). `field_f1`: how well the items of its list fields agree, "
            "counting what is missing and what is too much (where it is no JSON object: the words). Case and outer spaces never count. "
            "`rouge_l`: F1 over the longest common subsequence of words. `perplexity` (1 or more, lower is better): how surprised the "
            "model is by the wanted answers."
        ),
    )
    rows: Positive = Field(default=32, description="Rows of the eval split that are scored.")
    max_new_tokens: Literal["auto"] | Positive = Field(
        default="auto", description="Longest answer; auto: a quarter more than the longest training answer."
    )
    batch_rows: Positive = Field(default=8, description="Rows generated together on one rank.")
    sql: list[SqlMetric] = later([], description="Scores of your own.")
    every_steps: Positive | None = later(None, description="Look at the loss of the eval rows after every so many steps.")
    early_stopping: EarlyStopping | None = later(None, description="Needs everySteps.")

    @model_validator(mode="after")
    def _scores_are_known(self) -> Self:
        names = [*self.metrics, *(score.name for score in self.sql)]
        if twice := sorted({name for name in names if names.count(name) > 1 or name == "loss"}):
            raise ValueError(f"the score {twice[0]!r} is named twice" if twice[0] != "loss" else "loss is no name for a score")
        if self.early_stopping is not None:
            if self.every_steps is None:
                raise ValueError("earlyStopping needs everySteps: how often to look")
            known = ("loss", *self.metrics)  # scores by SQL are there when the run is over
            if self.early_stopping.metric not in known:
                raise ValueError(f"earlyStopping.metric {self.early_stopping.metric!r} is none of {', '.join(known)}")
        return self

    @property
    def best_by(self) -> str:
        """The score that decides which look found the best model."""
        return self.early_stopping.metric if self.early_stopping is not None else "loss"


class Mlflow(Section):
    """A tracking server to tell of the run."""

    uri: str = Field(
        pattern=r"^https?://[^/@]+(/[^@]*)?$",
        description=(
            "`https://host…` of the server. Credentials never stand here: the trainer takes MLFLOW_TRACKING_TOKEN, or "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, from its environment."
        ),
    )
    experiment: str = Field(min_length=1, description="Name of the experiment.")


class Tracker(Section):
    """Where else progress is told, besides the job's status."""

    mlflow: Mlflow


class Predictions(Section):
    """A table for the answers of both models, so that people can look with SQL."""

    table: str = Field(
        pattern=r'^("([^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)([.]("([^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)){0,2}$',
        description=(
            "Name of the table; made when it is not there. The rows of a run (RUN_ID) hold question, wanted answer, both answers and their "
            "scores; another run adds its own."
        ),
    )
