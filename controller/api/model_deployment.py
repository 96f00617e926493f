"""A model as a service with SQL functions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, cast

from pydantic import BeforeValidator, Field, model_validator

from controller.api.base import Manifest, Model, Ref, Scope, Spec
from controller.api.parts import Environment, ImageName, Instances, Name, Preemptible, Priority, Resources
from training.config import BUILT_IN, LOWER_IS_BETTER, Prompt


class DeployedModel(Model):
    """What is served: exactly one of these. A plain name is a BaseModel."""

    base: Annotated[str | None, Ref("BaseModel")] = None
    from_job: Annotated[str | None, Ref("FineTuneJob")] = Field(default=None, description="The last finished run of a fine-tune.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.base is None) == (self.from_job is None):
            raise ValueError("exactly one of base and fromJob is needed")
        return self


def _plain_name(value: object) -> object:
    return {"base": value} if isinstance(value, str) else value


class MetricGate(Model):
    metric: str = Field(description="A score of the job: `loss`, one of its evaluation.metrics or the name of one of its evaluation.sql.")
    at_least: float | None = Field(default=None, description="Smallest score that is served.")
    at_most: float | None = Field(default=None, description="Largest score that is served, for loss and perplexity.")

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("exactly one of atLeast and atMost is needed")
        lower = self.metric in LOWER_IS_BETTER
        if self.metric in BUILT_IN + LOWER_IS_BETTER and lower != (self.at_most is not None):
            raise ValueError(f"{self.metric} is better when it is {'lower: use atMost' if lower else 'higher: use atLeast'}")
        return self

    @property
    def asks(self) -> str:
        """`at least 0.6`."""
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"

    def passes(self, score: float) -> bool:
        """Whether a run with this score may be served."""
        return score >= self.at_least if self.at_least is not None else score <= cast(float, self.at_most)


class Promote(Model):
    when: MetricGate = Field(description="A run that does not reach this stays back; the last one that did is served on.")


class SqlFunction(Model):
    name: Name = Field(description="`<name>(prompt)` gives the answer, `<name>_detail(prompt)` an object with more.")
    max_batch_rows: int = Field(default=100, ge=1, description="Rows that Snowflake sends at once.")


class ModelDeploymentSpec(Spec):
    model: Annotated[DeployedModel, BeforeValidator(_plain_name, json_schema_input_type=DeployedModel | str)] = Field(
        description="`{fromJob: …}`, `{base: …}`, or the plain name of a BaseModel."
    )
    promote: Promote | None = Field(default=None, description="Only for `fromJob`.")
    engine: Literal["auto", "vllm", "transformers"] = Field(default="auto", description="auto: vllm on a GPU family, else transformers.")
    compute_pool: Annotated[str, Ref("ComputePool")] = Field(description="Where it runs.")
    image: ImageName = Field(description="The server's image.")
    instances: Instances = Instances()
    priority: Priority = 0
    preemptible: Preemptible = False
    function: SqlFunction = Field(description="The SQL functions in front of it.")
    prompt: Prompt | None = Field(default=None, description="How a bare prompt becomes the model's input; the job's own for `fromJob`.")
    max_new_tokens: int | None = Field(default=None, ge=1, description="Longest answer.")
    public: bool = Field(default=True, description="Whether the HTTP endpoint has a URL outside the account.")
    usage: list[Annotated[str, Ref("Role")]] = Field(default=[], description="Roles that may call the functions and the endpoint.")
    resources: Resources | None = None
    env: Environment = Field(default={}, description="More environment variables.")
    external_access: list[Annotated[str, Ref("ExternalAccessIntegration")]] = Field(default=[], description="Ways out of the account.")

    @model_validator(mode="after")
    def _gate_needs_a_job(self) -> Self:
        if self.promote is not None and self.model.from_job is None:
            raise ValueError("promote goes with model.fromJob: a base model has no metrics")
        return self


class ModelDeployment(Manifest):
    """A base or fine-tuned model as a service, with two SQL functions and an OpenAI-compatible endpoint."""

    kind: Literal["ModelDeployment"]
    spec: ModelDeploymentSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
    bare_name: ClassVar[bool] = True
    uses_warehouse: ClassVar[bool] = True
    seen_beside: ClassVar[tuple[str, ...]] = ("imageDigest", "suspended", "comment")
