"""Snowflake's service specification, with today's names, checked as far as its reference tells the rules.

Source: docs.snowflake.com, developer-guide/snowpark-container-services/specification-reference. Fields that Snowflake adds later are
refused here until they are known, as everywhere in a manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.autoscaling import ResourceManagement
from controller.api.base import Model, Ref
from controller.api.parts import AbsolutePath, Environment, PartName, Resources
from controller.api.volumes import BLOCK_VOLUMES, Volume, VolumeMount

Port = Annotated[int, Field(ge=1, le=65535)]

ALL_ENDPOINTS = "ALL_ENDPOINTS_USAGE"
"""The service role that every service has."""

_SECRETS = 50  # in a whole service
_ORIGIN = re.compile(r"https?://[^/?#\s*]+/?")
_TOKEN_PATH = re.compile(r"(/[A-Za-z0-9_-]([A-Za-z0-9_.-]*))+")


class Probe(Model):
    port: Port
    path: str = Field(min_length=1, description="Answers 200 when all is well.")
    period_seconds: int | None = Field(default=None, ge=1)
    failure_threshold: int | None = Field(default=None, ge=1)


class SecretReference(Model):
    """A secret by its name, or by the reference that a native app gives to it."""

    object_name: Annotated[str | None, Ref("Secret")] = Field(default=None, description="Or objectReference.")
    object_reference: str | None = Field(default=None, description="Of a native app; or objectName.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.object_name is None) == (self.object_reference is None):
            raise ValueError("exactly one of objectName and objectReference is needed")
        return self


class ContainerSecret(Model):
    """A secret as a file or a variable of the container."""

    snowflake_secret: Annotated[str, Ref("Secret")] | SecretReference
    directory_path: AbsolutePath | None = Field(default=None, description="Folder for the secret's files; or envVarName.")
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


class SessionTokenConfig(Model):
    path: str | None = Field(default=None, description="Folder for the file `token`.")
    permission: str | None = Field(default=None, pattern=r"^0[0-7]{3}$", description='Mode of the file, quoted: `"0600"`; with path.')
    mount_connection_config: bool | None = Field(default=None, description="Whether a connections.toml is mounted.")

    @model_validator(mode="after")
    def _allowed(self) -> Self:
        if self.path is None and self.permission is None and self.mount_connection_config is None:
            raise ValueError("at least one of path, permission and mountConnectionConfig is needed")
        if self.permission is not None and self.path is None:
            raise ValueError("permission goes with path")
        if self.permission is not None and (int(self.permission, 8) & ~0o644 or not int(self.permission, 8) & 0o400):
            raise ValueError(f"permission {self.permission} may not allow more than 0644, and must let the owner read")
        if self.path is not None and not _TOKEN_PATH.fullmatch(self.path):
            raise ValueError(f"path {self.path!r} is not a plain absolute path of letters, digits, '-', '_' and '.'")
        return self


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
    secrets: list[ContainerSecret] = Field(default=[], max_length=_SECRETS)
    mount_session_token: bool | None = None
    session_token_config: SessionTokenConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.session_token_config is not None and self.mount_session_token is False:
            raise ValueError("sessionTokenConfig cannot stand beside mountSessionToken: false")
        paths = [mount.mount_path.rstrip("/") for mount in self.volume_mounts]
        if twice := sorted({path for path in paths if paths.count(path) > 1}):
            raise ValueError(f"two volumes are mounted at {twice[0]}")
        return self


class CorsSettings(Model):
    allow_origin: list[str] = Field(alias="Access-Control-Allow-Origin", min_length=1)
    allow_methods: list[str] | None = Field(default=None, alias="Access-Control-Allow-Methods", min_length=1)
    allow_headers: list[str] | None = Field(default=None, alias="Access-Control-Allow-Headers", min_length=1)
    expose_headers: list[str] | None = Field(default=None, alias="Access-Control-Expose-Headers", min_length=1)

    @model_validator(mode="after")
    def _origins(self) -> Self:
        wrong = next((origin for origin in self.allow_origin if not _ORIGIN.fullmatch(origin)), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is not an origin: write a URL without a path and without '*', such as https://example.com")
        return self


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
        if self.port_range is not None:
            first, last = (int(part) for part in self.port_range.split("-"))
            if not 1 <= first <= last <= 65535:
                raise ValueError(f"portRange {self.port_range} is no range of ports from 1 to 65535")
            if self.protocol != "TCP" or self.public:
                raise ValueError("portRange goes with protocol TCP and without public")
        if self.public and self.protocol == "TCP":
            raise ValueError("a public endpoint speaks HTTP")
        return self


class EventTable(Model):
    log_level: Literal["INFO", "ERROR", "NONE"] = "INFO"


class LogExporters(Model):
    event_table_config: EventTable


class MetricConfig(Model):
    groups: list[str] = Field(min_length=1, description="`system`, `system_limits`, `network`, `storage` …")


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
    resource_management: ResourceManagement | None = Field(default=None, description="Autoscaling policies.")

    @property
    def block_volumes(self) -> list[Volume]:
        return [volume for volume in self.volumes if volume.source == "block"]

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
        if len(self.block_volumes) > BLOCK_VOLUMES:
            raise ValueError(f"{len(self.block_volumes)} block volumes; a service takes at most {BLOCK_VOLUMES}")
        secrets = sum(len(container.secrets) for container in self.containers)
        if secrets > _SECRETS:
            raise ValueError(f"{secrets} secrets; a service takes at most {_SECRETS}")
        return self


class SecurityContext(Model):
    execute_as_caller: bool | None = None
    enable_custom_credentials: bool | None = None


class Capabilities(Model):
    security_context: SecurityContext


class ServiceRole(Model):
    name: str = Field(pattern=r"^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$")
    endpoints: list[PartName] = Field(min_length=1)


class Specification(Model):
    """Snowflake's service specification."""

    spec: Containers
    service_roles: list[ServiceRole] = Field(default=[])
    capabilities: Capabilities | None = None

    @model_validator(mode="after")
    def _known_endpoints(self) -> Self:
        known = {e.name for e in self.spec.endpoints}
        names = [role.name.upper() for role in self.service_roles]
        if twice := sorted({name for name in names if names.count(name) > 1 or name == ALL_ENDPOINTS}):
            raise ValueError(f"the service role {twice[0]} is there already")
        for role in self.service_roles:
            unknown = [name for name in role.endpoints if name not in known]
            if unknown:
                raise ValueError(f"service role {role.name} names endpoint {unknown[0]}, which is not under spec.endpoints")
        return self
