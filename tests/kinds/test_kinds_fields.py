"""Every field of every simple kind, over the wire: set by its manifest, changed by hand, left to others, taken out again.

The rows come from the kinds' own tables of properties: a new property fails here until `OTHER` says a second value for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from kinds_account import until
from kinds_round_trip import Trip, told, trip

from controller.account.connections import Connection
from controller.kinds.properties import Property, TableKind
from controller.kinds.registry import KINDS
from controller.reconcile.change import Action, Block, Change, Plan

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

ROWS = [(case, path) for case in CASES for path in case.other]
IDS = [f"{case.kind}-{path}" for case, path in ROWS]


@pytest.mark.parametrize("kind", sorted({case.kind for case in CASES}))
def test_no_field_is_forgotten(kind: str) -> None:
    table = KINDS[kind]
    assert isinstance(table, TableKind)
    compared = {prop.path for prop in table.properties if prop.column is not None}
    assert compared == {path for case in CASES if case.kind == kind for path in case.other}


@pytest.fixture
def made(account: Connection) -> Iterator[Trip]:
    with trip(account) as one:
        one.by_hand(
            "CREATE SECURITY INTEGRATION IF NOT EXISTS AUTH2 TYPE = API_AUTHENTICATION AUTH_TYPE = OAUTH2 ENABLED = TRUE",
            "CREATE RESOURCE MONITOR IF NOT EXISTS LIMITS2",
        )
        yield one


@pytest.mark.parametrize(("case", "path"), ROWS, ids=IDS)
def test_a_field(case: Case, path: str, made: Trip) -> None:
    def write(metadata: Mapping[str, Any] | None = None, **changes: Any) -> None:
        made.write([*case.needs, case.document(metadata, **changes)])

    def settle() -> None:
        plan = made.apply()
        assert plan.empty, told(plan)

    write()
    settle()
    if not case.prop(path).mutable:
        _refused_then_replaced(case, path, made)
        return

    _change_by_hand(case, path, made)
    write({"managementPolicy": "observe"})
    change = _only(made.apply(), case)
    assert path in {f.path for f in change.fields}, "seen in one look"
    assert (change.action, change.block, made.sent) == (Action.BLOCKED, Block.HELD, []), "only reported"
    write({"ignore": [path]})
    assert path not in {f.path for f in _only(made.plan(), case).fields}, "left to others"
    write()
    settle()
    assert (case.kind, path) in made.mended, "put back"

    write(**{path: case.other[path]})
    settle()
    assert (case.kind, path) in made.mended, "changed by the manifest"
    if path not in case.fixed:
        write(**{path: None})
        settle()


def _change_by_hand(case: Case, path: str, made: Trip) -> None:
    prop = case.prop(path)
    (obj,) = (o for o in _graph_of(made, case.document(**{path: case.other[path]}), case) if o.key.name.name.text == "THING")
    value = prop.value(obj)
    actions = case.by_hand.get(path) or (prop.action(value) if prop.action is not None else f"SET {prop.clause_for(value)}",)
    if path == "type":
        actions = ("SUSPEND", *actions)
    for action in actions:
        made.by_hand(f"ALTER {case.table.what} {obj.key.name.sql} {action}")
        if action == "SUSPEND" and case.kind == "ComputePool":
            until(lambda: made.by_hand("SHOW COMPUTE POOLS LIKE 'THING'")[0]["state"] == "SUSPENDED")


def _graph_of(made: Trip, document: Mapping[str, Any], case: Case) -> Any:
    kept = (made.folder / "objects.yaml").read_text()
    made.write([*case.needs, document])
    graph = made.plan().graph
    (made.folder / "objects.yaml").write_text(kept)
    return graph


def _refused_then_replaced(case: Case, path: str, made: Trip) -> None:
    other = case.other[path]
    changes = other if isinstance(other, dict) else {path: other}
    made.write([*case.needs, case.document(**changes)])
    change = _only(made.apply(until=lambda plan: True), case)
    assert (change.action, change.block, made.sent) == (Action.BLOCKED, Block.STALLED, []), "never dropped silently"
    assert path in change.reason
    assert "put the old" in change.reason, "the way out is told"
    made.write([*case.needs, case.document({"replace": "allowed", "deletionPolicy": "delete"}, **changes)])
    assert _only(made.plan(), case).action is Action.REPLACE
    plan = made.apply()
    assert plan.empty, told(plan)


def _only(plan: Plan, case: Case) -> Change:
    (change,) = (c for c in plan.changes if c.key.kind == case.kind and c.key.name.name.text == "THING")
    return change
