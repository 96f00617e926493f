"""`suspend` and `resume`: an object that a person wants left alone is left alone whole, by every daemon, until told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from reconcile_live import Live
from reconcile_world import key

from controller.account.session import Session
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, ObjectKey
from controller.api.warehouse import WarehouseSpec
from controller.kinds.base import Health, Observation, Sql, Step, View
from controller.kinds.warehouse import WarehouseKind
from controller.reconcile.pause import CannotPause, Writing, pausing, resuming

WAREHOUSE = """
    kind: Warehouse
    metadata: {name: wh_@}
    spec: {size: xsmall, autoSuspend: 60}
"""
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def paused_by_command(live: Live, *names: str) -> list[Writing]:
    engine = live.engine()
    view = engine.look(engine.load())
    plan = engine.plan(engine.load(), view)
    keys = [key(*live.text(name).split("/")) for name in names]
    return pausing(keys, plan, view, live.kinds, "ann@desk", NOON)


def resumed_by_command(live: Live, *names: str) -> list[Writing]:
    engine = live.engine()
    view = engine.look(engine.load())
    plan = engine.plan(engine.load(), view)
    return resuming([key(*live.text(name).split("/")) for name in names], plan, view, live.kinds)


def carry_out(live: Live, writings: list[Writing]) -> None:
    with live.pool.session() as session:
        for writing in writings:
            _send(session, writing)


def _send(session: Session, writing: Writing) -> None:
    for step in writing.steps:
        assert isinstance(step, Sql)
        session.execute(step)


def test_a_suspended_object_is_left_alone_whole_until_it_is_resumed(live: Live) -> None:
    live.write(a=WAREHOUSE)
    live.apply()
    carry_out(live, paused_by_command(live, "Warehouse/wh_@"))
    live.by_hand("ALTER WAREHOUSE wh_@ SET AUTO_SUSPEND = 7")
    live.write(a=WAREHOUSE.replace("xsmall", "small"))
    report = live.apply()
    (status,) = report.statuses
    assert report.settled and status.health.value == "Suspended" and status.sync.value == "OutOfSync"
    condition = status.condition("Suspended")
    assert condition is not None and condition.reason == "Paused"
    assert "ann@desk at 2026-11-22 12:00 UTC" in status.message and live.text("snowcat resume Warehouse/wh_@") in status.message
    row = live.row("WAREHOUSES", "wh_@") or {}
    assert (row["auto_suspend"], row["size"]) == (7, "X-Small"), "neither drift nor the manifest's change is carried out"
    assert [what for _, what in live.happened()].count("Suspended") == 1
    assert paused_by_command(live, "Warehouse/wh_@") == [], "a second time there is nothing to write"

    (live.folder / "a.yaml").unlink()
    report = live.apply()
    assert report.settled and live.row("WAREHOUSES", "wh_@"), "nor is it dropped when its manifest goes"

    live.write(a=WAREHOUSE.replace("xsmall", "small"))
    carry_out(live, resumed_by_command(live, "Warehouse/wh_@"))
    assert live.apply().ready
    row = live.row("WAREHOUSES", "wh_@") or {}
    assert (row["auto_suspend"], row["size"]) == (60, "Small")
    assert "paused" not in row["comment"]
    assert ("Warehouse/WH_@", "Resumed") in live.happened()


def test_what_cannot_be_suspended_says_what_to_do(live: Live) -> None:
    live.write(a=WAREHOUSE)
    with pytest.raises(CannotPause, match=r"is not there yet: set 'suspend: true' under metadata at .*a\.yaml:\d+"):
        paused_by_command(live, "Warehouse/wh_@")
    live.apply()
    (live.folder / "a.yaml").unlink()
    with pytest.raises(CannotPause, match="is in no manifest"):
        paused_by_command(live, "Warehouse/wh_@")


# ---- composites --------------------------------------------------------------------------------------------------------------------------


class FamilyKind(WarehouseKind):
    """A warehouse called FAMILY_… is no warehouse, but stands for several: as many as its `autoSuspend` says in tens of seconds."""

    def _composite(self, obj: DesiredObject) -> bool:
        return obj.key.name.name.text.startswith("FAMILY")

    def expand(self, obj: DesiredObject, view: View) -> Sequence[DesiredObject]:
        if not self._composite(obj):
            return ()
        spec = obj.manifest.spec
        assert isinstance(spec, WarehouseSpec) and spec.auto_suspend is not None
        tail = obj.key.name.name.text.removeprefix("FAMILY")
        names = [QualifiedName.parse(f"part{n}{tail}") for n in range(int(spec.auto_suspend) // 10)]
        metadata = [obj.manifest.metadata.model_copy(update={"name": name.sql}) for name in names]
        return [
            DesiredObject(ObjectKey("Warehouse", name), obj.manifest.model_copy(update={"metadata": m}), obj.location, parent=obj.key)
            for name, m in zip(names, metadata, strict=True)
        ]

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        return Observation(False, Health.HEALTHY) if self._composite(obj) else super().observe(obj, view)

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        return () if self._composite(obj) else super().create(obj, view)


def test_a_composite_is_suspended_whole_with_parts_that_are_not_there_yet(live: Live) -> None:
    live.kinds = {**live.kinds, "Warehouse": FamilyKind()}
    family = WAREHOUSE.replace("wh_@", "family_@").replace("60", "20")
    live.write(a=family)
    assert live.apply().ready
    writings = paused_by_command(live, "Warehouse/family_@")
    assert [str(w.key) for w in writings] == [live.text(f"Warehouse/part{n}_@") for n in range(2)]
    carry_out(live, writings)
    live.by_hand("ALTER WAREHOUSE part0_@ SET AUTO_SUSPEND = 7")
    live.write(a=family.replace("20", "30"))
    report = live.apply()
    assert report.settled
    assert {s.health.value for s in report.statuses} == {"Suspended"}
    assert all(live.text("snowcat resume Warehouse/family_@") in s.message for s in report.statuses), "the whole is what is resumed"
    assert not live.row("WAREHOUSES", "part2_@"), "a new part is not made"
    assert (live.row("WAREHOUSES", "part0_@") or {})["auto_suspend"] == 7
    with pytest.raises(CannotPause, match=live.text("is suspended as a part of Warehouse/family_@")):
        resumed_by_command(live, "Warehouse/part0_@")
    carry_out(live, resumed_by_command(live, "Warehouse/family_@"))
    assert live.apply().ready
    assert [(live.row("WAREHOUSES", f"part{n}_@") or {})["auto_suspend"] for n in range(3)] == [30, 30, 30]
