"""A service specification, read and checked: the typed form that the rest of the runtime works with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from emulator.runtime.document import DOCUMENT
from emulator.runtime.families import InstanceFamily
from emulator.runtime.schema import SpecError, check
from emulator.runtime.units import parse_cpu, parse_memory

MAX_SPEC_BYTES = 1 << 20
_IMAGE = re.compile(
    r"^(?:[^/@]+)?/(?P<db>[^/]+)/(?P<schema>[^/]+)/(?P<repo>[^/]+)/(?P<image>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:.+))?$"
)
_DEFAULT_CPU = 0.5
_DEFAULT_MEMORY = 2**29  # 0.5Gi
_MAX_BLOCKS, _MAX_SECRETS = 3, 50


@dataclass(frozen=True)
class ImageReference:
    """`/db/schema/repo/image:tag`, names in stored (upper) case but for the image."""

    database: str
    schema: str
    repository: str
    image: str
    reference: str  # tag or digest

    @staticmethod
    def parse(text: str) -> ImageReference:
        match = _IMAGE.match(text)
        if match is None:
            raise SpecError(f"invalid image '{text}'. Expected /database/schema/repository/image:tag")
        database, schema, repository = (match[key].upper() for key in ("db", "schema", "repo"))
        return ImageReference(database, schema, repository, match["image"], match["digest"] or match["tag"] or "latest")


@dataclass(frozen=True)
class Resources:
    """What an instance takes of a node, as modelled. Memory in bytes."""

    cpu: float = 0.0
    memory: int = 0
    gpu: int = 0

    def plus(self, other: Resources) -> Resources:
        return Resources(self.cpu + other.cpu, self.memory + other.memory, self.gpu + other.gpu)

    def lacking(self, needed: Resources) -> str | None:
        """The first resource of which `needed` is more than this, or None when it fits."""
        if needed.memory > self.memory:
            return "memory"
        if needed.cpu > self.cpu + 1e-9:
            return "cpu"
        return "nvidia.com/gpu" if needed.gpu > self.gpu else None

    def minus(self, other: Resources) -> Resources:
        return Resources(self.cpu - other.cpu, self.memory - other.memory, self.gpu - other.gpu)

    @staticmethod
    def of_node(family: InstanceFamily) -> Resources:
        return Resources(family.vcpu, family.memory, family.gpu_count)


@dataclass(frozen=True)
class Probe:
    port: int
    path: str
    period_seconds: float
    failure_threshold: int


@dataclass(frozen=True)
class SecretUse:
    """A secret as an environment variable or as files in a directory."""

    name: str
    variable: str | None
    key: str | None
    directory: str | None


@dataclass(frozen=True)
class ContainerSpec:
    name: str
    image: ImageReference
    command: tuple[str, ...] | None
    args: tuple[str, ...] | None
    env: dict[str, str]
    readiness: Probe | None
    liveness: Probe | None
    mounts: tuple[tuple[str, str], ...]  # (volume, path)
    requests: dict[str, Any]
    limits: dict[str, Any]
    secrets: tuple[SecretUse, ...]
    token_path: str | None  # None: no session token in this container

    def takes(self, family: InstanceFamily) -> Resources:
        """Requests as the service derives them from what is given: request, else limit, else the default."""
        cpu = parse_cpu(self.requests.get("cpu", max(_DEFAULT_CPU, parse_cpu(self.limits.get("cpu", 0)))))
        memory = self.requests.get("memory") or self.limits.get("memory")
        size = parse_memory(memory) if memory else _DEFAULT_MEMORY
        if "memory" not in self.requests:
            size = min(max(size, _DEFAULT_MEMORY), family.memory)
        gpu = int(self.requests.get("nvidia.com/gpu", 0))
        if "cpu" not in self.requests:
            cpu = min(cpu, float(family.vcpu))
        return Resources(cpu, size, gpu)


@dataclass(frozen=True)
class Endpoint:
    name: str
    port: int | None
    port_range: str | None
    public: bool
    protocol: str


@dataclass(frozen=True)
class StageSource:
    """`@db.schema.stage/path` behind a volume; the name as written, resolved against the service's schema."""

    name: str
    path: str


@dataclass(frozen=True)
class Volume:
    name: str
    kind: str  # local, memory, block or stage
    stage: StageSource | None


@dataclass(frozen=True)
class ServiceSpec:
    """A checked specification. `document` is the canonical form that is stored and printed."""

    document: dict[str, Any]
    containers: tuple[ContainerSpec, ...]
    endpoints: tuple[Endpoint, ...]
    volumes: dict[str, Volume]
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def takes(self, family: InstanceFamily) -> Resources:
        """What one instance takes of a node."""
        total = Resources()
        for container in self.containers:
            total = total.plus(container.takes(family))
        return total

    def endpoint(self, name: str) -> Endpoint | None:
        return next((e for e in self.endpoints if e.name.upper() == name.upper()), None)


def parse_spec(text: str) -> ServiceSpec:
    """Read YAML or JSON text. Raises SpecError with what is wrong and where."""
    if len(text) > MAX_SPEC_BYTES:
        raise SpecError(f"the specification is larger than {MAX_SPEC_BYTES} bytes")
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader without aliases and with unique keys
    except yaml.YAMLError as error:
        raise SpecError(f"the specification is not valid YAML: {' '.join(str(error).split())}") from None
    return load_spec(document)


def load_spec(document: Any) -> ServiceSpec:
    """The same from a parsed document (also one that was stored)."""
    checked = check(DOCUMENT, document, "specification", "")
    body = checked["spec"]
    volumes = {v["name"]: _volume(v) for v in body.get("volumes", [])}
    endpoints = tuple(_endpoint(e, index) for index, e in enumerate(body.get("endpoints", [])))
    containers = tuple(_container(c, volumes) for c in body["containers"])
    for what, names in (
        ("containers", [c.name for c in containers]),
        ("endpoints", [e.name for e in endpoints]),
        ("volumes", [v["name"] for v in body.get("volumes", [])]),
    ):
        repeated = next((n for n in names if names.count(n) > 1), None)
        if repeated:
            raise SpecError(f"duplicate name '{repeated}' in '{what}'")
    _check_limits(body)
    roles = {str(r["name"]).upper(): tuple(r["endpoints"]) for r in checked.get("serviceRoles", [])}
    known = {e.name for e in endpoints}
    for role, names_of_role in roles.items():
        for unknown in sorted(set(names_of_role) - known):
            raise SpecError(f"service role '{role}' names the endpoint '{unknown}', which does not exist")
    return ServiceSpec(checked, containers, endpoints, volumes, roles)


def _check_limits(body: dict[str, Any]) -> None:
    """What concerns the whole specification."""
    blocks = [v["name"] for v in body.get("volumes", []) if v["source"] == "block"]
    if len(blocks) > _MAX_BLOCKS:
        raise SpecError(f"{len(blocks)} block volumes ({', '.join(blocks)}), but a service can have at most {_MAX_BLOCKS}")
    secrets = sum(len(c.get("secrets", [])) for c in body["containers"])
    if secrets > _MAX_SECRETS:
        raise SpecError(f"{secrets} secrets, but a service can have at most {_MAX_SECRETS}")
    policies = body.get("resourceManagement", {}).get("autoScalingPolicies", {})
    for kind, policy in policies.items():
        for condition in next(iter(policy.values())):
            metric = condition["metricCondition"]
            if ("targetScaling" in metric) == ("stepScaling" in metric):
                raise SpecError(f"a metricCondition of '{kind}' needs either 'targetScaling' or 'stepScaling'")
            if kind == "suspend" and "stepScaling" in metric:
                raise SpecError("'stepScaling' is not supported for 'suspend'")


def _container(raw: dict[str, Any], volumes: dict[str, Volume]) -> ContainerSpec:
    mounts = tuple((m["name"], m["mountPath"].rstrip("/") or "/") for m in raw.get("volumeMounts", []))
    for volume, _ in mounts:
        if volume not in volumes:
            raise SpecError(f"volume '{volume}' mounted by container '{raw['name']}' is not defined in 'volumes'")
    resources = raw.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    if requests.get("nvidia.com/gpu") != limits.get("nvidia.com/gpu"):
        raise SpecError(f"container '{raw['name']}' must have equal 'nvidia.com/gpu' in requests and limits")
    for key, parse in (("cpu", parse_cpu), ("memory", parse_memory)):
        if key in requests and key in limits and parse(requests[key]) > parse(limits[key]):
            raise SpecError(f"requests.{key} of container '{raw['name']}' is more than its limit")
    token = raw.get("mountSessionToken", True)
    config = raw.get("sessionTokenConfig")
    if config is not None and not token:
        raise SpecError("'sessionTokenConfig' is not allowed when 'mountSessionToken' is false")
    if config is not None and (not config or ("permission" in config and "path" not in config)):
        raise SpecError("'sessionTokenConfig' needs at least one field, and 'permission' only with 'path'")
    return ContainerSpec(
        name=raw["name"],
        image=ImageReference.parse(raw["image"]),
        command=tuple(raw["command"]) if "command" in raw else None,
        args=tuple(raw["args"]) if "args" in raw else None,
        env=raw.get("env", {}),
        readiness=_probe(raw.get("readinessProbe"), 5),
        liveness=_probe(raw.get("livenessProbe"), 10),
        mounts=mounts,
        requests=requests,
        limits=limits,
        secrets=tuple(_secret(s) for s in raw.get("secrets", [])),
        token_path=f"{(config or {}).get('path', '/snowflake/session')}/token" if token else None,
    )


def _probe(raw: dict[str, Any] | None, period: int) -> Probe | None:
    if raw is None:
        return None
    path = "/" + raw["path"].lstrip("/")
    return Probe(raw["port"], path, float(raw.get("periodSeconds", period)), raw.get("failureThreshold", 3))


def _secret(raw: dict[str, Any]) -> SecretUse:
    variable, directory = raw.get("envVarName"), raw.get("directoryPath")
    if (variable is None) == (directory is None):
        raise SpecError("a secret needs either 'directoryPath' or 'envVarName'")
    if (variable is None) != (raw.get("secretKeyRef") is None):
        raise SpecError("'secretKeyRef' goes with 'envVarName', and only with it")
    reference = raw["snowflakeSecret"]
    name = reference if isinstance(reference, str) else next(iter(reference.values()))
    return SecretUse(name, variable, raw.get("secretKeyRef"), directory)


def _endpoint(raw: dict[str, Any], index: int) -> Endpoint:
    where = f"endpoints[{index}]"
    if ("port" in raw) == ("portRange" in raw):
        raise SpecError(f"missing 'port' for '{where}'" if "port" not in raw else f"'{where}' has both port and portRange")
    protocol = raw.get("protocol", "HTTP")
    public = raw.get("public", False)
    if public and protocol == "TCP":
        raise SpecError(f"'{where}' is public, which only HTTP endpoints can be")
    if "portRange" in raw and protocol != "TCP":
        raise SpecError(f"'portRange' of '{where}' needs protocol TCP")
    return Endpoint(raw["name"], raw.get("port"), raw.get("portRange"), public, protocol)


def _volume(raw: dict[str, Any]) -> Volume:
    source = raw["source"]
    if source.startswith("@"):
        return Volume(raw["name"], "stage", _stage(source))
    if source not in ("local", "memory", "block", "stage"):
        raise SpecError(f"invalid 'source' for volume '{raw['name']}': '{source}'. Allowed: local, memory, block, stage")
    if source == "stage":
        if "stageConfig" not in raw:
            raise SpecError(f"missing 'stageConfig' for volume '{raw['name']}'")
        return Volume(raw["name"], "stage", _stage(raw["stageConfig"]["name"]))
    if source in ("memory", "block") and "size" not in raw:
        raise SpecError(f"missing 'size' for volume '{raw['name']}'")
    if source == "block" and not re.fullmatch(r"[1-9]\d*Gi", raw["size"]):
        raise SpecError(f"invalid 'size' for volume '{raw['name']}': '{raw['size']}'. A block volume takes a whole number of Gi")
    for option, needed in (("blockConfig", "block"), ("stageConfig", "stage")):
        if option in raw and source != needed:
            raise SpecError(f"unknown option '{option}' for volume '{raw['name']}' with source {source}")
    return Volume(raw["name"], source, None)


def _stage(text: str) -> StageSource:
    if not text.startswith("@"):
        raise SpecError(f"invalid stage '{text}'. Expected @stage or @db.schema.stage/path")
    name, _, path = text.removeprefix("@").partition("/")
    return StageSource(name, path.strip("/"))


class _Loader(yaml.SafeLoader):
    """Plain data only: no aliases (they can explode), no duplicate keys (one of them would be lost)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise SpecError("YAML aliases are not supported in a specification")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise SpecError(f"duplicate key '{key}' in line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)
