"""A notebook server in the account."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.api.base import LocalPath, Manifest, Ref, Scope, Spec
from controller.api.parts import Environment, ImageName, Preemptible, Priority, Resources


class WorkspaceSpec(Spec):
    compute_pool: Annotated[str, Ref("ComputePool")] = Field(description="Where it runs.")
    image: ImageName = Field(description="The workspace's image.")
    stage: Annotated[str, Ref("Stage")] = Field(description="Mounted as the folder of notebooks.")
    notebooks: list[Annotated[str, LocalPath(glob=True)]] = Field(
        default=[], description="Notebooks to upload, relative to the manifest; patterns may be used."
    )
    resources: Resources | None = None
    priority: Priority = 0
    preemptible: Preemptible = False
    env: Environment = Field(default={}, description="More environment variables.")
    external_access: list[Annotated[str, Ref("ExternalAccessIntegration")]] = Field(default=[], description="Ways out of the account.")


class Workspace(Manifest):
    """Jupyter as a service, with a stage as its folder."""

    kind: Literal["Workspace"]
    spec: WorkspaceSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
    bare_name: ClassVar[bool] = True
    uses_warehouse: ClassVar[bool] = True
    seen_beside: ClassVar[tuple[str, ...]] = ("imageDigest", "suspended", "comment")
