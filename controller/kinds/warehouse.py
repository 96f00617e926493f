"""Virtual warehouses. A suspended one that resumes by itself is as it should be: it costs nothing until it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Read, Row, Show
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject
from controller.api.warehouse import Warehouse, size_word
from controller.kinds.base import Health, Observation, Sql, Step, View
from controller.kinds.properties import TableKind, Verdict, as_bool, as_int, as_name, as_upper, name_sql, stored_name
from controller.kinds.property import Property

_AT_REST = frozenset({"SUSPENDED", "SUSPENDING"})
_SIZES = ("XSMALL", "SMALL", "MEDIUM", "LARGE", "XLARGE", "XXLARGE", "XXXLARGE", "X4LARGE", "X5LARGE", "X6LARGE")
_SUSPENDED_ALREADY = frozenset({90064})


def size(value: Any) -> str | None:
    return size_word(str(value)) if value else None


def _seconds(value: Any) -> int:
    return as_int(value) or 0  # NULL and 0 both mean never


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _rate(named: str | None, clusters: int | None, plain: bool) -> float | None:
    """Credits per hour: 1 for the smallest size, twice as many for each larger one; None for other types, whose rates differ by cloud.

    Source: docs.snowflake.com, user-guide/warehouses-overview.
    """
    return float(2 ** _SIZES.index(named) * (clusters or 1)) if plain and named in _SIZES else None


def _sized(obj: DesiredObject) -> bool:
    """An ADAPTIVE warehouse has neither a size nor clusters."""
    return bool(obj.manifest.spec.type != "ADAPTIVE")


class WarehouseKind(TableKind):
    """Source: docs.snowflake.com, sql-reference/sql/create-warehouse, alter-warehouse, show-warehouses, show-parameters.

    What only some editions and types know (clusters, acceleration) is not said where the manifest asks for what is there anyway.
    """

    name: ClassVar[str] = "Warehouse"
    manifest: ClassVar[type[Warehouse]] = Warehouse
    what: ClassVar[str] = "WAREHOUSE"
    plural: ClassVar[str] = "WAREHOUSES"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("type", "WAREHOUSE_TYPE", sql.text, "type", as_upper, implied="STANDARD"),
        Property("size", "WAREHOUSE_SIZE", sql.word, "size", size, size, applies=_sized),
        Property("max_clusters", "MAX_CLUSTER_COUNT", sql.number, "max_cluster_count", as_int, implied=1, applies=_sized),
        Property("min_clusters", "MIN_CLUSTER_COUNT", sql.number, "min_cluster_count", as_int, implied=1, applies=_sized),
        Property("scaling_policy", "SCALING_POLICY", sql.word, "scaling_policy", as_upper, implied="STANDARD", applies=_sized),
        Property("auto_suspend", "AUTO_SUSPEND", sql.number, "auto_suspend", _seconds),
        Property("auto_resume", "AUTO_RESUME", sql.flag, "auto_resume", as_bool),
        Property("initially_suspended", "INITIALLY_SUSPENDED", sql.flag),
        Property("resource_monitor", "RESOURCE_MONITOR", name_sql, "resource_monitor", as_name, stored_name, inherits=True),
        Property(
            "query_acceleration", "ENABLE_QUERY_ACCELERATION", sql.flag, "enable_query_acceleration", as_bool, implied=False, applies=_sized
        ),
        Property(
            "query_acceleration_max_scale_factor", "QUERY_ACCELERATION_MAX_SCALE_FACTOR", sql.number,
            "query_acceleration_max_scale_factor", as_int, implied=8, applies=_sized,
        ),
        Property("resource_constraint", "RESOURCE_CONSTRAINT", sql.word, "resource_constraint", as_upper, as_upper, inherits=True),
        Property("generation", "GENERATION", sql.text, "generation", _text, inherits=True),
        Property("max_concurrency_level", "MAX_CONCURRENCY_LEVEL", sql.number, "max_concurrency_level", as_int, inherits=True, deep=True),
        Property(
            "statement_queued_timeout_seconds", "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS", sql.number,
            "statement_queued_timeout_in_seconds", as_int, inherits=True, deep=True,
        ),
        Property(
            "statement_timeout_seconds", "STATEMENT_TIMEOUT_IN_SECONDS", sql.number,
            "statement_timeout_in_seconds", as_int, inherits=True, deep=True,
        ),
        Property(
            "max_query_performance_level", "MAX_QUERY_PERFORMANCE_LEVEL", sql.word, "max_query_performance_level", size, size,
            inherits=True, at_create=False,
        ),
        Property(
            "query_throughput_multiplier", "QUERY_THROUGHPUT_MULTIPLIER", sql.number, "query_throughput_multiplier", as_int,
            inherits=True, at_create=False,
        ),
    )  # fmt: skip

    def deep_question(self, name: QualifiedName) -> Read:
        return Show("PARAMETERS", f"{self.what} {name.sql}")

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        """Another type is set while the warehouse is suspended; queries that run are let go to their end."""
        steps = self.alterations(obj, seen, view)
        if "type" not in {change.path for change in seen.drift}:
            return steps
        suspend = Sql(sql.alter(self.what, obj.key.name, "SUSPEND"), tolerate=_SUSPENDED_ALREADY)
        resume = Sql(sql.alter(self.what, obj.key.name, "RESUME IF SUSPENDED"))
        return [suspend, *steps, *([] if obj.manifest.spec.auto_resume else [resume])]

    def cost(self, obj: DesiredObject, seen: Observation, view: View) -> tuple[float | None, float | None] | None:
        """Of one that never suspends itself; any other costs nothing that it is not asked for."""
        row, spec = self.row(obj, view), obj.manifest.spec
        runs = not spec.initially_suspended if row is None else as_upper(row.get("state")) not in _AT_REST
        plain = spec.type == "STANDARD" and spec.generation is None and spec.resource_constraint is None
        after = _rate(spec.size, spec.min_clusters, plain) if runs and not spec.auto_suspend else 0.0
        before: float | None = 0.0
        if row is not None and runs and not _seconds(row.get("auto_suspend")):
            shown = as_upper(row.get("type")) in (None, "STANDARD") and not row.get("generation") and not row.get("resource_constraint")
            before = _rate(size(row.get("size")), as_int(row.get("min_cluster_count")), shown)
        return None if (before, after) == (0.0, 0.0) else (before, after)

    def exported_name(self, row: Row) -> QualifiedName | None:
        """Not the ones that Snowflake keeps for itself, such as SYSTEM$STREAMLIT_NOTEBOOK_WH."""
        return None if str(row.get("name", "")).startswith("SYSTEM$") else super().exported_name(row)

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        state = as_upper(row.get("state")) or "UNKNOWN"
        if state in {"SUSPENDED", "SUSPENDING"}:
            if as_bool(row.get("auto_resume")) is not False:
                return Verdict(Health.HEALTHY, "suspended; resumes with the next query", "Suspended")
            return Verdict(
                Health.DEGRADED,
                f"suspended, and autoResume is off, so no query runs: ALTER WAREHOUSE {obj.key.name.sql} RESUME, or autoResume: true",
                "SuspendedForGood",
            )
        if state in {"RESIZING", "RESUMING"}:
            return Verdict(Health.PROGRESSING, state.lower(), state.capitalize())
        return Verdict(Health.HEALTHY, state.lower(), state.capitalize())

    def observed(self, row: Row) -> Mapping[str, Any]:
        return {column: row.get(column) for column in ("state", "size", "type", "running", "queued", "resumed_on")}
