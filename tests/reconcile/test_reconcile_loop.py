"""The loop against a real account: it makes, keeps, repairs, and leaves alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from reconcile_live import Live, eventually

from controller.account.connections import local_connection
from controller.account.counters import StatementClass
from controller.account.pool import SessionPool
from controller.api.objects import DesiredObject
from controller.kinds.base import Effect, EffectContext, Step, View
from controller.kinds.warehouse import WarehouseKind
from controller.manifests.watch import Watcher
from controller.reconcile.clock import Timing
from controller.reconcile.report import Report

WAREHOUSE = """
    kind: Warehouse
    metadata: {name: wh_@}
    spec: {size: xsmall, autoSuspend: 60}
"""
POOL = """
    kind: ComputePool
    metadata: {name: pool_@}
    spec: {instanceFamily: CPU_X64_XS}
"""
DATABASE = """
    kind: Database
    metadata: {name: db_@, deletionPolicy: delete}
    ---
    kind: Schema
    metadata: {name: sch, database: db_@, deletionPolicy: delete}
    ---
    kind: Stage
    metadata: {name: st, schema: db_@.sch, deletionPolicy: delete}
"""
QUIET = {StatementClass.SHOW, StatementClass.DESCRIBE, StatementClass.SESSION}


def test_apply_makes_everything_and_a_second_one_only_looks(live: Live) -> None:
    live.write(a=WAREHOUSE, b=POOL, c=DATABASE)
    report = live.apply()
    assert report.settled and report.ready, [s.as_dict() for s in report.failed]
    assert {str(s.key).replace(str(live.n), "@") for s in report.statuses} == {
        *("Warehouse/wh_@", "ComputePool/pool_@", "Database/db_@", "Schema/sch", "Stage/st")
    }
    before = dict(live.pool.counters.by_class)
    again = live.apply()
    assert again.ready and again.plan is not None and again.plan.empty
    sent = {kind for kind, count in live.pool.counters.by_class.items() if count > before.get(kind, 0)}
    assert sent <= QUIET
    assert live.pool.counters.in_warehouse == 0


def test_saving_a_manifest_changes_just_that_object(live: Live) -> None:
    live.write(a=WAREHOUSE, b=DATABASE)
    live.apply()
    with live.daemon() as loop:
        watcher = Watcher([live.folder], loop.files_changed)
        watcher.start()
        eventually(lambda: live.reports and live.reports[-1].ready, "the project was ready before")
        live.write(a=WAREHOUSE.replace("60", "120"))
        eventually(lambda: (live.row("WAREHOUSES", "wh_@") or {}).get("auto_suspend") == 120, "the warehouse follows its manifest")
        eventually(lambda: ("Warehouse/WH_@", "Updated") in live.happened(), "and the history says so")
        watcher.stop()
    assert [who for who, what in live.happened() if what == "Updated"] == ["Warehouse/WH_@"]
    assert ("Warehouse/WH_@", "ManifestChanged") in live.happened()
    assert live.reports[-1].statuses[-1].generation >= 1


def test_drift_by_hand_is_put_back(live: Live) -> None:
    live.write(a=WAREHOUSE)
    live.apply()
    live.by_hand("ALTER WAREHOUSE wh_@ SET AUTO_SUSPEND = 7")
    assert live.apply().ready
    assert (live.row("WAREHOUSES", "wh_@") or {})["auto_suspend"] == 60
    assert ("Warehouse/WH_@", "DriftDetected") in live.happened()


def test_what_was_dropped_by_hand_is_made_again(live: Live) -> None:
    live.write(c=DATABASE)
    live.apply()
    live.by_hand("DROP SCHEMA db_@.sch")
    assert live.apply().ready
    assert live.sql("SHOW STAGES IN SCHEMA db_@.sch")


def test_a_broken_file_keeps_its_objects_and_holds_nothing_up(live: Live) -> None:
    live.write(a=WAREHOUSE, b=DATABASE)
    live.apply()
    (live.folder / "b.yaml").write_text("kind: [")
    live.write(a=WAREHOUSE.replace("60", "90"))
    report = live.apply()
    assert report.settled and not report.ready and "b.yaml" in report.problems[0]
    assert (live.row("WAREHOUSES", "wh_@") or {})["auto_suspend"] == 90
    assert live.sql("SHOW STAGES IN SCHEMA db_@.sch")


def test_a_foreign_object_is_not_touched_and_blocks_only_its_dependents(live: Live) -> None:
    live.sql("CREATE DATABASE db_@ COMMENT = 'theirs'")
    live.sql("GRANT USAGE ON DATABASE db_@ TO ROLE worker@")
    live.write(a=WAREHOUSE, b=DATABASE)
    report = live.apply()
    assert report.settled and not report.ready
    stuck = {str(s.key).replace(str(live.n), "@"): s for s in report.failed}
    assert set(stuck) == {"Database/db_@", "Schema/sch", "Stage/st"}
    assert stuck["Database/db_@"].stalled and "adopt" in stuck["Database/db_@"].message
    assert stuck["Schema/sch"].message == live.text("waits for Database/db_@")
    assert (live.row("DATABASES", "db_@") or {})["comment"] == "theirs"
    assert live.row("WAREHOUSES", "wh_@"), "what does not depend on it is made"


def test_adoption_takes_an_object_over(live: Live) -> None:
    live.by_hand("CREATE WAREHOUSE wh_@ AUTO_SUSPEND = 5 COMMENT = 'mine since 2024'")
    live.write(a=WAREHOUSE.replace("name: wh_@", "name: wh_@, adopt: true").replace("autoSuspend: 60", "autoSuspend: 60, comment: mine"))
    assert live.apply().ready
    row = live.row("WAREHOUSES", "wh_@") or {}
    assert row["auto_suspend"] == 60 and row["comment"].startswith(live.text("mine [snowcat proj@/Warehouse/wh_@"))


def test_suspended_and_observed_objects_are_only_reported(live: Live) -> None:
    live.write(a=WAREHOUSE, b=WAREHOUSE.replace("wh_@", "seen_@"))
    live.apply()
    for metadata in ("suspend: true", "managementPolicy: observe"):
        live.write(a=WAREHOUSE.replace("name: wh_@", f"name: wh_@, {metadata}"))
        live.by_hand("ALTER WAREHOUSE wh_@ SET AUTO_SUSPEND = 7")
        report = live.apply()
        assert report.settled
        assert (live.row("WAREHOUSES", "wh_@") or {})["auto_suspend"] == 7, metadata
    live.write(a=WAREHOUSE)
    live.apply()
    assert (live.row("WAREHOUSES", "wh_@") or {})["auto_suspend"] == 60


def test_every_difference_of_an_observed_object_is_told(live: Live) -> None:
    """Also the second one, and the account is as it was made: neither is ever repaired."""
    live.write(a=WAREHOUSE)
    live.apply()
    live.write(a=WAREHOUSE.replace("name: wh_@", "name: wh_@, managementPolicy: observe"))
    live.apply()

    def drifts() -> list[str]:
        return [event.message for event in live.state.events() if event.reason == "DriftDetected"]

    assert not drifts(), "that its mark says more than an observed one would is no difference"
    with live.daemon() as loop:
        for number, (clause, field) in enumerate((("AUTO_SUSPEND = 7", "autoSuspend"), ("AUTO_RESUME = FALSE", "autoResume")), 1):
            live.by_hand(f"ALTER WAREHOUSE wh_@ SET {clause}")
            loop.files_changed()
            eventually(lambda number=number: len(drifts()) == number, f"{field} is told")  # type: ignore[misc]
            assert field in drifts()[-1]
        eventually(lambda: any("in autoSuspend, autoResume" in status.message for status in live.reports[-1].statuses), "and which differ")


def test_a_removed_manifest_prunes_its_object_and_orphans_stay(live: Live) -> None:
    live.write(
        a=WAREHOUSE,
        b=WAREHOUSE.replace("wh_@", "gone_@"),
        c=WAREHOUSE.replace("name: wh_@", "name: stays_@, managementPolicy: orphan"),
        d=WAREHOUSE.replace("name: wh_@", "name: kept_@, deletionPolicy: orphan"),
    )
    live.apply()
    for name in "bcd":
        (live.folder / f"{name}.yaml").unlink()
    assert live.apply().ready
    assert not live.row("WAREHOUSES", "gone_@")
    assert live.row("WAREHOUSES", "stays_@") and live.row("WAREHOUSES", "kept_@")
    assert ("Warehouse/GONE_@", "Deleted") in live.happened()


def test_a_leftover_is_not_dropped_before_two_loads(live: Live) -> None:
    live.write(a=WAREHOUSE, b=WAREHOUSE.replace("wh_@", "gone_@"))
    live.apply()
    (live.folder / "b.yaml").unlink()
    reconciler = live.reconciler(timing=Timing(prune_gap=1e9))
    report = reconciler.run(until_settled=True, timeout=100)
    assert not report.settled
    assert live.row("WAREHOUSES", "gone_@")


def test_a_leftover_with_foreign_content_stays(live: Live) -> None:
    live.write(a=WAREHOUSE, b=DATABASE)
    live.apply()
    live.by_hand("CREATE STAGE db_@.sch.theirs")
    (live.folder / "b.yaml").unlink()
    report = live.apply()
    assert report.settled and not report.ready
    assert any("THEIRS" in s.message for s in report.failed)
    assert live.sql("SHOW STAGES IN SCHEMA db_@.sch")


def test_a_leftover_with_content_that_our_role_does_not_see_stays(live: Live) -> None:
    live.write(a=WAREHOUSE, b=DATABASE)
    live.apply()
    live.sql("CREATE STAGE db_@.sch.theirs")
    (live.folder / "b.yaml").unlink()
    report = live.apply()
    assert any("THEIRS" in s.message for s in report.failed)
    assert live.sql("SHOW STAGES IN SCHEMA db_@.sch")


def test_a_project_file_that_is_gone_changes_nothing(live: Live) -> None:
    """Editors write a file anew by removing it first; and a project above must not be taken in its place."""
    live.write(a=WAREHOUSE)
    file = live.folder / "snowcat.yaml"
    text = file.read_text()
    with live.daemon() as reconciler:
        eventually(lambda: live.row("WAREHOUSES", "wh_@"), "it is made")
        file.unlink()
        (live.folder.parent / "snowcat.yaml").write_text(text.replace("project: proj", "project: other"))
        reconciler.files_changed()
        eventually(lambda: live.reports and live.reports[-1].problems, "the loss is told of")
        file.write_text(text)
        live.write(b=WAREHOUSE.replace("wh_@", "more_@"))
        reconciler.files_changed()
        eventually(lambda: live.row("WAREHOUSES", "more_@"), "and work goes on once it is back")


def test_a_duplicate_stalls_both_and_nothing_else(live: Live) -> None:
    live.write(a=WAREHOUSE, b=WAREHOUSE.replace("wh_@", "other_@"))
    live.apply()
    live.write(c=WAREHOUSE.replace("wh_@", "WH_@").replace("60", "5"), b=WAREHOUSE.replace("wh_@", "other_@").replace("60", "90"))
    report = live.apply()
    assert (live.row("WAREHOUSES", "wh_@") or {})["auto_suspend"] == 60
    assert (live.row("WAREHOUSES", "other_@") or {})["auto_suspend"] == 90
    assert any(s.stalled and str(s.key) == live.text("Warehouse/wh_@") for s in report.statuses)


def test_a_missing_privilege_stalls_until_asked_again(live: Live) -> None:
    live.sql("REVOKE CREATE WAREHOUSE ON ACCOUNT FROM ROLE worker@")
    live.write(a=WAREHOUSE, b=DATABASE)
    report = live.apply()
    assert report.settled and [str(s.key) for s in report.failed] == [live.text("Warehouse/wh_@")]
    assert report.failed[0].stalled
    with live.daemon(timing=Timing(resync=0.5)):
        live.sql("GRANT CREATE WAREHOUSE ON ACCOUNT TO ROLE worker@")
        live.state.poke(live.text("Warehouse/wh_@"))
        eventually(lambda: live.row("WAREHOUSES", "wh_@"), "a request tries a stalled object again")


def test_assess_needs_no_daemon_and_changes_nothing(live: Live) -> None:
    live.write(a=WAREHOUSE)
    live.apply()
    events = live.happened()
    live.by_hand("ALTER WAREHOUSE wh_@ SET AUTO_SUSPEND = 7")
    _, _, (status,) = live.engine().assess()
    assert status.action == "update" and status.generation == 1
    assert status.conditions[0].last_transition is not None
    assert live.happened() == events
    assert (live.row("WAREHOUSES", "wh_@") or {})["auto_suspend"] == 7


# ---- slow and hanging work ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hang(Effect):
    """Takes until it is let go."""

    release: threading.Event
    started: list[str]

    def __str__(self) -> str:
        return "hang"

    def run(self, context: EffectContext) -> None:
        context.progress("hanging")
        self.started.append("once")
        self.release.wait()


class HangingWarehouse(WarehouseKind):
    """A warehouse whose making hangs when it is called HANGS_…."""

    release: ClassVar[threading.Event]
    started: ClassVar[list[str]]

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        steps = super().create(obj, view)
        return (Hang(self.release, self.started), *steps) if obj.key.name.name.text.startswith("HANGS") else steps


def test_hanging_work_stops_nobody_else_and_not_the_end(live: Live) -> None:
    HangingWarehouse.release, HangingWarehouse.started = threading.Event(), []
    live.kinds = {**live.kinds, "Warehouse": HangingWarehouse()}
    hanging = WAREHOUSE.replace("wh_@", "hangs_@")
    live.write(a=hanging, b=WAREHOUSE, c=WAREHOUSE.replace("name: wh_@", live.text("name: after_@, dependsOn: [Warehouse/hangs_@]")))
    with live.daemon(timing=Timing(grace=0.1)):
        eventually(lambda: live.row("WAREHOUSES", "wh_@"), "an independent object is made meanwhile")
        live.write(b=WAREHOUSE.replace("60", "61"))
        eventually(lambda: (live.row("WAREHOUSES", "wh_@") or {}).get("auto_suspend") == 61, "and kept")
        eventually(lambda: any(s.message == "hanging" for s in live.reports[-1].statuses), "its status says what it does")
    assert HangingWarehouse.started == ["once"], "never two workers on an object, however often the loop looks"
    assert not live.row("WAREHOUSES", "hangs_@") and not live.row("WAREHOUSES", "after_@")
    HangingWarehouse.release.set()
    live.kinds = {**live.kinds, "Warehouse": WarehouseKind()}
    assert live.apply().ready, "the next start takes it up"


# ---- an account that is away  ---


def test_apply_gives_up_on_an_account_that_never_answers(live: Live) -> None:
    live.write(a=WAREHOUSE)
    port = live.account.details["port"]
    live.account.details["port"] = 1
    try:
        live.pool = SessionPool(local_connection(live.account.details), 2, role=live.text("worker@"))
    finally:
        live.account.details["port"] = port
    report = live.apply()
    assert report.settled and not report.ready
    assert "1" in report.error and live.account.details["password"] not in report.error
    assert ("Project", "AccountUnreachable") in live.happened()


def test_apply_ends_when_the_account_goes_away_in_the_middle(live: Live) -> None:
    live.write(a=WAREHOUSE)
    reconciler = live.reconciler()
    away = SessionPool(local_connection({**live.account.details, "port": 1}), 2, role=live.text("worker@"))

    def cut(report: Report) -> None:
        reconciler.engine.pool = away

    reconciler.listeners = [cut]
    report = reconciler.run(until_settled=True, timeout=3000)
    assert report.settled and not report.ready, "no time-out was needed"
    assert report.error
    assert live.apply().ready, "nothing was lost: the next one finishes"


def test_a_stop_does_not_wait_for_an_account_that_does_not_answer(live: Live) -> None:
    """A listener that takes connections and never says a word: the driver would wait for minutes."""
    live.write(a=WAREHOUSE)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        details = {**live.account.details, "port": silent.getsockname()[1]}
        live.pool = SessionPool(local_connection(details), 4, role=live.text("worker@"))
        reconciler = live.reconciler(timing=Timing(grace=0.4))
        thread = threading.Thread(target=reconciler.run, daemon=True)
        thread.start()
        eventually(lambda: any(t.name == "look" for t in threading.enumerate()), "it is looking")
        reconciler.stop()
        eventually(lambda: not thread.is_alive(), "the loop ends")
        assert reconciler.abandoned
