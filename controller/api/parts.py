"""Small types that several kinds share: names, sizes, durations, and the parts of a container that jobs and services have in common."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from controller.api.base import Model, Ref
from controller.api.names import Identifier

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MEMORY = re.compile(r"\d+(\.\d+)?(Ki|Mi|Gi|Ti|k|M|G|T)")
_CPU = re.compile(r"\d+m|\d+(\.\d+)?")


def _identifier(value: str) -> str:
    Identifier.parse(value)
    return value


def is_name(mark: object) -> bool:
    """Whether a part of an annotation says that a field is a `Name`."""
    return isinstance(mark, AfterValidator) and mark.func is _identifier


def duration(text: str) -> float:
    """Seconds.

    Raises:
        ValueError: it is no length of time.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a duration: write 30s, 5m, 1h or a number of seconds")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def _duration(value: object) -> object:
    return duration(value) if isinstance(value, str) else value


def _memory(value: str) -> str:
    if not _MEMORY.fullmatch(value):
        raise ValueError(f"{value!r} is not an amount of memory: write a number with its unit, such as 512Mi or 4Gi")
    return value


def _cpu(value: object) -> object:
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _CPU.fullmatch(text):
        raise ValueError(f"{value!r} is not an amount of CPU: write 2, 0.5 or 500m")
    return text


def _texts(value: object) -> object:
    """Values of environment variables: YAML's numbers and booleans are written as text, as Snowflake does."""
    if not isinstance(value, dict):
        return value
    return {k: str(v).lower() if isinstance(v, bool) else str(v) if isinstance(v, int | float) else v for k, v in value.items()}


Name = Annotated[str, AfterValidator(_identifier)]
"""A Snowflake identifier that is not a reference to a manifest: the name of a function, a table, a user."""

Seconds = Annotated[float, BeforeValidator(_duration, json_schema_input_type=str | float), Field(ge=0)]
"""A length of time: `30s`, `5m`, `1h`, or a number of seconds."""

PartName = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""Name of a container, endpoint or volume: lower-case letters, digits and '-', at most 63."""

AbsolutePath = Annotated[str, Field(pattern=r"^/")]

Priority = Annotated[
    int, Field(ge=-1000, le=1000, description="Who goes first where a pool has no room for all: the higher; of equal ones who came first.")
]
Preemptible = Annotated[bool, Field(description="May be suspended to make room for what has a higher priority, and is resumed after it.")]

Memory = Annotated[str, AfterValidator(_memory)]
Cpu = Annotated[str, BeforeValidator(_cpu, json_schema_input_type=str | float)]
Environment = Annotated[dict[str, str], BeforeValidator(_texts, json_schema_input_type=dict[str, str | float | bool])]

ImageName = Annotated[str, Ref("Image")]
"""The name of an `Image`, or the path of an image that others keep: `/db/schema/repository/image:tag`."""


class Amounts(Model):
    """What a container asks for, or may use at most."""

    memory: Memory | None = Field(default=None, description="With its unit: `512Mi`, `4Gi`.")
    cpu: Cpu | None = Field(default=None, description="Cores: `2`, `0.5` or `500m`.")
    gpu: int | None = Field(default=None, alias="nvidia.com/gpu", ge=1, description="GPUs, the same number in requests and limits.")


class Resources(Model):
    """As in Snowflake's service specification."""

    requests: Amounts | None = Field(default=None, description="What must be free on a node for an instance to start there.")
    limits: Amounts | None = Field(default=None, description="What the container may use at most.")

    @model_validator(mode="after")
    def _equal_gpus(self) -> Self:
        asked, most = (part.gpu if part else None for part in (self.requests, self.limits))
        if asked != most:
            raise ValueError(f"requests and limits must name the same number of nvidia.com/gpu; found {asked} and {most}")
        return self


class Instances(Model):
    """How many copies of a service run."""

    min: int = Field(default=1, ge=1, description="Copies that always run.")
    max: int | None = Field(default=None, ge=1, description="Copies at most under load; as `min` when not set.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"min ({self.min}) is over max ({self.max})")
        return self
