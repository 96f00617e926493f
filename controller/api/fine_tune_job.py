"""A fine-tune of a base model on a dataset. What concerns the training itself is the job's own configuration, taken over as it is."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.api.base import Manifest, Model, Ref, Scope, Spec
from controller.api.parts import Environment, ImageName, Priority, Resources
from training.config import Checkpoint, Columns, DeepSpeed, Evaluation, Lora, Method, Prompt, Training

__all__ = ["FineTuneJob", "FineTuneJobSpec", "JobData", "JobOutput", "Prompt", "Retry"]


class JobData(Model):
    """Which of the dataset's rows and columns are used."""

    columns: Columns = Field(default=Columns(), description="Names of the columns that the prompt reads.")
    max_rows: int | None = Field(default=None, ge=1, description="Train on at most this many rows.")
    seed: int = Field(default=0, ge=0, description="Which rows are taken when maxRows is smaller than the data.")


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
    dataset: Annotated[str, Ref("Dataset")] = Field(description="What it is tuned on.")
    data: JobData = JobData()
    prompt: Prompt = Prompt()
    method: Method = Method(lora=Lora())
    deepspeed: DeepSpeed = DeepSpeed()
    training: Training = Training()
    checkpoint: Checkpoint = Checkpoint()
    evaluation: Evaluation = Evaluation()
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


class FineTuneJob(Manifest):
    """A fine-tune. The same base model, rows and configuration are the same run, and nothing is trained twice."""

    kind: Literal["FineTuneJob"]
    spec: FineTuneJobSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
    bare_name: ClassVar[bool] = True
    uses_warehouse: ClassVar[bool] = True
