"""What the daemon does, as Prometheus metrics: controller-runtime's names where it has one for the thing, `snowcat_…` for the rest.

The label `controller` is the kind in lower case, as controller-runtime names its controllers, so that ready-made dashboards work; `kind` is
the kind as manifests spell it. Names and meaning: https://book.kubebuilder.io/reference/metrics-reference. No metric carries the name of
an object: their number grows with the kinds, not with the project.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from controller.account.counters import Counters, StatementClass
from controller.api.objects import ObjectKey
from controller.dashboard.health import Health
from controller.reconcile.look.deep import DeepReads
from controller.reconcile.meter import Meter, Result
from controller.reconcile.planning.change import Plan
from controller.reconcile.report import ObjectStatus, Report

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_KIND = ("controller", "kind")
_WORK = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)  # seconds: a statement, a node that starts, an image, a model
_WAIT = (0.001, 0.01, 0.1, 1, 10, 60, 300, 1800)
_CYCLE = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ERRORS = frozenset({Result.ERROR, Result.TERMINAL, Result.TIMEOUT, Result.PANIC})
_RESULTS = (Result.SUCCESS, Result.ERROR, Result.REQUEUE, Result.REQUEUE_AFTER)  # controller-runtime knows these four


class Metrics(Meter):
    """Counts for one project. Also a listener of the loop's reports, and the one that answers `/metrics`."""

    def __init__(self, project: str, account: str, version: str, counters: Counters, deep: DeepReads, health: Health) -> None:
        self.health = health
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they tell when each series was born, which nobody reads
        self.registry = CollectorRegistry(auto_describe=True)
        self._lock = threading.Lock()
        self._waiting: dict[ObjectKey, float] = {}  # key → since when
        self._running: dict[ObjectKey, float] = {}
        self._kinds: set[str] = set()
        self._objects: Tally[tuple[str, str, str]] = Tally()
        self._stalled: Tally[str] = Tally()
        self._size = 0
        self._priced: Plan | None = None  # what was counted last: counted again only when it is another one
        self._counted: Sequence[ObjectStatus] = ()
        self._make_reconcile()
        self._make_queue()
        self._make_own()
        self._made("snowcat_build_info", "The version of snowcat; always 1.", "version", "project", "account").labels(
            version, project, account
        ).set(1)
        self.registry.register(_Live(self._live))
        self.registry.register(_Live(lambda: _statements(counters)))
        self.registry.register(_Live(lambda: _deep(deep)))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    # ---- the metrics -----------------------------------------------------------------------------------------------------------------

    def _make_reconcile(self) -> None:
        said, registry = "controller_runtime", self.registry
        self._total = Counter(f"{said}_reconcile_total", "Work on one object that ended, by result.", (*_KIND, "result"), registry=registry)
        self._errors = Counter(f"{said}_reconcile_errors_total", "Work that ended with an error.", _KIND, registry=registry)
        self._terminal = Counter(
            f"{said}_terminal_reconcile_errors_total", "Errors that need a person: the object is stalled.", _KIND, registry=registry
        )
        self._panics = Counter(f"{said}_reconcile_panics_total", "Errors that are a mistake in snowcat.", _KIND, registry=registry)
        self._timeouts = Counter(f"{said}_reconcile_timeouts_total", "Work that took too long and was cancelled.", _KIND, registry=registry)
        self._time = Histogram(
            f"{said}_reconcile_time_seconds", "How long work on one object took.", _KIND, registry=registry, buckets=_WORK
        )

    def _make_queue(self) -> None:
        labels, registry = ("name", *_KIND), self.registry
        self._adds = Counter("workqueue_adds_total", "Objects put into the queue.", labels, registry=registry)
        self._retries = Counter(
            "workqueue_retries_total", "Objects that will be put into it again after a failure.", labels, registry=registry
        )
        self._queue_time = Histogram(
            "workqueue_queue_duration_seconds", "How long objects waited in the queue.", labels, registry=registry, buckets=_WAIT
        )
        self._work_time = Histogram(
            "workqueue_work_duration_seconds", "How long a worker was busy with one object.", labels, registry=registry, buckets=_WORK
        )

    def _make_own(self) -> None:
        self._cycle_time = Histogram("snowcat_cycle_seconds", "How long a cycle of the loop took.", registry=self.registry, buckets=_CYCLE)
        self._cycle_end = self._made("snowcat_last_cycle_timestamp_seconds", "When the last cycle ended, in Unix time.")
        self._up = self._made("snowcat_account_up", "1 when the account answers, and the last look at it was answered.")
        self._silences = Counter("snowcat_account_silences_total", "Times that the account fell silent.", registry=self.registry)
        self._leader = self._made("snowcat_leader", "1 when this daemon may change the account, 0 when it stands by.")
        self._settled = self._made("snowcat_settled", "1 when nothing is left to do.")
        self._problems = self._made("snowcat_file_problems", "Problems in the manifests.")
        self._credits = self._made("snowcat_credits_per_hour", "Cost of what is declared: now, and once the plan is carried out.", "when")
        self._events = Counter("snowcat_events_total", "Events by type and reason.", ("type", "reason"), registry=self.registry)

    def _made(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _know(self, kind: str) -> None:
        """Show a kind's series with zeros from the start, or the first increase of each would be lost to `rate()`."""
        with self._lock:
            if kind in self._kinds:
                return
            self._kinds.add(kind)
        short = kind.lower()
        for result in _RESULTS:
            self._total.labels(short, kind, result.value)
        for metric in (self._errors, self._terminal, self._panics, self._timeouts, self._time):
            metric.labels(short, kind)
        for named in (self._adds, self._retries, self._queue_time, self._work_time):
            named.labels(short, short, kind)

    def _queue_of(self, key: ObjectKey) -> tuple[str, str, str]:
        self._know(key.kind)
        return key.kind.lower(), key.kind.lower(), key.kind

    # ---- what the loop tells -----------------------------------------------------------------------------------------------------------

    def workers(self, size: int) -> None:
        self._size = size

    def queued(self, key: ObjectKey) -> None:
        self._adds.labels(*self._queue_of(key)).inc()
        with self._lock:
            self._waiting.setdefault(key, time.monotonic())

    def dropped(self, key: ObjectKey) -> None:
        with self._lock:
            self._waiting.pop(key, None)

    def retried(self, key: ObjectKey) -> None:
        self._retries.labels(*self._queue_of(key)).inc()

    def worker_started(self, key: ObjectKey) -> None:
        now = time.monotonic()
        with self._lock:
            since = self._waiting.pop(key, now)
            self._running[key] = now
        self._queue_time.labels(*self._queue_of(key)).observe(now - since)

    def worker_ended(self, key: ObjectKey) -> None:
        now = time.monotonic()
        with self._lock:
            since = self._running.pop(key, now)
        self._work_time.labels(*self._queue_of(key)).observe(now - since)

    def reconciled(self, key: ObjectKey, result: Result, seconds: float) -> None:
        _, *labels = self._queue_of(key)
        self._total.labels(*labels, (Result.ERROR if result in _ERRORS else result).value).inc()
        self._time.labels(*labels).observe(seconds)
        if result in _ERRORS:
            self._errors.labels(*labels).inc()
        for special, metric in ((Result.TERMINAL, self._terminal), (Result.TIMEOUT, self._timeouts), (Result.PANIC, self._panics)):
            if result is special:
                metric.labels(*labels).inc()

    def cycled(self, seconds: float) -> None:
        self._cycle_time.observe(seconds)
        self._cycle_end.set_to_current_time()
        self.health.turned()

    def account_answers(self, answers: bool) -> None:
        self.health.answers = answers
        self._up.set(self.health.account_up)
        if not answers:
            self._silences.inc()

    def leads(self, leader: bool) -> None:
        self._leader.set(leader)
        self.health.leader = leader

    def __call__(self, report: Report) -> None:
        """A report of the loop: counts of objects, cost, events."""
        self.health.looked(report.error)
        self._up.set(self.health.account_up)
        self._problems.set(len(report.problems))
        self._settled.set(report.settled)
        if report.plan is not None and report.plan is not self._priced:
            self._priced = report.plan
            cost = report.plan.cost
            self._credits.labels("now").set((cost.before if cost else None) or 0)
            self._credits.labels("planned").set((cost.after if cost else None) or 0)
        for event in report.events:
            self._events.labels(event.type, event.reason).inc()
        if report.statuses is not self._counted:
            self._counted = report.statuses
            self._count(report.statuses)

    def _count(self, statuses: Sequence[ObjectStatus]) -> None:
        """Objects by what they are like."""
        objects = Tally((s.key.kind, s.health.value, s.sync.value) for s in statuses)
        stalled = Tally(s.key.kind for s in statuses if s.stalled)
        for kind in {kind for kind, _, _ in objects}:
            self._know(kind)
        with self._lock:
            self._objects, self._stalled = objects, stalled

    # ---- what is counted when asked ----------------------------------------------------------------------------------------------------

    def _live(self) -> Iterable[Metric]:
        now = time.monotonic()
        with self._lock:
            depth, active = Tally(key.kind for key in self._waiting), Tally(key.kind for key in self._running)
            running = [(key.kind, now - since) for key, since in self._running.items()]
            objects, stalled, kinds = dict(self._objects), dict(self._stalled), sorted(self._kinds)
        ages = {kind: [seconds for k, seconds in running if k == kind] for kind in kinds}
        queue = ("name", *_KIND)
        families = {
            "depth": GaugeMetricFamily("workqueue_depth", "Objects in the queue.", labels=queue),
            "unfinished": GaugeMetricFamily(
                "workqueue_unfinished_work_seconds",
                "Seconds of work under way, added up; it grows with workers that are stuck.",
                labels=queue,
            ),
            "longest": GaugeMetricFamily(
                "workqueue_longest_running_processor_seconds", "How long the longest work under way has taken so far.", labels=queue
            ),
            "active": GaugeMetricFamily("controller_runtime_active_workers", "Objects that are worked on.", labels=_KIND),
            "most": GaugeMetricFamily(
                "controller_runtime_max_concurrent_reconciles", "Objects worked on at once at most; the kinds share them.", labels=_KIND
            ),
            "stalled": GaugeMetricFamily("snowcat_stalled_objects", "Objects that need a person.", labels=("kind",)),
            "objects": GaugeMetricFamily("snowcat_objects", "Objects by health and sync.", labels=("kind", "health", "sync")),
        }
        for kind in kinds:
            short = kind.lower()
            families["depth"].add_metric((short, short, kind), depth[kind])
            families["unfinished"].add_metric((short, short, kind), sum(ages[kind]))
            families["longest"].add_metric((short, short, kind), max(ages[kind], default=0.0))
            families["active"].add_metric((short, kind), active[kind])
            families["most"].add_metric((short, kind), self._size)
            families["stalled"].add_metric((kind,), stalled.get(kind, 0))
        for labels, count in sorted(objects.items()):
            families["objects"].add_metric(labels, count)
        return families.values()


class _Live(Collector):
    """Metrics whose values are taken from where they stand, when asked."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        return ()


def _statements(counters: Counters) -> Iterable[Metric]:
    sent = CounterMetricFamily("snowcat_statements", "Statements sent, by class.", labels=("class",))
    counts = counters.by_class
    for kind in StatementClass:
        sent.add_metric((kind.value,), counts.get(kind, 0))
    yield sent
    yield CounterMetricFamily(
        "snowcat_warehouse_statements",
        "Statements sent while a warehouse was set: all that can cost credits of one.",
        counters.in_warehouse,
    )


def _deep(deep: DeepReads) -> Iterable[Metric]:
    yield GaugeMetricFamily("snowcat_deep_unread", "DESCRIBEs that have no current answer yet.", deep.unread)
    yield GaugeMetricFamily(
        "snowcat_deep_pass_age_seconds",
        "Age of the oldest DESCRIBE answer: drift that only DESCRIBE shows is seen within so long.",
        deep.age,
    )
