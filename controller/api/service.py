"""Any service of Snowpark Container Services, from its specification.

Source: docs.snowflake.com, sql-reference/sql/create-service, alter-service, grant-service-role.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from controller.api.base import LocalPath, Manifest, Model, Ref, Scope, Spec
from controller.api.parts import Preemptible, Priority
from controller.api.specification import ALL_ENDPOINTS, ImageReference, Specification

TemplateValue = Annotated[
    ImageReference | StrictStr | StrictBool | StrictInt | StrictFloat | list[Any] | dict[str, Any], Field(union_mode="left_to_right")
]


class Template(Model):
    """A specification with `{{ variables }}`, which Snowflake fills in."""

    text: str | None = Field(default=None, description="The template itself; or file.")
    file: Annotated[str | None, LocalPath()] = Field(default=None, description="A file beside the manifest; or text.")
    using: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], TemplateValue] = Field(
        default={}, description="Values of the variables; `{ref: <Image>}` stands for the image's path."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.text is None) == (self.file is None):
            raise ValueError("exactly one of text and file is needed")
        return self


class ServiceUse(Model):
    """Who may call the endpoints of a service role."""

    role: Annotated[str, Ref("Role")]
    service_role: str = Field(default=ALL_ENDPOINTS, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="All endpoints when not set.")


def _plain_role(value: object) -> object:
    return {"role": value} if isinstance(value, str) else value


class ServiceSpec(Spec):
    compute_pool: Annotated[str, Ref("ComputePool")] = Field(description="Where it runs; cannot be changed later.")
    specification: Specification | None = Field(
        default=None, description="As Snowflake's specification reference says; or specificationFile or template."
    )
    specification_file: Annotated[str | None, LocalPath()] = Field(
        default=None, description="A YAML file with the specification, relative to the manifest."
    )
    template: Template | None = Field(default=None, description="A specification template and its values.")
    min_instances: int = Field(default=1, ge=1)
    max_instances: int | None = Field(default=None, ge=1, description="As minInstances when not set.")
    min_ready_instances: int | None = Field(
        default=None, ge=1, description="How many must be ready for the service to be RUNNING; as minInstances when not set."
    )
    auto_resume: bool = Field(default=True, description="Resume on a call of a service function or on ingress.")
    auto_suspend_seconds: int = Field(default=0, ge=0, description="0: never; else at least 300.")
    log_level: Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF"] | None = Field(
        default=None, description="Which events of the platform go to the event table."
    )
    external_access: list[Annotated[str, Ref("ExternalAccessIntegration")]] = Field(default=[], max_length=10)
    warehouse: Annotated[str | None, Ref("Warehouse")] = Field(default=None, description="QUERY_WAREHOUSE; the project's when not set.")
    usage: list[Annotated[ServiceUse, BeforeValidator(_plain_role, json_schema_input_type=ServiceUse | str)]] = Field(
        default=[], description="Roles that may call endpoints: `{role, serviceRole}`, or a role's name for all endpoints."
    )
    priority: Priority = 0
    preemptible: Preemptible = False
    comment: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [part for part in (self.specification, self.specification_file, self.template) if part is not None]
        if len(given) != 1:
            raise ValueError("exactly one of specification, specificationFile and template is needed")
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_instances is not None and self.max_instances < self.min_instances:
            raise ValueError(f"minInstances ({self.min_instances}) is over maxInstances ({self.max_instances})")
        if self.min_ready_instances is not None and self.min_ready_instances > self.min_instances:
            raise ValueError(f"minReadyInstances ({self.min_ready_instances}) is over minInstances ({self.min_instances})")
        if 0 < self.auto_suspend_seconds < 300:
            raise ValueError("autoSuspendSeconds is 0 or at least 300")
        if self.specification is not None:
            problem = unsuited(self, self.specification)
            if problem:
                raise ValueError(problem)
        return self


def unsuited(spec: ServiceSpec, specification: Specification) -> str:
    """What of a specification does not go with the service's other fields; '' when all does."""
    if specification.spec.block_volumes and (spec.max_instances or spec.min_instances) != spec.min_instances:
        return "a service with block volumes needs minInstances and maxInstances to be the same"
    if spec.auto_suspend_seconds and any(endpoint.public for endpoint in specification.spec.endpoints):
        return "autoSuspendSeconds is not supported on services with public endpoints"
    known = {ALL_ENDPOINTS, *(role.name.upper() for role in specification.service_roles)}
    unknown = next((use.service_role for use in spec.usage if use.service_role.upper() not in known), None)
    return f"usage names the service role {unknown}, which is not under serviceRoles" if unknown else ""


class Service(Manifest):
    """A long-running service. With block volumes it holds data: it is dropped only when metadata.deletionPolicy says delete."""

    kind: Literal["Service"]
    spec: ServiceSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
    bare_name: ClassVar[bool] = True
    uses_warehouse: ClassVar[bool] = True
    seen_beside: ClassVar[tuple[str, ...]] = ("imageDigest", "suspended")

    @property
    def keeps_data(self) -> bool:
        return self.spec.specification is not None and bool(self.spec.specification.spec.block_volumes)
