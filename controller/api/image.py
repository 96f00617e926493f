"""Image repositories, and the images that are built into them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import LocalPath, Manifest, Ref, Scope, Spec


class ImageRepositorySpec(Spec):
    encryption: Literal["SNOWFLAKE_FULL", "SNOWFLAKE_SSE"] = Field(default="SNOWFLAKE_FULL", description="Cannot be changed later.")
    comment: str | None = None


class ImageRepository(Manifest):
    """A registry within the account. Dropping it drops all images inside."""

    kind: Literal["ImageRepository"]
    spec: ImageRepositorySpec = ImageRepositorySpec()
    scope: ClassVar[Scope] = Scope.SCHEMA
    holds_data: ClassVar[bool] = True
    bare_name: ClassVar[bool] = True


class ImageSpec(Spec):
    repository: Annotated[str, Ref("ImageRepository")] = Field(description="Where it is pushed to.")
    builtin: Literal["controller", "trainer", "server", "workspace"] | None = Field(
        default=None, description="One of the images that Snowcat ships."
    )
    context: Annotated[str | None, LocalPath()] = Field(default=None, description="Folder of the build, relative to the manifest.")
    dockerfile: str | None = Field(default=None, description="Relative to the context; `Dockerfile` when not set.")
    target: str | None = Field(default=None, description="Stage of a multi-stage Dockerfile.")
    build_args: dict[str, str] = Field(default={}, description="Values for ARG. They are kept in the image: never put a secret here.")
    platform: Literal["linux/amd64", "linux/arm64"] = Field(default="linux/amd64", description="arm64 is for the GEN_ARM families only.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.builtin is None) == (self.context is None):
            raise ValueError("exactly one of builtin and context is needed")
        if self.builtin is not None and (self.dockerfile is not None or self.target is not None):
            raise ValueError("dockerfile and target go with context, not with builtin")
        return self


class Image(Manifest):
    """An image, tagged by a hash over all that goes into it: a changed file is a new image, and an equal one is not built twice."""

    kind: Literal["Image"]
    spec: ImageSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
    bare_name: ClassVar[bool] = True
