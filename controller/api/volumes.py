"""Volumes of a service or job: part of its specification.

Source: docs.snowflake.com, developer-guide/snowpark-container-services/ specification-reference, block-storage-volume,
snowflake-stage-volume.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import Model, Ref
from controller.api.parts import AbsolutePath, Memory, PartName, Resources

BLOCK_VOLUMES = 3
"""At most so many block volumes in a service."""

_WHOLE_GIB = re.compile(r"[1-9]\d*Gi")


class VolumeMount(Model):
    name: PartName = Field(description="A volume of the specification.")
    mount_path: AbsolutePath


class StageConfig(Model):
    name: Annotated[str, Ref("Stage", path=True), Field(pattern=r"^@[^/]+(/.*)?$")] = Field(
        description='A stage, as SQL writes it: `"@db.schema.stage/folder"`; one of the project is waited for.'
    )
    metadata_cache: str | None = Field(
        default=None,
        pattern=r"^(\d+h(\d+m)?(\d+s)?|\d+m(\d+s)?|\d+s)$",
        description="How long listings are kept: `1h30m`; none when not set.",
    )
    resources: Resources | None = Field(default=None, description="For the mount's own sidecar.")


class InitialContents(Model):
    from_snapshot: str = Field(description="A snapshot of a volume, `db.schema.snapshot`.")


class BlockConfig(Model):
    """Size, iops, throughput and encryption cannot be changed later."""

    initial_contents: InitialContents | None = None
    iops: int | None = Field(default=None, ge=1)
    throughput: int | None = Field(default=None, ge=1, description="MiB per second.")
    encryption: Literal["SNOWFLAKE_SSE", "SNOWFLAKE_FULL"] | None = None
    snapshot_on_delete: bool | None = Field(default=None, description="Whether dropping the service leaves a snapshot; true when not set.")
    snapshot_delete_after: str | None = Field(
        default=None, pattern=r"^[1-9]\d*[hd]$", description="How long that snapshot is kept: `48h`; `7d` when not set."
    )


class Volume(Model):
    renamed: ClassVar[Mapping[str, str]] = {"stage": "source: stage with stageConfig: {name: '@…'}"}

    name: PartName
    source: Literal["local", "memory", "block", "stage"]
    size: Memory | None = Field(default=None, description="For memory and block; of a block volume a whole number of `Gi`.")
    uid: int | None = Field(default=None, ge=0, description="Owner of the files, for stage and block.")
    gid: int | None = Field(default=None, ge=0, description="Group of the files, for stage and block.")
    stage_config: StageConfig | None = Field(default=None, description="For source stage.")
    block_config: BlockConfig | None = Field(default=None, description="For source block.")

    @model_validator(mode="after")
    def _what_the_source_needs(self) -> Self:
        if (self.source == "stage") != (self.stage_config is not None):
            raise ValueError("stageConfig is needed for source stage, and only there")
        if (self.source in ("memory", "block")) != (self.size is not None):
            raise ValueError("size is needed for sources memory and block, and only there")
        if self.block_config is not None and self.source != "block":
            raise ValueError("blockConfig goes with source block only")
        if self.source == "block" and not _WHOLE_GIB.fullmatch(str(self.size)):
            raise ValueError(f"size of a block volume is a whole number of Gi, such as 10Gi; found {self.size}")
        if (self.uid, self.gid) != (None, None) and self.source not in ("stage", "block"):
            raise ValueError("uid and gid go with sources stage and block only")
        return self
