"""Compute pools: a table of properties, a state machine of nodes, and the two properties that only a suspended pool takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Describe, Row, Show
from controller.api.compute_pool import ComputePool
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import FieldChange, Health, Observation, Room, Sql, Stalled, Step, View, Waiting
from controller.kinds.comments import renewed_comment
from controller.kinds.instance_families import SHOWN, family
from controller.kinds.mark import mark_of
from controller.kinds.pool_room import begins_suspended, queue_attribute, room_of
from controller.kinds.pool_use import runs_here
from controller.kinds.properties import TableKind, Verdict, as_bool, as_int, as_name, as_upper, as_upper_list, name_sql, stored_name
from controller.kinds.property import Property, set_before
from controller.kinds.tenants import SERVICES, strangers

SYSTEM_POOLS = "SYSTEM_COMPUTE_POOL_"
_NO_CAPACITY, _AT_MAXIMUM = "392507", "392508"
_STOPPED = frozenset({"SUSPENDED", "STOPPING"})
_WHILE_SUSPENDED = frozenset({"instanceFamily", "placementGroup"})


class ComputePoolKind(TableKind):
    """Source: docs.snowflake.com, sql-reference/sql/create-compute-pool, alter-compute-pool, show-compute-pools, desc-compute-pool.

    `resume=yes` in the mark says that the pool was suspended by us, to change what only a suspended pool takes, and must come back."""

    name: ClassVar[str] = "ComputePool"
    manifest: ClassVar[type[ComputePool]] = ComputePool
    what: ClassVar[str] = "COMPUTE POOL"
    plural: ClassVar[str] = "COMPUTE POOLS"
    properties: ClassVar[tuple[Property, ...]] = (
        Property(
            "application", "FOR APPLICATION", name_sql, "application", as_name, stored_name, mutable=False, equals=False,
            way_out="a pool is made for an application or for all, once: put the old value back in the manifest, choose another name, or "
            "set metadata.replace: allowed",
        ),
        Property("min_nodes", "MIN_NODES", sql.number, "min_nodes", as_int),
        Property("max_nodes", "MAX_NODES", sql.number, "max_nodes", as_int),
        Property("instance_family", "INSTANCE_FAMILY", sql.word, "instance_family", as_upper),
        Property("auto_resume", "AUTO_RESUME", sql.flag, "auto_resume", as_bool),
        Property("initially_suspended", "INITIALLY_SUSPENDED", sql.flag, implied=False, read=begins_suspended),
        Property("auto_suspend_seconds", "AUTO_SUSPEND_SECS", sql.number, "auto_suspend_secs", as_int),
        Property("placement_group", "PLACEMENT_GROUP", sql.text, "placement_group", as_upper, as_upper, inherits=True),
        Property(
            "backup_instance_families", "BACKUP_INSTANCE_FAMILIES", sql.texts, "backup_instance_families", as_upper_list, as_upper_list
        ),
    )  # fmt: skip

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Describe]:
        """Why a pool gets no nodes is told by DESCRIBE alone."""
        row = self.row(obj, view)
        if row is not None and as_upper(row.get("state")) not in {"IDLE", "ACTIVE", "SUSPENDED"}:
            yield Describe(self.what, obj.key.name.sql)
        yield from strangers(view, obj.key.name.name.text)

    def attributes(self, obj: DesiredObject, view: View) -> dict[str, str]:
        """`resume=yes` from the SUSPEND of a running pool until the change is in; until then `set=` keeps what is to be unset."""
        row = self.row(obj, view)
        pending = list(self._needs_suspension(obj, row)) if row is not None else []
        running = row is not None and as_upper(row.get("state")) not in _STOPPED
        common = super().attributes(obj, view)
        known = {*filter(None, common["set"].split(",")), *(change.path for change in pending if change.path == "placementGroup")}
        resume = "yes" if pending and (running or self._comes_back(row)) else ""
        return {**common, "set": ",".join(sorted(known)), "resume": resume}

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        changing = any(self._needs_suspension(obj, row))
        if as_upper(row.get("state")) in _STOPPED and not changing and (self._comes_back(row) or self._should_run(obj, row, view)):
            yield FieldChange("suspended", True, False)

    def compared(self, obj: DesiredObject, row: Row) -> Row:
        """A suspended pool may not show where its nodes will be: then the mark knows whether the placement was set."""
        mark = mark_of(row)
        known = as_upper(row.get("state")) == "SUSPENDED" and not row.get("placement_group") and "placementGroup" in set_before(mark)
        if known and obj.manifest.spec.placement_group is None:
            return {**row, "placement_group": "set earlier"}
        if known and not self._comes_back(row):
            return {column: value for column, value in row.items() if column != "placement_group"}
        return row

    @staticmethod
    def _should_run(obj: DesiredObject, row: Row, view: View) -> bool:
        """Not one that was suspended on purpose, nor one that suspends itself or was made suspended, unless services belong on it."""
        spec, mark = obj.manifest.spec, mark_of(row)
        if spec.idle is not None or (mark is not None and {"paused", "held"} & mark.attributes.keys()):
            return False
        if runs_here(obj.key, view):
            return True
        return spec.auto_suspend_seconds == 0 and not spec.initially_suspended

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        state = as_upper(row.get("state")) or "UNKNOWN"
        nodes = f"node {as_int(row.get('active_nodes')) or 0} of {as_int(row.get('target_nodes')) or obj.manifest.spec.min_nodes}"
        if state in {"IDLE", "ACTIVE"}:
            idle = as_int(row.get("idle_nodes")) or 0
            active = as_int(row.get("active_nodes")) or 0
            return Verdict(Health.HEALTHY, f"{state.lower()}, {active + idle} of {row.get('max_nodes')} nodes", "Running")
        if state == "SUSPENDED":
            return self._suspended(obj, row)
        if state == "STOPPING":
            return Verdict(Health.SUSPENDED, "stopping: running jobs go on to their end first", "Stopping")
        trouble = self._trouble(obj, view)
        if trouble is not None:
            return trouble
        if state in {"STARTING", "RESIZING"}:
            return Verdict(Health.PROGRESSING, f"{state.lower()}: {nodes} is up; new nodes take some minutes", state.capitalize())
        return Verdict(Health.PROGRESSING, f"state {state}", "UnknownState")

    @staticmethod
    def _suspended(obj: DesiredObject, row: Row) -> Verdict:
        if as_bool(row.get("auto_resume")) is not False:
            return Verdict(Health.SUSPENDED, "suspended; resumes when a service or job is submitted", "Suspended")
        if obj.manifest.spec.initially_suspended:
            return Verdict(Health.SUSPENDED, "suspended, and autoResume is off: resume it with `snowcat resume`", "Suspended")
        return Verdict(
            Health.DEGRADED,
            f"suspended, and autoResume is off, so nothing can start: ALTER COMPUTE POOL {obj.key.name.sql} RESUME, or autoResume: true",
            "SuspendedForGood",
        )

    def _trouble(self, obj: DesiredObject, view: View) -> Verdict | None:
        """What DESCRIBE says is wrong, where it was asked."""
        question = Describe(self.what, obj.key.name.sql)
        rows = view.snapshot.rows(question) if view.snapshot.asked(question) else ()
        code = str(rows[0].get("error_code") or "") if rows else ""
        told = str(rows[0].get("status_message") or "") if rows else ""
        family = obj.manifest.spec.instance_family
        if code == _NO_CAPACITY:
            return Verdict(
                Health.DEGRADED,
                f"no {family} node is to be had in this region now ({told}): wait, or name backupInstanceFamilies",
                "NoCapacity",
            )
        if code == _AT_MAXIMUM:
            return Verdict(Health.DEGRADED, f"services wait for a node: maxNodes {obj.manifest.spec.max_nodes} is reached", "AtMaximum")
        if code:
            return Verdict(Health.DEGRADED, f"{told} (error {code})", "PoolError")
        return None

    def observed(self, row: Row) -> Mapping[str, Any]:
        columns = ("state", "active_nodes", "idle_nodes", "target_nodes", "num_services", "num_jobs", "instance_family", "resumed_on")
        return {column: row.get(column) for column in columns}

    # ---- changes ----

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        _not_a_system_pool(obj.key.name)
        return super().create(obj, view)

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        """Live properties at once; a family or placement by SUSPEND, then SET, then RESUME, over as many cycles as the nodes need."""
        _not_a_system_pool(obj.key.name)
        row = self.row(obj, view)
        drifted = {change.path for change in seen.drift}
        held_back = drifted & _WHILE_SUSPENDED
        state = as_upper(row.get("state")) if row is not None else None
        if not held_back and "suspended" not in drifted:
            return self.alterations(obj, seen, view)
        if state == "SUSPENDED":
            # RESUME goes before the statement that takes `resume=yes` out of the mark, so that a crash in between is made good
            properties = self.alterations(obj, seen, view, comment=False)
            mark = self._settled_mark(obj, row, view)
            resume = [Sql(sql.alter(self.what, obj.key.name, "RESUME"))] if self._comes_back(row) or "suspended" in drifted else []
            return [*properties, *resume, *mark]
        live = self.alterations(obj, seen, view, skip=_WHILE_SUSPENDED)
        if state == "STOPPING":
            if not live:
                raise Waiting("stopping: running jobs go on to their end, then the change goes on")
            return live
        return [*live, Sql(sql.alter(self.what, obj.key.name, "SUSPEND"))]

    def _settled_mark(self, obj: DesiredObject, row: Row | None, view: View) -> list[Step]:
        """The comment as it should be once nothing is pending any more."""
        current = (row.get("comment") if row is not None else None) or ""
        text = renewed_comment(obj, view, current, **super().attributes(obj, view))
        clause = sql.equals("COMMENT", sql.text(text))
        return [] if text == current else [Sql(sql.alter_set(self.what, obj.key.name, [clause]))]

    def _needs_suspension(self, obj: DesiredObject, row: Row) -> Iterable[FieldChange]:
        mark = mark_of(row)
        for prop in self.properties:
            if prop.path in _WHILE_SUSPENDED and prop.path not in obj.manifest.metadata.ignore:
                change = prop.drift(obj, self.compared(obj, row), mark)
                if change is not None:
                    yield change

    @staticmethod
    def _comes_back(row: Row | None) -> bool:
        mark = mark_of(row)
        return mark is not None and mark.attributes.get("resume") == "yes"

    def cost(self, obj: DesiredObject, seen: Observation, view: View) -> tuple[float | None, float | None] | None:
        row = self.row(obj, view)
        spec = obj.manifest.spec
        after = _credits(spec.instance_family, spec.min_nodes)
        if row is None:
            return 0.0, 0.0 if begins_suspended(obj) else after
        running = as_upper(row.get("state")) not in _STOPPED
        if not running:
            return 0.0, after if any(change.path == "suspended" for change in seen.drift) else 0.0
        return _credits(as_upper(row.get("instance_family")) or "", as_int(row.get("min_nodes")) or 0), after

    def leftover_cost(self, key: ObjectKey, view: View) -> tuple[float | None, float | None] | None:
        row = view.snapshot.row(self.show(key.name), key.name)
        if row is None:
            return None
        if as_upper(row.get("state")) in _STOPPED:
            return 0.0, 0.0
        return _credits(as_upper(row.get("instance_family")) or "", as_int(row.get("min_nodes")) or 0), 0.0

    def exported_name(self, row: Row) -> QualifiedName | None:
        """None of Snowflake's own pools."""
        return None if str(row.get("name", "")).startswith(SYSTEM_POOLS) else super().exported_name(row)

    # ---- room for what runs on it ----

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        return (*super().reads(obj, graph), SHOWN, SERVICES)

    def room(self, obj: DesiredObject, view: View) -> Room | None:
        return room_of(obj, self.row(obj, view), view)

    def hold(self, obj: DesiredObject, by: str, view: View) -> Sequence[Step]:
        return (Sql(sql.alter(self.what, obj.key.name, "SUSPEND")),)

    def release(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        return (Sql(sql.alter(self.what, obj.key.name, "RESUME")),)

    def note_queue(self, obj: DesiredObject, queue: Sequence[str], view: View) -> Sequence[Step]:
        row = self.row(obj, view)
        current = str(row.get("comment") or "") if row is not None else ""
        wanted = renewed_comment(obj, view, current, **{**self.attributes(obj, view), "queue": queue_attribute(queue)})
        return (Sql(sql.alter_set(self.what, obj.key.name, [sql.equals("COMMENT", sql.text(wanted))])),) if wanted != current else ()

    # ---- dropping ----

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        _not_a_system_pool(key.name)
        return super().delete(key, view)

    def drop_reads(self, key: ObjectKey) -> Iterable[Show]:
        return (Show("SERVICES", f"COMPUTE POOL {key.name.sql}"),)

    def foreign_inside(self, key: ObjectKey, view: View) -> Iterable[str]:
        for row in view.snapshot.rows(Show("SERVICES", f"COMPUTE POOL {key.name.sql}")):
            mark = mark_of(row)
            if mark is None or mark.project != view.project.name:
                yield f"service {row.get('database_name')}.{row.get('schema_name')}.{row.get('name')}"


def _credits(name: str, nodes: int) -> float | None:
    known = family(name)
    return None if known is None or known.credits is None else round(known.credits * nodes, 4)


def _not_a_system_pool(name: QualifiedName) -> None:
    if name.name.text.startswith(SYSTEM_POOLS):
        raise Stalled(f"{name} belongs to Snowflake and is never changed: choose another name", "SystemPool")
