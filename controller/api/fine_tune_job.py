"""A fine-tune of a base model on a dataset. What concerns the training itself is the job's own configuration, taken over as it is."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic import Field, model_validator

from controller.api.base import Manifest, Model, Ref, Scope, Spec
from controller.api.faults import DerivedFault, Faults, FieldFault, Path
from controller.api.parts import Environment, ImageName, Priority, Resources
from controller.api.sweep import Sweep, applied
from training.config import (
    Checkpoint,
    Columns,
    DeepSpeed,
    Evaluation,
    Lora,
    Method,
    Predictions,
    Prompt,
    Shares,
    TooLong,
    Tracker,
    Training,
    check_parts,
)

__all__ = ["FineTuneJob", "FineTuneJobSpec", "JobData", "JobOutput", "Prompt", "Retry", "StageFile", "Sweep"]


class StageFile(Model):
    """A file on a stage, read in the job."""

    stage: Annotated[str, Ref("Stage")]
    path: str = Field(min_length=1, description="The file within the stage: .jsonl, .csv (with a header) or .parquet.")


class JobData(Model):
    """Which rows and columns are used. Rows that are no `dataset` come from one of `table`, `query`, `file`."""

    table: str | None = Field(
        default=None,
        min_length=1,
        description="`database.schema.table`, in place of `dataset`. Its rows are not watched: new rows alone do not start a new run.",
    )
    query: str | None = Field(
        default=None, min_length=1, description="A SELECT that returns the columns, in place of `dataset`; not watched either."
    )
    file: StageFile | None = Field(
        default=None, description="In place of `dataset`; another file under the same name does not start a new run."
    )
    columns: Columns = Field(default=Columns(), description="Names of the columns that the prompt reads.")
    max_rows: int | None = Field(default=None, ge=1, description="Train on at most this many rows.")
    seed: int = Field(default=0, ge=0, description="Which rows are taken when maxRows is smaller than the data.")
    shares: Shares = Field(default=Shares(), description="For rows that have no split column.")
    too_long: TooLong = Field(
        default="drop",
        description=(
            "Rows with more than training.maxLength tokens, always counted. `drop`: left out. `truncate`: tokens are taken out of the "
            "middle of the question, so that its beginning and the answer stay. `split`: cut into rows of that length."
        ),
    )


class Retry(Model):
    limit: int = Field(default=3, ge=0, description="How many times a failed job is started again.")


class JobOutput(Model):
    stage: Annotated[str, Ref("Stage")] = Field(description="Artefacts go to `@stage/<job>/<run>/`.")
    merged: bool = Field(default=True, description="Write the whole tuned model, which a deployment serves.")
    adapter: bool = Field(default=True, description="Write the adapter by itself (LoRA only).")


class FineTuneJobSpec(Spec):
    compute_pool: Annotated[str, Ref("ComputePool")] = Field(description="Where it runs.")
    image: ImageName = Field(description="The trainer's image.")
    model: Annotated[str, Ref("BaseModel")] = Field(description="What is tuned.")
    dataset: Annotated[str | None, Ref("Dataset")] = Field(
        default=None, description="What it is tuned on; or one of data.table, data.query, data.file."
    )
    data: JobData = JobData()
    prompt: Prompt = Prompt()
    method: Method = Method(lora=Lora())
    deepspeed: DeepSpeed = DeepSpeed()
    training: Training = Training()
    checkpoint: Checkpoint = Checkpoint()
    evaluation: Evaluation = Evaluation()
    predictions: Predictions | None = Field(default=None, description="A table for the answers of both models.")
    tracker: Tracker | None = Field(default=None, description="Where else progress is told.")
    tracker_secret: Annotated[str | None, Ref("Secret")] = Field(default=None, description="Secret with the tracker's token.")
    sweep: Sweep | None = Field(default=None, description="Several runs, of which the best is the job's result.")
    probe: bool = Field(
        default=False,
        description=(
            "Measure first: a short job runs two micro-steps of two lengths on one of the real nodes. From then on plans of the same "
            "model, method and family rest on what it measured."
        ),
    )
    output: JobOutput = Field(description="Where the artefacts go.")
    replicas: int = Field(default=1, ge=1, description="Nodes that train together.")
    processes: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default="auto", description="Ranks on a node; auto: one for each GPU, else one."
    )
    retry: Retry = Retry()
    rerun_on: list[Literal["image"]] = Field(
        default=[], description="`image`: train again when the trainer's image changes; else that is only reported."
    )
    priority: Priority = 0
    resources: Resources | None = None
    env: Environment = Field(default={}, description="More environment variables.")
    external_access: list[Annotated[str, Ref("ExternalAccessIntegration")]] = Field(default=[], description="Ways out of the account.")
    warehouse: Annotated[str | None, Ref("Warehouse")] = Field(
        default=None, description="For reading the rows; the project's when not set."
    )

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        given = {"dataset": self.dataset, "data.table": self.data.table, "data.query": self.data.query, "data.file": self.data.file}
        named = [name for name, value in given.items() if value is not None]
        if len(named) != 1:
            raise ValueError(f"the rows come from exactly one of {', '.join(given)}; found {' and '.join(named) or 'none'}")
        check_parts(self.prompt, self.evaluation, self.predictions)
        if self.tracker_secret is not None and self.tracker is None:
            raise ValueError("trackerSecret goes with tracker")
        return self

    @model_validator(mode="after")
    def _every_run_is_valid(self) -> Self:
        if self.sweep is None:
            return self
        scores = ("loss", *self.evaluation.metrics, *(score.name for score in self.evaluation.sql))
        metric = self.sweep.metric
        if metric not in scores:
            raise Faults(FieldFault(("sweep", "metric"), f"{metric!r} is none of {', '.join(scores)}", metric, scores))
        self.variants()
        return self

    def variants(self) -> list[tuple[dict[str, Any], FineTuneJobSpec]]:
        """The runs of a sweep: what each sets, and its own spec without the sweep; without a sweep the one run.

        Raises:
            Faults: values that the fields do not take, of all runs.
        """
        if self.sweep is None:
            return [({}, self)]
        own = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"sweep"})
        made: list[tuple[dict[str, Any], FineTuneJobSpec]] = []
        wrong: list[FieldFault | DerivedFault] = []
        for run in self.sweep.settings:
            try:
                document = applied(own, run)
                made.append((run.values, FineTuneJobSpec.model_validate(document)))
            except pydantic.ValidationError as error:
                sources: dict[Path, Path] = {tuple(path.split(".")): ("sweep", *place) for path, place in run.places.items()}
                wrong.append(DerivedFault(FineTuneJobSpec, document, error, sources, ("sweep", *run.whole), self.sweep.told(run.values)))
            except Faults as error:
                wrong += error.faults
        if wrong:
            raise Faults(*dict.fromkeys(wrong))
        return made


class FineTuneJob(Manifest):
    """A fine-tune. The same base model, rows and configuration are the same run, and nothing is trained twice."""

    kind: Literal["FineTuneJob"]
    spec: FineTuneJobSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
    bare_name: ClassVar[bool] = True
    uses_warehouse: ClassVar[bool] = True
