"""Objects of every simple kind with all their fields set, and another value for each field: what tests of fields and drift go through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.kinds.properties import TableKind
from controller.kinds.property import Property
from controller.kinds.registry import KINDS

WORD = {"command": ["echo", "-n", "a word"]}
SCHEMA = {"schema": "db.sch"}
RULES = [{"kind": "NetworkRule", "metadata": {"name": name, **SCHEMA}, "spec": {"values": ["a.com"]}} for name in ("rule", "rule2")]
TOKEN = {"kind": "Secret", "metadata": {"name": "token", **SCHEMA}, "spec": {"valueFrom": WORD}}


@dataclass(frozen=True)
class Case:
    """An object with all fields set, and for the fields that are tried on it another value each.

    `by_hand` are the statements of a person where `ALTER … SET <clause>` with the other value is not what they would write.
    `fixed` fields cannot be left out of the manifest.
    """

    kind: str
    spec: Mapping[str, Any]
    other: Mapping[str, Any]
    place: Mapping[str, str] = field(default_factory=dict)
    by_hand: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    needs: tuple[Mapping[str, Any], ...] = ()

    def prop(self, path: str) -> Property:
        return next(p for p in self.table.properties if p.path == path)

    @property
    def table(self) -> TableKind:
        kind = KINDS[self.kind]
        assert isinstance(kind, TableKind)
        return kind

    def document(self, metadata: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """The manifest with some fields changed; one that is None is left out."""
        spec = {path: value for path, value in {**self.spec, **changes}.items() if value is not None}
        return {"kind": self.kind, "metadata": {"name": "thing", **self.place, **(metadata or {})}, "spec": spec}


CASES = [
    Case(
        "Warehouse",
        {
            "type": "STANDARD", "size": "small", "minClusters": 2, "maxClusters": 3, "scalingPolicy": "ECONOMY", "autoSuspend": 60,
            "autoResume": False, "resourceMonitor": "limits", "queryAcceleration": True, "queryAccelerationMaxScaleFactor": 2,
            "resourceConstraint": "MEMORY_1X", "maxConcurrencyLevel": 4, "statementQueuedTimeoutSeconds": 9, "statementTimeoutSeconds": 99,
            "generation": 2,
        },
        {
            "size": "large", "minClusters": 1, "maxClusters": 5, "scalingPolicy": "STANDARD", "autoSuspend": 0, "autoResume": True,
            "resourceMonitor": "limits2", "queryAcceleration": False, "queryAccelerationMaxScaleFactor": 0,
            "resourceConstraint": "MEMORY_16X", "maxConcurrencyLevel": 5, "statementQueuedTimeoutSeconds": 0, "statementTimeoutSeconds": 0,
            "generation": 1,
        },
        fixed=frozenset({"maxClusters"}),
    ),
    Case("Warehouse", {"type": "STANDARD", "autoResume": False, "initiallySuspended": False}, {"type": "SNOWPARK-OPTIMIZED"}),
    Case(
        "Warehouse",
        {"type": "ADAPTIVE", "maxQueryPerformanceLevel": "large", "queryThroughputMultiplier": 2},
        {"maxQueryPerformanceLevel": "x4large", "queryThroughputMultiplier": 0},
    ),
    Case(
        "Database",
        {"dataRetentionDays": 3, "maxDataExtensionDays": 5, "defaultDdlCollation": "en-ci", "logLevel": "INFO"},
        {"dataRetentionDays": 0, "maxDataExtensionDays": 0, "defaultDdlCollation": "de", "logLevel": "OFF"},
    ),
    Case("Database", {"dataRetentionDays": 1}, {"transient": True}),
    Case("Schema", {"dataRetentionDays": 1}, {"transient": True}, {"database": "db"}),
    Case(
        "Schema",
        {"dataRetentionDays": 3, "maxDataExtensionDays": 5, "defaultDdlCollation": "en-ci", "logLevel": "INFO", "managedAccess": True},
        {
            "dataRetentionDays": 0, "maxDataExtensionDays": 0, "defaultDdlCollation": "de", "logLevel": "OFF", "managedAccess": False,
        },
        {"database": "db"},
    ),
    Case(
        "ComputePool",
        {
            "instanceFamily": "CPU_X64_S", "minNodes": 2, "maxNodes": 3, "autoResume": False, "autoSuspendSeconds": 600,
            "backupInstanceFamilies": ["CPU_X64_M", "CPU_X64_L"], "initiallySuspended": True,
        },
        {
            "minNodes": 1, "maxNodes": 4, "autoResume": True, "autoSuspendSeconds": 0, "application": "app",
            "backupInstanceFamilies": ["CPU_X64_L", "CPU_X64_M"], "instanceFamily": "GPU_NV_S",
        },
        fixed=frozenset({"instanceFamily", "maxNodes"}),
    ),
    Case(
        "ComputePool",
        {"instanceFamily": "CPU_X64_S", "placementGroup": "A", "autoSuspendSeconds": 0},
        {"placementGroup": "DISTRIBUTED"},
        by_hand={"placementGroup": ("SUSPEND", "SET PLACEMENT_GROUP = 'DISTRIBUTED'", "RESUME")},
    ),
    Case("Secret", {"valueFrom": WORD}, {"type": {"type": "password", "username": "anna"}}, SCHEMA),
    Case(
        "Secret",
        {"type": "password", "username": "anna", "valueFrom": WORD},
        {"username": "otto"},
        SCHEMA,
        fixed=frozenset({"username"}),
    ),
    Case(
        "Secret",
        {"type": "oauth2", "apiAuthentication": "auth", "oauthScopes": ["read", "write"]},
        {"apiAuthentication": "auth2", "oauthScopes": ["read"]},
        SCHEMA,
        fixed=frozenset({"apiAuthentication"}),
    ),
    Case(
        "Secret",
        {"type": "oauth2", "apiAuthentication": "auth", "refreshTokenExpiry": "2027-01-06 20:00:00", "valueFrom": WORD},
        {"refreshTokenExpiry": "2028-01-06 20:00:00"},
        SCHEMA,
        fixed=frozenset({"refreshTokenExpiry"}),
    ),
    Case("NetworkRule", {"values": ["a.com", "b.com:8443"]}, {"values": ["a.com", "c.com"]}, SCHEMA, fixed=frozenset({"values"})),
    Case("NetworkRule", {"type": "HOST_PORT", "values": ["a.com"]}, {"type": "PRIVATE_HOST_PORT", "mode": "POSTGRES_EGRESS"}, SCHEMA),
    Case(
        "ExternalAccessIntegration",
        {"networkRules": ["db.sch.rule"], "secrets": ["db.sch.token"], "apiIntegrations": ["auth"], "enabled": False},
        {"networkRules": ["db.sch.rule2", "db.sch.rule"], "secrets": [], "apiIntegrations": ["auth2", "auth"], "enabled": True},
        fixed=frozenset({"networkRules"}),
        needs=(*RULES, TOKEN),
    ),
    Case("Stage", {"encryption": "SNOWFLAKE_FULL", "directory": False}, {"encryption": "SNOWFLAKE_SSE", "directory": True}, SCHEMA),
    Case("ImageRepository", {"encryption": "SNOWFLAKE_SSE"}, {"encryption": "SNOWFLAKE_FULL"}, SCHEMA),
    Case("SecurityIntegration", {"enabled": False}, {"enabled": True}),
]  # fmt: skip
