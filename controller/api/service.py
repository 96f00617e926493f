"""Any service of Snowpark Container Services, from its specification.

The specification is Snowflake's own, with today's names. Source: docs.snowflake.com, developer-guide/snowpark-container-services/
specification-reference. Fields that Snowflake adds later are refused here until they are known, as everywhere in a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import Manifest, Model, Ref, Scope, Spec
from controller.api.parts import Environment, Memory, Resources

PartName = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""Name of a container, endpoint or volume: lower-case letters, digits and '-', at most 63."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Probe(Model):
    port: Port
    path: str = Field(description="Answers 200 when all is well.")
    period_seconds: int | None = Field(default=None, ge=1)
    failure_threshold: int | None = Field(default=None, ge=1)


class VolumeMount(Model):
    name: PartName = Field(description="A volume of the specification.")
    mount_path: str


class SecretReference(Model):
    object_name: Annotated[str, Ref("Secret")]


class ContainerSecret(Model):
    """A secret as a file or a variable of the container."""

    snowflake_secret: Annotated[str, Ref("Secret")] | SecretReference
    directory_path: str | None = Field(default=None, description="Folder for the secret's files; or envVarName.")
    env_var_name: str | None = Field(default=None, description="Variable for the value; or directoryPath.")
    secret_key_ref: Literal["username", "password", "secret_string"] | None = Field(
        default=None, description="Which part, with envVarName."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.directory_path is None) == (self.env_var_name is None):
            raise ValueError("exactly one of directoryPath and envVarName is needed")
        if (self.env_var_name is None) != (self.secret_key_ref is None):
            raise ValueError("secretKeyRef is needed with envVarName, and only there")
        return self


class ImageReference(Model):
    ref: Annotated[str, Ref("Image")] = Field(description="An `Image` of the project; its current tag is filled in.")


class Container(Model):
    name: PartName
    image: ImageReference | str = Field(description="`{ref: <Image>}` or a path `/db/schema/repository/image:tag`.")
    command: list[str] | None = Field(default=None, min_length=1, description="In place of the image's ENTRYPOINT.")
    args: list[str] | None = Field(default=None, min_length=1, description="In place of the image's CMD.")
    env: Environment = Field(default={})
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    volume_mounts: list[VolumeMount] = Field(default=[])
    resources: Resources | None = None
    secrets: list[ContainerSecret] = Field(default=[], max_length=50)
    mount_session_token: bool | None = None


class CorsSettings(Model):
    allow_origin: list[str] = Field(alias="Access-Control-Allow-Origin", min_length=1)
    allow_methods: list[str] | None = Field(default=None, alias="Access-Control-Allow-Methods")
    allow_headers: list[str] | None = Field(default=None, alias="Access-Control-Allow-Headers")
    expose_headers: list[str] | None = Field(default=None, alias="Access-Control-Expose-Headers")


class Endpoint(Model):
    name: PartName
    port: Port | None = None
    port_range: str | None = Field(default=None, pattern=r"^\d+-\d+$", description="`12031-13000`; TCP and not public.")
    public: bool = False
    protocol: Literal["HTTP", "TCP", "HTTPS"] = "HTTP"
    cors_settings: CorsSettings | None = None

    @model_validator(mode="after")
    def _ports(self) -> Self:
        if (self.port is None) == (self.port_range is None):
            raise ValueError("exactly one of port and portRange is needed")
        if self.port_range is not None and (self.protocol != "TCP" or self.public):
            raise ValueError("portRange goes with protocol TCP and without public")
        if self.public and self.protocol == "TCP":
            raise ValueError("a public endpoint speaks HTTP")
        return self


class StageConfig(Model):
    name: str = Field(description='A stage of the account, as SQL writes it: `"@db.schema.stage/folder"`.')
    metadata_cache: str | None = None
    resources: Resources | None = None


class Volume(Model):
    renamed: ClassVar[Mapping[str, str]] = {"stage": "source: stage with stageConfig: {name: '@…'}"}

    name: PartName
    source: Literal["local", "memory", "block", "stage"]
    size: Memory | None = Field(default=None, description="For memory and block.")
    uid: int | None = Field(default=None, ge=0)
    gid: int | None = Field(default=None, ge=0)
    stage_config: StageConfig | None = Field(default=None, description="For source stage.")

    @model_validator(mode="after")
    def _what_the_source_needs(self) -> Self:
        if (self.source == "stage") != (self.stage_config is not None):
            raise ValueError("stageConfig is needed for source stage, and only there")
        if (self.source in ("memory", "block")) != (self.size is not None):
            raise ValueError("size is needed for sources memory and block, and only there")
        return self


class EventTable(Model):
    log_level: Literal["INFO", "ERROR", "NONE"] = "INFO"


class LogExporters(Model):
    event_table_config: EventTable


class MetricConfig(Model):
    groups: list[str] = Field(min_length=1)


class PlatformMonitor(Model):
    metric_config: MetricConfig


class Containers(Model):
    """The key `spec` of Snowflake's specification."""

    renamed: ClassVar[Mapping[str, str]] = {
        "container": "containers",
        "endpoint": "endpoints",
        "volume": "volumes",
        "networkPolicyConfig": "externalAccess of the Service (the preview's networkPolicyConfig is gone)",
        "serviceRoles": "serviceRoles beside `spec`, not in it",
    }

    containers: list[Container] = Field(min_length=1, max_length=20)
    endpoints: list[Endpoint] = Field(default=[], max_length=100)
    volumes: list[Volume] = Field(default=[], max_length=20)
    log_exporters: LogExporters | None = None
    platform_monitor: PlatformMonitor | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, names in (
            ("container", [c.name for c in self.containers]),
            ("endpoint", [e.name for e in self.endpoints]),
            ("volume", [v.name for v in self.volumes]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two {what}s are named {twice[0]}")
        volumes = {v.name for v in self.volumes}
        for container in self.containers:
            for mount in container.volume_mounts:
                if mount.name not in volumes:
                    raise ValueError(f"container {container.name} mounts {mount.name}, which is not under volumes")
        return self


class SecurityContext(Model):
    execute_as_caller: bool = False
    enable_custom_credentials: bool | None = None


class Capabilities(Model):
    security_context: SecurityContext


class ServiceRole(Model):
    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    endpoints: list[PartName] = Field(min_length=1)


class Specification(Model):
    """Snowflake's service specification."""

    spec: Containers
    service_roles: list[ServiceRole] = Field(default=[])
    capabilities: Capabilities | None = None

    @model_validator(mode="after")
    def _known_endpoints(self) -> Self:
        known = {e.name for e in self.spec.endpoints}
        for role in self.service_roles:
            unknown = [name for name in role.endpoints if name not in known]
            if unknown:
                raise ValueError(f"service role {role.name} names endpoint {unknown[0]}, which is not under spec.endpoints")
        return self


class ServiceSpec(Spec):
    compute_pool: Annotated[str, Ref("ComputePool")] = Field(description="Where it runs; cannot be changed later.")
    specification: Specification = Field(description="As Snowflake's specification reference says.")
    min_instances: int = Field(default=1, ge=1)
    max_instances: int | None = Field(default=None, ge=1, description="As minInstances when not set.")
    min_ready_instances: int | None = Field(
        default=None, ge=1, description="How many must be ready for the service to be RUNNING; as minInstances when not set."
    )
    auto_resume: bool = Field(default=True, description="Resume on a call of a service function or on ingress.")
    auto_suspend_seconds: int = Field(default=0, ge=0, description="0: never; else at least 300.")
    external_access: list[Annotated[str, Ref("ExternalAccessIntegration")]] = Field(default=[], max_length=10)
    warehouse: Annotated[str | None, Ref("Warehouse")] = Field(default=None, description="QUERY_WAREHOUSE; the project's when not set.")
    comment: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_instances is not None and self.max_instances < self.min_instances:
            raise ValueError(f"minInstances ({self.min_instances}) is over maxInstances ({self.max_instances})")
        if self.min_ready_instances is not None and self.min_ready_instances > self.min_instances:
            raise ValueError(f"minReadyInstances ({self.min_ready_instances}) is over minInstances ({self.min_instances})")
        if 0 < self.auto_suspend_seconds < 300:
            raise ValueError("autoSuspendSeconds is 0 or at least 300")
        return self


class Service(Manifest):
    """A long-running service."""

    kind: Literal["Service"]
    spec: ServiceSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
    bare_name: ClassVar[bool] = True
    uses_warehouse: ClassVar[bool] = True
