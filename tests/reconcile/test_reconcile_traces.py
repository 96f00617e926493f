"""Traces: spans as the docs draw them, nothing imported when off, and no secret in them, in the log or in the metrics."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from reconcile_live import Live

from controller.account.tracing import carried, span
from controller.dashboard.health import Health
from controller.dashboard.metrics import Metrics
from controller.dashboard.traces import TracesProblem, start_with, wanted
from controller.reconcile.log import configure, say_always

SECRET = "correct-horse-battery-staple"
OBJECTS = """
    kind: Database
    metadata: {name: db_@, deletionPolicy: delete}
    ---
    kind: Schema
    metadata: {name: sch, database: db_@, deletionPolicy: delete}
    ---
    kind: Secret
    metadata: {name: token, schema: db_@.sch}
    spec: {valueFrom: {env: SNOWCAT_TEST_TOKEN}}
    ---
    kind: Stage
    metadata: {name: st, schema: db_@.sch, deletionPolicy: delete}
    spec: {comment: "tells correct-horse-battery-staple"}
"""


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    end = start_with(SimpleSpanProcessor(exporter), "proj", "1")
    yield exporter
    end()


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Path]:
    """The JSON log of the test."""
    file, before = tmp_path / "log.jsonl", structlog.get_config()
    with file.open("w") as stream:
        configure(as_json=True, stream=stream)
        say_always(project="proj")
        yield file
    structlog.configure(**before)


def test_a_cycle_as_spans_and_lines_without_a_secret(
    live: Live, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, lines: Path
) -> None:
    monkeypatch.setenv("SNOWCAT_TEST_TOKEN", SECRET)
    live.write(a=OBJECTS)
    metrics = Metrics("proj", "acme", "1", live.pool.counters, live.engine().deep, Health(30))
    reconciler = live.reconciler(meter=metrics)
    reconciler.listeners = [live.reports.append, metrics]
    report = reconciler.run(until_settled=True, timeout=3000)
    assert report.ready, [s.as_dict() for s in report.failed]
    found = list(spans.get_finished_spans())
    assert_tree(found)
    texts = {
        "traces": "\n".join(span.to_json() for span in found),
        "log": lines.read_text(),
        "metrics": metrics.exposition().decode(),
        "events": "\n".join(event.message for report in live.reports for event in report.events),
    }
    for what, text in texts.items():
        assert text and SECRET not in text, f"the secret stands in the {what}"
    assert "********" in texts["traces"] and "********" in texts["log"], "it was sent, and hidden"
    assert_decisions([json.loads(line) for line in texts["log"].splitlines()], live)
    assert 'controller_runtime_reconcile_total{controller="secret",kind="Secret",result="success"} 1.0' in texts["metrics"]


def assert_tree(found: list[ReadableSpan]) -> None:
    names = {span.context.span_id: span.name for span in found}
    parents = {(span.name, names.get(span.parent.span_id, "?") if span.parent else "") for span in found}
    assert {("cycle", ""), ("look", "cycle"), ("load", "cycle"), ("plan", "cycle"), ("change", "cycle")} <= parents
    assert {("SHOW", "look"), ("DDL", "change")} <= parents
    kinds = {span.attributes["snowcat.kind"] for span in found if span.name == "change" and span.attributes}
    assert kinds == {"Database", "Schema", "Secret", "Stage"}
    shows = [span.attributes for span in found if span.name == "SHOW" and span.attributes]
    assert all(a["db.system.name"] == "snowflake" and str(a["db.query.text"]).startswith("SHOW ") for a in shows)


def assert_decisions(entries: list[dict[str, object]], live: Live) -> None:
    done = {entry["name"]: entry for entry in entries if entry["event"] == "done"}
    secret = done[live.text("DB_@.SCH.TOKEN")]
    wanted_fields = {"timestamp", "level", "event", "project", "object", "kind", "name", "generation", "action", "statement_id", "duration"}
    assert secret.keys() == wanted_fields
    assert (secret["project"], secret["kind"], secret["action"], secret["generation"]) == ("proj", "Secret", "create", 1)
    sent = {entry["statement_id"]: entry for entry in entries if entry["event"] == "statement"}
    assert sent[secret["statement_id"]]["kind"] == "Secret", "the line names the last statement of the work"
    assert all(isinstance(entry["duration"], float) for entry in sent.values())


def test_an_error_fails_its_span_without_its_secrets(spans: InMemorySpanExporter) -> None:
    token = "hf_" + "a" * 30
    with pytest.raises(ValueError), span("change", snowcat__name=f"x {token}"):
        raise ValueError(f"refused: {token}")
    spans_found = list(spans.get_finished_spans())
    assert [s.status.is_ok for s in spans_found] == [False]
    assert token not in spans_found[0].to_json()


def test_spans_follow_into_threads_that_carry_them(spans: InMemorySpanExporter) -> None:
    def work(name: str) -> None:
        with span(name):
            pass

    with span("outer"):
        for name, call in (("carried", carried(work)), ("plain", work)):
            thread = threading.Thread(target=call, args=(name,))
            thread.start()
            thread.join()
    found = {s.name: s for s in spans.get_finished_spans()}
    assert found["carried"].parent is not None and found["carried"].parent.span_id == found["outer"].context.span_id
    assert found["plain"].parent is None


@pytest.mark.parametrize(
    ("environment", "exporter", "reason"),
    [
        ({}, "", "nobody asked"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, "otlp", "an endpoint is enough"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, "otlp", "also the one for traces alone"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console", "for a look at it"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp", "the SDK knows a default endpoint"),
        (
            {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
            "",
            "metrics may go there",
        ),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, "", "off is off"),
    ],
)
def test_what_the_environment_asks_for(environment: dict[str, str], exporter: str, reason: str) -> None:
    assert wanted(environment) == exporter, reason


def test_an_exporter_that_is_not_known_is_said() -> None:
    with pytest.raises(TracesProblem, match="zipkin"):
        wanted({"OTEL_TRACES_EXPORTER": "zipkin"})


def test_nothing_is_imported_when_traces_are_off() -> None:
    code = (
        "import sys\nfrom controller.cli import apply, serving\nfrom controller.dashboard import traces\n"
        "traces.start_traces('p', '1', {})()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk') or name == 'prometheus_client'])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
