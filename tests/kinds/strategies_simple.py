"""Hypothesis strategies for valid manifests of the simple kinds, over all their fields."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from strategies_common import bare_names, comments, manifests, optional, quoted_names

_SIZES = ("xsmall", "Small", "MEDIUM", "large", "X-Large", "xxlarge", "2X-Large", "x4large", "X5LARGE", "x6large")
SCHEMA = {"schema": "db.sch"}


@st.composite
def _warehouse_spec(draw: st.DrawFn) -> dict[str, Any]:
    common = optional(
        autoSuspend=st.integers(0, 100_000),
        autoResume=st.booleans(),
        initiallySuspended=st.booleans(),
        maxConcurrencyLevel=st.integers(1, 32),
        statementQueuedTimeoutSeconds=st.integers(0, 10_000),
        statementTimeoutSeconds=st.integers(0, 604_800),
        comment=comments,
    )
    kind = draw(st.sampled_from(["STANDARD", "snowpark-optimized", "ADAPTIVE", "interactive"]))
    if kind == "ADAPTIVE":
        special = optional(maxQueryPerformanceLevel=st.sampled_from(_SIZES), queryThroughputMultiplier=st.integers(0, 50))
        return {**draw(common), **draw(special), "type": kind}
    special = optional(
        size=st.sampled_from(_SIZES),
        scalingPolicy=st.sampled_from(["standard", "ECONOMY"]),
        queryAcceleration=st.booleans(),
        queryAccelerationMaxScaleFactor=st.integers(0, 100),
        resourceConstraint=st.sampled_from(["MEMORY_1X", "memory_16X_x86"]),
    )
    made = {**draw(common), **draw(special)}
    if kind != "STANDARD" or draw(st.booleans()):
        made["type"] = kind
    elif draw(st.booleans()):
        made["generation"] = draw(st.sampled_from([1, 2, "1", "2"]))
    most = draw(st.integers(1, 10))
    if draw(st.booleans()):
        made |= {"maxClusters": most, "minClusters": draw(st.integers(1, most))}
    return made


warehouses = manifests("Warehouse", _warehouse_spec())


@st.composite
def _container_spec(draw: st.DrawFn, **more: st.SearchStrategy[Any]) -> dict[str, Any]:
    transient = draw(st.booleans())
    fields = optional(
        dataRetentionDays=st.integers(0, 1 if transient else 90),
        maxDataExtensionDays=st.integers(0, 90),
        defaultDdlCollation=st.sampled_from(["en-ci", "de", "it's"]),
        logLevel=st.sampled_from(["TRACE", "INFO", "OFF"]),
        comment=comments,
        **more,
    )
    return {**draw(fields), **({"transient": transient} if transient or draw(st.booleans()) else {})}


databases = manifests("Database", _container_spec())
schemas = manifests("Schema", _container_spec(managedAccess=st.booleans()), place={"database": "db"})

_FAMILIES = ("CPU_X64_XS", "cpu_x64_s", "CPU_X64_M", "GPU_NV_S", "highmem_x64_s")


@st.composite
def _pool_spec(draw: st.DrawFn) -> dict[str, Any]:
    families = draw(st.lists(st.sampled_from(_FAMILIES), min_size=1, max_size=3, unique=True))
    least = draw(st.integers(1, 3))
    fields = optional(
        autoSuspendSeconds=st.sampled_from([0, 60, 3600]),
        autoResume=st.booleans(),
        initiallySuspended=st.booleans(),
        application=bare_names,
        placementGroup=st.sampled_from(["A", "us-west-2a", "distributed"]),
        backupInstanceFamilies=st.just(families[1:]),
        comment=comments,
    )
    return {**draw(fields), "instanceFamily": families[0], "minNodes": least, "maxNodes": draw(st.integers(least, 4))}


pools = manifests("ComputePool", _pool_spec(), name=bare_names)

_VALUE = {"command": ["echo", "-n", "a word"]}
_TOKENS = {"valueFrom": _VALUE, "refreshTokenExpiry": "2027-01-06 20:00:00", "type": "oauth2", "apiAuthentication": "auth"}
_scopes = st.lists(st.sampled_from(["read", "write", "session:role:X", "a b"]), unique=True)
secrets = manifests(
    "Secret",
    st.one_of(
        optional(comment=comments).map(lambda more: {"valueFrom": _VALUE, **more}),
        st.tuples(st.text(st.characters(min_codepoint=32, blacklist_categories=["Cs"]), min_size=1, max_size=9), comments).map(
            lambda made: {"type": "password", "valueFrom": _VALUE, "username": made[0], "comment": made[1]}
        ),
        optional(oauthScopes=_scopes, comment=comments).map(lambda more: {"type": "oauth2", "apiAuthentication": "AUTH", **more}),
        optional(comment=comments).map(lambda more: {**_TOKENS, **more}),
    ),
    place=SCHEMA,
)


@st.composite
def _rule_spec(draw: st.DrawFn) -> dict[str, Any]:
    kind, modes, values = draw(
        st.sampled_from(
            [
                ("HOST_PORT", ["EGRESS", "POSTGRES_EGRESS"], ["huggingface.co", "Cdn-lfs.hf.co:443", "0.0.0.0:80", "a_b.example:65535"]),
                ("PRIVATE_HOST_PORT", ["EGRESS"], ["internal", "x.privatelink.example.com:1024"]),
                ("IPV4", ["INGRESS", "POSTGRES_INGRESS"], ["10.0.0.0/8", "192.0.2.7", "0.0.0.0/0"]),
                ("AWSVPCEID", ["INGRESS", "INTERNAL_STAGE"], ["vpce-0fa1", "vpce-0fa2"]),
                ("AZURELINKID", ["INGRESS"], ["/subscriptions/1/x", "2"]),
                ("GCPPSCID", ["INGRESS"], ["1", "2"]),
            ]
        )
    )
    spec = {"values": draw(st.lists(st.sampled_from(values), min_size=1, unique=True)), **draw(optional(comment=comments))}
    mode = draw(st.sampled_from(modes))
    return spec | ({} if (kind, mode) == ("HOST_PORT", "EGRESS") and draw(st.booleans()) else {"type": kind, "mode": mode})


rules = manifests("NetworkRule", _rule_spec(), place=SCHEMA)


@st.composite
def _integration(draw: st.DrawFn) -> list[dict[str, Any]]:
    """With the rules and secrets that it names."""
    found = draw(st.lists(quoted_names | bare_names, min_size=2, max_size=4, unique_by=str.upper))
    at = draw(st.integers(1, len(found) - 1))
    allowed, held = found[:at], found[at:]
    documents = [{"kind": "NetworkRule", "metadata": {"name": name, **SCHEMA}, "spec": {"values": ["a.com"]}} for name in allowed] + [
        {"kind": "Secret", "metadata": {"name": name, **SCHEMA}, "spec": {"valueFrom": _VALUE}} for name in held
    ]
    more = optional(
        secrets=st.just([f"db.sch.{name}" for name in held]), apiIntegrations=st.just(["auth"]), enabled=st.booleans(), comment=comments
    )
    spec = {**draw(more), "networkRules": [f"db.sch.{name}" for name in allowed]}
    if "secrets" not in spec and draw(st.booleans()):
        spec["allSecrets"] = True
    return [*documents, draw(manifests("ExternalAccessIntegration", st.just(spec)))]


stages = manifests(
    "Stage",
    optional(encryption=st.sampled_from(["SNOWFLAKE_SSE", "SNOWFLAKE_FULL"]), directory=st.booleans(), comment=comments),
    place=SCHEMA,
)
repositories = manifests(
    "ImageRepository",
    optional(encryption=st.sampled_from(["SNOWFLAKE_SSE", "SNOWFLAKE_FULL"]), comment=comments),
    name=bare_names,
    place=SCHEMA,
)
ingress = manifests("SecurityIntegration", optional(enabled=st.booleans(), comment=comments))

_on = {
    "account": ["CREATE DATABASE", "bind service endpoint", "CREATE COMPUTE POOL"],
    "Database": ["USAGE", "MONITOR", "CREATE SCHEMA"],
    "Schema": ["USAGE", "CREATE STAGE", "create service"],
    "Warehouse": ["USAGE", "OPERATE", "ALL"],
    "Stage": ["READ", "ALL"],
}
_named = {"Database": "db", "Schema": "db.sch", "Warehouse": "wh", "Stage": "db.sch.kept"}
_FUTURE = {"stages": ["READ"], "services": ["MONITOR", "OPERATE"], "secrets": ["USAGE", "READ"]}


@st.composite
def _role(draw: st.DrawFn) -> list[dict[str, Any]]:
    """With the warehouse and the stage that it may use."""
    entries = []
    for target in draw(st.lists(st.sampled_from(sorted(_on)), unique=True)):
        on = "account" if target == "account" else {"kind": target, "name": _named[target]}
        names = draw(st.lists(st.sampled_from(_on[target]), min_size=1, unique=True))
        entries.append({"on": on, "privileges": names, **draw(optional(grantOption=st.booleans()))})
    for plural in draw(st.lists(st.sampled_from(sorted(_FUTURE)), unique=True)):
        container = draw(st.sampled_from([{"kind": "Database", "name": "db"}, {"kind": "Schema", "name": "db.sch"}]))
        entries.append({"on": {"future": plural, "in": container}, "privileges": _FUTURE[plural]})
    holders = optional(roles=st.lists(st.sampled_from(["sysadmin", "useradmin"]), unique=True), users=st.just(["admin"]))
    documents = [
        {"kind": "Warehouse", "metadata": {"name": "wh"}, "spec": {}},
        {"kind": "Stage", "metadata": {"name": "kept", **SCHEMA}, "spec": {}},
    ]
    return [*documents, draw(manifests("Role", optional(comment=comments, privileges=st.just(entries), grantedTo=holders)))]


def _alone(strategy: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return strategy.map(lambda document: [document])


BY_KIND = {
    "ComputePool": _alone(pools),
    "Warehouse": _alone(warehouses),
    "Database": _alone(databases),
    "Schema": _alone(schemas),
    "Secret": _alone(secrets),
    "NetworkRule": _alone(rules),
    "ExternalAccessIntegration": _integration(),
    "Stage": _alone(stages),
    "ImageRepository": _alone(repositories),
    "SecurityIntegration": _alone(ingress),
    "Role": _role(),
}
