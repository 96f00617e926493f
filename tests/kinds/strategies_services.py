"""Hypothesis strategies for valid services: every key of a specification, and every property around it.

They stand on what `STANDING` makes in the account: a pool whose only node is taken (so that nothing ever runs), images, secrets, a stage.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st
from strategies_common import comments, manifests, optional

POOL, NODE = "SPECS", {"cpu": 44, "memory": 178, "gpu": 4}  # of GPU_NV_M
IMAGES = ("/db/sch/images/web:1", "/db/sch/images/web:2")
STANDING = (
    f"CREATE COMPUTE POOL IF NOT EXISTS {POOL} MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = GPU_NV_M",
    "CREATE IMAGE REPOSITORY IF NOT EXISTS DB.SCH.IMAGES",
    "CREATE STAGE IF NOT EXISTS DB.SCH.FILES",
    "CREATE SECRET IF NOT EXISTS DB.SCH.TOKEN TYPE = GENERIC_STRING SECRET_STRING = 'a'",
    "CREATE SECRET IF NOT EXISTS DB.SCH.LOGIN TYPE = PASSWORD USERNAME = 'u' PASSWORD = 'p'",
    "CREATE NETWORK RULE IF NOT EXISTS DB.SCH.OUT TYPE = HOST_PORT MODE = EGRESS VALUE_LIST = ('a.com')",
    "CREATE EXTERNAL ACCESS INTEGRATION IF NOT EXISTS OUT1 ALLOWED_NETWORK_RULES = (DB.SCH.OUT) ENABLED = TRUE",
    "CREATE EXTERNAL ACCESS INTEGRATION IF NOT EXISTS OUT2 ALLOWED_NETWORK_RULES = (DB.SCH.OUT) ENABLED = TRUE",
    "CREATE WAREHOUSE IF NOT EXISTS WH INITIALLY_SUSPENDED = TRUE",
    "CREATE ROLE IF NOT EXISTS ANALYST",
)
BLOCKER = (
    f"CREATE SERVICE IF NOT EXISTS DB.SCH.BLOCKER IN COMPUTE POOL {POOL} FROM SPECIFICATION $$"
    f"spec: {{containers: [{{name: main, image: {IMAGES[0]}, resources: {{requests: {{cpu: {NODE['cpu']}}}}}}}]}}$$"
)
"""A service that takes the pool's only node."""
EXISTING = (
    *("Database/db", "Schema/db.sch", f"ComputePool/{POOL}", "Warehouse/wh", "Role/ANALYST", "Stage/db.sch.files"),
    *("Secret/db.sch.token", "Secret/db.sch.login", "ExternalAccessIntegration/OUT1", "ExternalAccessIntegration/OUT2"),
)

_names = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
_ports = st.integers(1, 65535)
_awkward = st.sampled_from(["it's", "$$", "a$", "${x}", "two\nlines", "ünï 雪", "- a: b", "# no", "'", '"', "yes", "0600", "1e3", ""])
_texts = _awkward | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12)
_paths = st.lists(_names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
_probes = st.fixed_dictionaries({"port": _ports, "path": _paths}, optional={"periodSeconds": _ports, "failureThreshold": _ports})
_memory = st.sampled_from(["512Mi", "1Gi", "1.5Gi", "2G", "300Gi"])  # none below what _resources asks for
_cpu = st.sampled_from([1, "0.25", "750m", "2.5", 60])


@st.composite
def _resources(draw: st.DrawFn) -> dict[str, Any]:
    """Requests fit the node; limits may be more than it has, and are capped then."""
    asked: dict[str, st.SearchStrategy[Any]] = {
        "memory": st.sampled_from(["100M", "256Mi", "0.5Gi"]),
        "cpu": st.sampled_from([0.25, "100m"]),
    }
    limits = draw(optional(memory=_memory, cpu=_cpu))
    requests = draw(optional(**asked))
    for what, most in (("memory", "300Gi"), ("cpu", 60)):
        if limits.get(what) == most:  # what is asked follows the limit, and two such containers would not fit
            requests[what] = draw(asked[what])
    if gpus := draw(st.sampled_from([0, 0, 1])):
        requests["nvidia.com/gpu"] = limits["nvidia.com/gpu"] = gpus
    return {key: part for key, part in (("requests", requests), ("limits", limits)) if part}


@st.composite
def _secret(draw: st.DrawFn) -> dict[str, Any]:
    name, keys = draw(st.sampled_from([("token", ["secret_string"]), ("db.sch.login", ["username", "password"])]))
    reference = draw(st.sampled_from([name, {"objectName": name}]))
    place = draw(st.sampled_from(["file", "variable"]))
    if place == "file":
        return {"snowflakeSecret": reference, "directoryPath": draw(_paths)}
    return {"snowflakeSecret": reference, "envVarName": draw(_names).upper(), "secretKeyRef": draw(st.sampled_from(keys))}


@st.composite
def _container(draw: st.DrawFn, name: str, volumes: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "image": draw(st.sampled_from(IMAGES))}
    made |= draw(
        optional(
            command=st.lists(_texts, min_size=1, max_size=3),
            args=st.lists(_texts, min_size=1, max_size=3),
            env=st.dictionaries(_names.map(str.upper), _texts | st.integers() | st.booleans(), max_size=3),
            readinessProbe=_probes,
            livenessProbe=_probes,
            resources=_resources(),
            secrets=st.lists(_secret(), max_size=2, unique_by=str),
        )
    )
    mounted = draw(st.lists(st.sampled_from(volumes), unique=True)) if volumes else []
    if mounted:
        made["volumeMounts"] = [
            {"name": volume, "mountPath": f"/mnt/{volume}{draw(st.sampled_from(['', '/', '/x']))}"} for volume in mounted
        ]
    token = draw(st.sampled_from(["default", "none", "configured"]))
    if token == "none":
        made["mountSessionToken"] = False
    elif token == "configured":
        made["sessionTokenConfig"] = draw(
            st.sampled_from([{"path": "/app/session", "permission": "0600"}, {"path": "/a.b"}, {"mountConnectionConfig": True}])
        )
    return made


@st.composite
def _endpoint(draw: st.DrawFn, name: str, *, may_be_public: bool) -> dict[str, Any]:
    kind = draw(st.sampled_from(["plain", "tcp", "range", "https", "public" if may_be_public else "plain"]))
    if kind == "range":
        first = draw(st.integers(1, 60000))
        return {"name": name, "protocol": "TCP", "portRange": f"{first}-{first + draw(st.integers(0, 1000))}"}
    made: dict[str, Any] = {"name": name, "port": draw(_ports)}
    made |= {"tcp": {"protocol": "TCP"}, "https": {"protocol": "HTTPS"}, "public": {"public": True, "protocol": "HTTP"}}.get(kind, {})
    if kind == "public" and draw(st.booleans()):
        made["corsSettings"] = {"Access-Control-Allow-Origin": ["https://example.com", "http://a.b:8080/"]} | draw(
            optional(
                **{
                    f"Access-Control-{key}": st.lists(st.sampled_from(["GET", "POST", "X-Header"]), min_size=1, unique=True)
                    for key in ("Allow-Methods", "Allow-Headers", "Expose-Headers")
                }
            )
        )
    return made


@st.composite
def _volume(draw: st.DrawFn, name: str, source: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "source": source}
    if source == "memory":
        made["size"] = draw(st.sampled_from(["64Mi", "1Gi", "2G"]))
    elif source == "block":
        made["size"] = draw(st.sampled_from(["1Gi", "16Gi"]))
        config = draw(
            optional(
                initialContents=st.just({"fromSnapshot": "db.sch.saved"}),
                iops=st.integers(3000, 5000),
                throughput=st.integers(125, 500),
                encryption=st.sampled_from(["SNOWFLAKE_SSE", "SNOWFLAKE_FULL"]),
                snapshotOnDelete=st.booleans(),
                snapshotDeleteAfter=st.sampled_from(["7d", "48h", "1d"]),
            )
        )
        made |= {"blockConfig": config} if config else {}
    elif source == "stage":
        stage = draw(st.sampled_from(["@files", "@sch.files/some/Folder", "@DB.SCH.FILES/x/"]))
        small = st.just({"requests": {"cpu": "0.35", "memory": "0.4Gi"}, "limits": {"cpu": 2.0}})
        made["stageConfig"] = {"name": stage} | draw(optional(metadataCache=st.sampled_from(["1h", "90s", "1h30m45s"]), resources=small))
    if source in ("block", "stage"):
        made |= draw(optional(uid=st.integers(0, 2000), gid=st.integers(0, 2000)))
    return made


_metrics = st.fixed_dictionaries(
    {
        "metricName": st.sampled_from(["network.ingress.cps", "container.cpu.usage"]),
        "aggregationType": st.sampled_from(["min", "max", "avg"]),
        "stabilizationPeriodSecs": st.integers(0, 600),
    },
    optional={"labels": st.just({"snow.endpoint.name": "api"})},
)
_target = st.fixed_dictionaries({"targetScaling": st.fixed_dictionaries({"targetValue": st.sampled_from([1, 0.5, 2.25])})})
_step = st.just(
    {
        "stepScaling": {
            "adjustmentType": "percentChangeInstanceCount",
            "scalingSteps": [{"lowerBound": 0.6, "upperBound": 0.8, "targetAdjustment": 25}, {"lowerBound": 0.8, "targetAdjustment": 50}],
        }
    }
)


def _conditions(scaling: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    one = st.builds(lambda metric, how: {"metricCondition": {**metric, **how}}, _metrics, scaling)
    return st.lists(one, min_size=1, max_size=2)


_policies = optional(
    scaleUp=_conditions(_target | _step).map(lambda found: {"anyConditions": found}),
    scaleDown=_conditions(_target | _step).map(lambda found: {"allConditions": found}),
    suspend=_conditions(_target).map(lambda found: {"allConditions": found}),
).filter(bool)


@st.composite
def specifications(draw: st.DrawFn, *, public: bool = True, blocks: bool = False) -> dict[str, Any]:
    """A whole specification; with block volumes only where the service is made for them."""
    sources = draw(st.lists(st.sampled_from(["local", "memory", "stage"]), max_size=3))
    sources += draw(st.lists(st.just("block"), min_size=1, max_size=3)) if blocks else []
    volumes = [draw(_volume(f"v{number}-{source}", source)) for number, source in enumerate(sources)]
    names = draw(st.lists(_names, min_size=1, max_size=2, unique=True))
    spec: dict[str, Any] = {"containers": [draw(_container(name, [v["name"] for v in volumes])) for name in names]}
    if volumes:
        spec["volumes"] = volumes
    endpoints = [draw(_endpoint(f"e{number}", may_be_public=public)) for number in range(draw(st.integers(0, 3)))]
    if endpoints:
        spec["endpoints"] = endpoints
    spec |= draw(
        optional(
            logExporters=st.sampled_from(["INFO", "ERROR", "NONE"]).map(lambda level: {"eventTableConfig": {"logLevel": level}}),
            platformMonitor=st.just({"metricConfig": {"groups": ["system", "network"]}}),
            resourceManagement=_policies.map(lambda found: {"autoScalingPolicies": found}),
        )
    )
    document: dict[str, Any] = {"spec": spec}
    if endpoints and draw(st.booleans()):
        document["serviceRoles"] = [{"name": "Reader", "endpoints": [endpoints[-1]["name"]]}]
    if draw(st.booleans()):
        document["capabilities"] = {"securityContext": draw(optional(executeAsCaller=st.booleans(), enableCustomCredentials=st.booleans()))}
        if not document["capabilities"]["securityContext"]:
            del document["capabilities"]
    return document


@st.composite
def _service_spec(draw: st.DrawFn) -> dict[str, Any]:
    blocks, sleeps = draw(st.booleans()), draw(st.booleans())
    made: dict[str, Any] = {"computePool": POOL, "specification": draw(specifications(public=not sleeps, blocks=blocks))}
    least = draw(st.integers(1, 3))
    if draw(st.booleans()):
        made["minInstances"] = least
        made |= draw(optional(minReadyInstances=st.integers(1, least)))
        made |= draw(optional(maxInstances=st.just(least) if blocks else st.integers(least, 5)))
    made |= draw(
        optional(
            autoResume=st.booleans(),
            autoSuspendSeconds=st.integers(300, 9000) if sleeps else st.just(0),
            logLevel=st.sampled_from(["INFO", "ERROR", "OFF"]),
            externalAccess=st.lists(st.sampled_from(["OUT1", "OUT2"]), unique=True),
            warehouse=st.just("wh"),
            usage=st.sampled_from([[], ["analyst"], [{"role": "analyst"}]]),
            comment=comments,
        )
    )
    return made


services = manifests("Service", _service_spec(), name=_names.map(lambda name: "t_" + name.replace("-", "_")), place={"schema": "db.sch"})


# ---- changes by hand ---------------------------------------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": IMAGES[0],
                "command": ["python", "-m", "web"],
                "args": ["--port", "8000"],
                "env": {"A": "1", "B": "two"},
                "readinessProbe": {"port": 8000, "path": "/ready"},
                "livenessProbe": {"port": 8000, "path": "/live", "periodSeconds": 20},
                "volumeMounts": [{"name": "files", "mountPath": "/files"}, {"name": "shm", "mountPath": "/dev/shm"}],
                "resources": {"requests": {"memory": "1Gi", "cpu": "0.5"}, "limits": {"memory": "2Gi"}},
                "secrets": [{"snowflakeSecret": "db.sch.token", "envVarName": "T", "secretKeyRef": "secret_string"}],
                "sessionTokenConfig": {"path": "/app/session", "permission": "0600"},
            },
            {"name": "side", "image": IMAGES[1]},
        ],
        "endpoints": [
            {"name": "api", "port": 8000, "public": True, "corsSettings": {"Access-Control-Allow-Origin": ["https://a.com"]}},
            {"name": "ranks", "portRange": "12000-12010", "protocol": "TCP"},
        ],
        "volumes": [
            {"name": "files", "source": "stage", "uid": 1000, "stageConfig": {"name": "@db.sch.files/in", "metadataCache": "1h"}},
            {"name": "shm", "source": "memory", "size": "1Gi"},
            {"name": "scratch", "source": "local"},
        ],
        "logExporters": {"eventTableConfig": {"logLevel": "ERROR"}},
        "platformMonitor": {"metricConfig": {"groups": ["system"]}},
        "resourceManagement": {
            "autoScalingPolicies": {
                "scaleUp": {
                    "anyConditions": [
                        {
                            "metricCondition": {
                                "metricName": "network.ingress.cps",
                                "aggregationType": "max",
                                "stabilizationPeriodSecs": 60,
                                "targetScaling": {"targetValue": 2},
                            }
                        }
                    ]
                }
            }
        },
    },
    "serviceRoles": [{"name": "READER", "endpoints": ["api"]}],
    "capabilities": {"securityContext": {"executeAsCaller": True}},
}
_GONE: Any = object()
_SIDE = "spec.containers.1"
_MAIN = "spec.containers.0"
_SINGLE: tuple[tuple[str, Any], ...] = (
    (f"{_MAIN}.image", IMAGES[1]),
    (f"{_MAIN}.command", ["python"]),
    (f"{_MAIN}.args", _GONE),
    (f"{_MAIN}.args.1", "9000"),
    (f"{_MAIN}.env.A", "2"),
    (f"{_MAIN}.env.B", _GONE),
    (f"{_MAIN}.env.C", ""),
    (f"{_MAIN}.readinessProbe", _GONE),
    (f"{_MAIN}.readinessProbe.path", "/other"),
    (f"{_MAIN}.readinessProbe.failureThreshold", 9),
    (f"{_MAIN}.livenessProbe.periodSeconds", _GONE),
    (f"{_MAIN}.volumeMounts.0.mountPath", "/elsewhere"),
    (f"{_MAIN}.resources.requests.cpu", 1),
    (f"{_MAIN}.resources.limits.memory", "4Gi"),
    (f"{_MAIN}.resources.limits.cpu", 2),
    (f"{_MAIN}.secrets.0.envVarName", "OTHER"),
    (f"{_MAIN}.secrets", _GONE),
    (f"{_MAIN}.sessionTokenConfig.permission", "0400"),
    (f"{_MAIN}.sessionTokenConfig.mountConnectionConfig", True),
    (f"{_SIDE}.resources", {"limits": {"memory": "1Gi"}}),
    (f"{_SIDE}.resources", {"requests": {"cpu": 2}}),
    (f"{_SIDE}.mountSessionToken", False),
    (f"{_SIDE}.livenessProbe", {"port": 1, "path": "/x"}),
    (f"{_SIDE}.volumeMounts", [{"name": "scratch", "mountPath": "/s"}]),
    (_SIDE, _GONE),
    ("spec.endpoints.0.port", 8001),
    ("spec.endpoints.0.public", _GONE),
    ("spec.endpoints.0.corsSettings.Access-Control-Allow-Methods", ["GET"]),
    ("spec.endpoints.1.portRange", "12000-12011"),
    ("spec.endpoints.1", _GONE),
    ("spec.volumes.0.stageConfig.name", "@db.sch.files/out"),
    ("spec.volumes.0.stageConfig.metadataCache", "2h"),
    ("spec.volumes.0.stageConfig.resources", {"limits": {"memory": "3Gi"}}),
    ("spec.volumes.0.uid", 0),
    ("spec.volumes.1.size", "2Gi"),
    ("spec.volumes.2", _GONE),
    ("spec.logExporters", _GONE),
    ("spec.platformMonitor.metricConfig.groups", ["system", "network"]),
    ("spec.resourceManagement", _GONE),
    ("spec.resourceManagement.autoScalingPolicies.scaleUp.anyConditions.0.metricCondition.targetScaling.targetValue", 3),
    ("serviceRoles.0.name", "WRITER"),
    ("serviceRoles", _GONE),
    ("capabilities.securityContext.executeAsCaller", False),
    ("capabilities.securityContext.enableCustomCredentials", True),
)


def changed() -> Iterator[tuple[str, dict[str, Any]]]:
    """What was changed, and `FULL` with that one change."""
    for path, value in _SINGLE:
        document = copy.deepcopy(FULL)
        _put(document, path.split("."), value)
        yield f"{path} = {'gone' if value is _GONE else value}", document


def _put(part: Any, path: list[str], value: Any) -> None:
    """Set or remove one place; keys that hold dots do not occur here."""
    step: Callable[[Any], Any] = int if isinstance(part, list) else str
    key = step(path[0])
    if len(path) > 1:
        _put(part[key], path[1:], value)
    elif value is _GONE:
        del part[key]
    else:
        part[key] = value
