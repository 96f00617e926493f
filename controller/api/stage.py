"""An internal stage, and files that are kept on it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.api.base import LocalPath, Manifest, Model, Scope, Spec


class StageFiles(Model):
    """Files of the repository that are kept on the stage."""

    from_: Annotated[str, LocalPath(glob=True)] = Field(
        alias="from", description="A file, a folder or a pattern, relative to the manifest and within the project."
    )
    to: str = Field(default="", description="Folder on the stage; its root when empty.")


class StageSpec(Spec):
    encryption: Literal["SNOWFLAKE_SSE", "SNOWFLAKE_FULL"] = Field(default="SNOWFLAKE_SSE", description="Cannot be changed later.")
    directory: bool = Field(default=True, description="Whether it has a directory table.")
    files: list[StageFiles] = Field(
        default=[],
        description="Files to upload, again when they change. One that is taken out of the list or the repository stays on the stage.",
    )
    comment: str | None = None


class Stage(Manifest):
    """An internal stage."""

    kind: Literal["Stage"]
    spec: StageSpec = StageSpec()
    scope: ClassVar[Scope] = Scope.SCHEMA
    holds_data: ClassVar[bool] = True
