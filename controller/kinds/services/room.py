"""A service's place on its pool: how much it takes, and the statements that suspend it for another and bring it back.

While it is held, AUTO_RESUME is off: else a call of its function would wake it and take the room that was made. `held=` in the mark is
written before it is suspended and taken out after it is resumed, so that at any moment a service that we suspended says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from controller.account import statements as sql
from controller.account.snapshot import Row
from controller.api.compute_pool import ComputePoolSpec
from controller.api.objects import DesiredObject
from controller.api.service import ServiceSpec
from controller.kinds.base import KindError, Load, Sql, Step, View
from controller.kinds.comments import as_attribute, renewed_comment
from controller.kinds.instance_families import family_shown
from controller.kinds.properties import as_bool, as_upper
from controller.kinds.services.source import specification_of
from controller.kinds.sizes import DEFAULT, of_specification

_DOWN = frozenset({"SUSPENDED", "SUSPENDING"})


def load_of(obj: DesiredObject, view: View) -> Load | None:
    pool = view.graph.referred(obj, "computePool")
    if pool is None:
        return None
    spec = cast(ServiceSpec, obj.manifest.spec)
    node = family_shown(cast(ComputePoolSpec, pool.manifest.spec).instance_family, view.snapshot)
    try:
        document = specification_of(obj, view).model_dump(mode="json", by_alias=True, exclude_none=True)
        size = of_specification(document, node)
    except KindError:  # its file cannot be read; the object's own status says so
        size = DEFAULT
    return Load(pool.key, size, spec.min_instances, priority=spec.priority, preemptible=spec.preemptible)


def hold(obj: DesiredObject, row: Row, by: str, attributes: dict[str, str], view: View) -> Sequence[Step]:
    clauses = [sql.equals("AUTO_RESUME", sql.flag(False))] if as_bool(row.get("auto_resume")) is not False else []
    clauses += _comment(obj, row, {**attributes, "held": as_attribute(by)}, view)
    steps: list[Step] = [Sql(sql.alter_set("SERVICE", obj.key.name, clauses))] if clauses else []
    if as_upper(row.get("status")) not in _DOWN:
        steps.append(Sql(sql.alter("SERVICE", obj.key.name, "SUSPEND")))
    return steps


def release(obj: DesiredObject, row: Row, attributes: dict[str, str], view: View) -> Sequence[Step]:
    steps: list[Step] = [Sql(sql.alter("SERVICE", obj.key.name, "RESUME"))] if as_upper(row.get("status")) in _DOWN else []
    wanted = cast(ServiceSpec, obj.manifest.spec).auto_resume
    clauses = [sql.equals("AUTO_RESUME", sql.flag(wanted))] if as_bool(row.get("auto_resume")) is not wanted else []
    clauses += _comment(obj, row, {**attributes, "held": ""}, view)
    return [*steps, Sql(sql.alter_set("SERVICE", obj.key.name, clauses))] if clauses else steps


def _comment(obj: DesiredObject, row: Row, attributes: dict[str, str], view: View) -> list[str]:
    current = str(row.get("comment") or "")
    wanted = renewed_comment(obj, view, current, **attributes)
    return [sql.equals("COMMENT", sql.text(wanted))] if wanted != current else []
