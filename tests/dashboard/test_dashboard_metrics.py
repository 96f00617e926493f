"""What `/metrics` says after things happened, and that the dashboard in docs asks for nothing that is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.account.counters import Counters
from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.dashboard.health import Health
from controller.dashboard.metrics import Metrics
from controller.kinds.base import Health as ObjectHealth
from controller.reconcile.look.deep import DeepReads
from controller.reconcile.meter import Result
from controller.reconcile.planning.change import Action, Change, Cost, ObjectPlan, Plan
from controller.reconcile.report import Condition, ObjectStatus, Report, Sync

DOCS = Path(__file__).parents[2] / "docs"
WAREHOUSE = ObjectKey("Warehouse", QualifiedName.parse("wh"))
STAGE, TWIN = (ObjectKey("Stage", QualifiedName.parse(f"{schema}.files")) for schema in ("db.a", "db.b"))


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def metrics(counters: Counters) -> Metrics:
    return Metrics("proj", "acme", "1.2.3", counters, DeepReads(), Health(30))


def values(metrics: Metrics, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Labels → value of all samples of a name."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {tuple(sorted(s.labels.items())): s.value for family in families for s in family.samples if s.name == name}


def one(metrics: Metrics, name: str, /, **labels: str) -> float:
    wanted = labels.items()
    found = [value for having, value in values(metrics, name).items() if wanted <= dict(having).items()]
    assert len(found) == 1, f"{name} {labels}: {values(metrics, name)}"
    return found[0]


@pytest.mark.parametrize(
    ("result", "counted", "also", "reason"),
    [
        (Result.SUCCESS, "success", {}, "no error"),
        (Result.REQUEUE, "requeue", {}, "interrupted work is no error"),
        (Result.REQUEUE_AFTER, "requeue_after", {}, "waiting is no error"),
        (Result.ERROR, "error", {"controller_runtime_reconcile_errors_total": 1}, "transient"),
        (
            Result.TERMINAL,
            "error",
            {"controller_runtime_reconcile_errors_total": 1, "controller_runtime_terminal_reconcile_errors_total": 1},
            "as in controller-runtime a terminal error is an error too",
        ),
        (
            Result.TIMEOUT,
            "error",
            {"controller_runtime_reconcile_errors_total": 1, "controller_runtime_reconcile_timeouts_total": 1},
            "a time-out is an error too",
        ),
        (
            Result.PANIC,
            "error",
            {"controller_runtime_reconcile_errors_total": 1, "controller_runtime_reconcile_panics_total": 1},
            "a panic is an error too",
        ),
    ],
)
def test_results_are_counted_apart(metrics: Metrics, result: Result, counted: str, also: dict[str, int], reason: str) -> None:
    metrics.reconciled(WAREHOUSE, result, 0.2)
    totals = {dict(labels)["result"]: value for labels, value in values(metrics, "controller_runtime_reconcile_total").items()}
    assert {name for name, value in totals.items() if value} == {counted}, reason
    special = ("reconcile_errors", "terminal_reconcile_errors", "reconcile_panics", "reconcile_timeouts")
    for name in (f"controller_runtime_{part}_total" for part in special):
        assert one(metrics, name, kind="Warehouse") == also.get(name, 0), f"{name}: {reason}"
    assert one(metrics, "controller_runtime_reconcile_time_seconds_sum", controller="warehouse") == pytest.approx(0.2)


def test_a_kind_counts_from_zero(metrics: Metrics) -> None:
    metrics(Report("proj", statuses=(status(WAREHOUSE),)))
    results = {dict(labels)["result"]: v for labels, v in values(metrics, "controller_runtime_reconcile_total").items()}
    assert results == {"success": 0, "error": 0, "requeue": 0, "requeue_after": 0}, "rate() loses the first increase of what appears late"


def test_the_queue_is_followed_object_by_object(metrics: Metrics) -> None:
    metrics.workers(8)
    for key in (STAGE, TWIN, WAREHOUSE):
        metrics.queued(key)
    metrics.worker_started(STAGE)
    metrics.dropped(WAREHOUSE)
    assert one(metrics, "workqueue_depth", name="stage") == 1, "two stages of one name in two schemas are two objects"
    assert one(metrics, "workqueue_depth", name="warehouse") == 0, "what was dropped waits no more"
    assert one(metrics, "controller_runtime_active_workers", kind="Stage") == 1
    assert one(metrics, "workqueue_longest_running_processor_seconds", kind="Stage") > 0
    assert one(metrics, "workqueue_unfinished_work_seconds", kind="Warehouse") == 0
    metrics.worker_ended(STAGE)
    metrics.retried(STAGE)
    assert one(metrics, "controller_runtime_active_workers", kind="Stage") == 0
    assert one(metrics, "workqueue_work_duration_seconds_count", kind="Stage") == 1
    assert one(metrics, "workqueue_queue_duration_seconds_count", kind="Stage") == 1
    assert one(metrics, "workqueue_adds_total", kind="Stage") == 2
    assert one(metrics, "workqueue_retries_total", kind="Stage") == 1
    assert one(metrics, "controller_runtime_max_concurrent_reconciles", kind="Stage") == 8


def test_statements_are_counted_by_class(metrics: Metrics, counters: Counters) -> None:
    session = counters.child()
    session.add("SHOW WAREHOUSES")
    session.add("SHOW STAGES IN ACCOUNT")
    session.with_warehouse = True
    session.add("SELECT 1")
    assert one(metrics, "snowcat_statements_total", **{"class": "SHOW"}) == 2
    assert one(metrics, "snowcat_statements_total", **{"class": "DDL"}) == 0
    assert one(metrics, "snowcat_warehouse_statements_total") == 1


def status(key: ObjectKey, *, health: ObjectHealth = ObjectHealth.HEALTHY, stalled: bool = False) -> ObjectStatus:
    return ObjectStatus(key, Sync.SYNCED, health, conditions=(Condition("Stalled", str(stalled), "x", "", 1),))


def test_a_report_counts_objects_and_cost(metrics: Metrics) -> None:
    entry = ObjectPlan(WAREHOUSE, None, None, Change(WAREHOUSE, Action.UPDATE, cost=Cost(1.0, 2.5)))
    plan = Plan("proj", "acme", {WAREHOUSE: entry})
    degraded = status(TWIN, health=ObjectHealth.DEGRADED, stalled=True)
    metrics(Report("proj", statuses=(status(WAREHOUSE), status(STAGE), degraded), plan=plan, problems=("a.yaml:1: no",)))
    assert one(metrics, "snowcat_objects", kind="Stage", health="Healthy", sync="Synced") == 1
    assert one(metrics, "snowcat_objects", kind="Stage", health="Degraded", sync="Synced") == 1
    assert one(metrics, "snowcat_stalled_objects", kind="Stage") == 1
    assert one(metrics, "snowcat_credits_per_hour", when="now") == 1.0
    assert one(metrics, "snowcat_credits_per_hour", when="planned") == 2.5
    assert one(metrics, "snowcat_file_problems") == 1
    metrics(Report("proj", statuses=(status(WAREHOUSE),)))
    assert [dict(labels)["kind"] for labels in values(metrics, "snowcat_objects")] == ["Warehouse"], "what is gone is not counted on"


def test_an_account_that_is_away_shows(metrics: Metrics) -> None:
    metrics(Report("proj", error="no route"))
    assert one(metrics, "snowcat_account_up") == 0
    metrics(Report("proj"))
    assert one(metrics, "snowcat_account_up") == 1


def test_no_series_for_each_object(metrics: Metrics) -> None:
    def series(count: int) -> int:
        keys = [ObjectKey("Stage", QualifiedName.parse(f"db.s.f{n}")) for n in range(count)]
        for key in keys:
            metrics.queued(key)
            metrics.worker_started(key)
            metrics.worker_ended(key)
            metrics.reconciled(key, Result.SUCCESS, 0.1)
        metrics(Report("proj", statuses=tuple(status(key) for key in keys)))
        return len(metrics.exposition().splitlines())

    assert series(1) == series(200), "a project of any size must not flood Prometheus"


NAME = re.compile(r"\b(?:controller_runtime|workqueue|snowcat|process|python)_[a-z_]+\b")


def test_the_grafana_dashboard_asks_only_for_what_there_is(metrics: Metrics) -> None:
    metrics.reconciled(WAREHOUSE, Result.SUCCESS, 0.1)
    metrics(Report("proj", statuses=(status(WAREHOUSE),), plan=Plan("proj", "acme", {})))
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    samples = {sample.name: set(sample.labels) for family in families for sample in family.samples}
    samples |= {f"{family.name}_total": {"type", "reason"} for family in families if family.name == "snowcat_events"}
    board = json.loads((DOCS / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert len(expressions) > 10
    for expression in expressions:
        names = NAME.findall(expression)
        assert names, f"{expression} names no metric"
        for name in names:
            assert name in samples, f"{name} of {expression!r} does not exist"
        used = {label for part in re.findall(r"(?:by|without) \(([^)]*)\)", expression) for label in part.replace(" ", "").split(",")}
        used |= {label for part in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+)\s*=~?", part)}
        known = set().union(*(samples[name] for name in names)) | {"job", "instance"}  # Prometheus adds those two
        assert used <= known, f"{expression}: labels {used - known} do not exist"


def test_the_docs_list_every_metric(metrics: Metrics) -> None:
    text = (DOCS / "observability.md").read_text()
    families = text_string_to_metric_families(metrics.exposition().decode())
    names = {f.name + ("_total" if f.type == "counter" else "") for f in families if not f.name.startswith(("process_", "python_"))}
    assert len(names) > 20
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_what_has_not_moved_is_not_counted_again(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon at rest reports the same thousands of objects with each look."""
    counted: list[int] = []
    real = metrics._count
    monkeypatch.setattr(metrics, "_count", lambda statuses: counted.append(len(statuses)) or real(statuses))  # type: ignore[func-returns-value]
    statuses = (ObjectStatus(WAREHOUSE, Sync.SYNCED, ObjectHealth.HEALTHY, ""),)
    for _ in range(3):
        metrics(Report("proj", statuses))
    assert counted == [1]
    metrics(Report("proj", ()))
    assert counted == [1, 0] and not values(metrics, "snowcat_objects")
