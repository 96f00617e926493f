"""OpenTelemetry behind the spans of `controller.account.tracing`. Its packages are imported only when the environment asks for traces.

Read here: OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER (`otlp`, `console` or `none`), OTEL_EXPORTER_OTLP_ENDPOINT and …_TRACES_ENDPOINT; the
SDK itself reads the rest (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_…).
Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from controller.account.tracing import Span, Tracer, Value, trace_with

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer as OtelTracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FLUSH = 2000  # milliseconds for the last spans when the daemon stops
EXTRA = "traces need the packages of the extra 'otel': pip install 'snowcat[otel]'"


class TracesProblem(Exception):
    """The environment asks for traces that cannot be sent. The message says what to do."""


def wanted(environment: Mapping[str, str] = os.environ) -> str:
    """The exporter that the environment asks for: `otlp` or `console`; '' for none.

    Raises:
        TracesProblem: it asks for one that is not known here.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    chosen = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if chosen in ("", "none"):
        return "otlp" if not chosen and any(environment.get(name) for name in _ENDPOINTS) else ""
    if chosen not in ("otlp", "console"):
        raise TracesProblem(f"OTEL_TRACES_EXPORTER is {chosen!r}; snowcat knows otlp, console and none")
    return chosen


def start_traces(project: str, version: str, environment: Mapping[str, str] = os.environ) -> Callable[[], None]:
    """Send traces if the environment asks for them. The answer is to be called at the end: it sends what is left.

    Raises:
        TracesProblem: the packages are missing, or the environment is wrong.
    """
    kind = wanted(environment)
    if not kind:
        return lambda: None
    try:
        exporter = _exporter(kind)
    except ImportError:
        raise TracesProblem(EXTRA) from None
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return start_with(BatchSpanProcessor(exporter), project, version)


def start_with(processor: SpanProcessor, project: str, version: str) -> Callable[[], None]:
    """Hand every span to this processor."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "snowcat"}
    provider = TracerProvider(resource=Resource.create({**named, "service.version": version, "snowcat.project": project}))
    provider.add_span_processor(processor)
    trace_with(_Otel(provider.get_tracer("snowcat", version)))

    def end() -> None:
        trace_with(None)
        provider.force_flush(_FLUSH)
        provider.shutdown()

    return end


def _exporter(kind: str) -> SpanExporter:
    if kind == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


class _Otel(Tracer):
    """OpenTelemetry in the shape that `controller.account.tracing` wants."""

    def __init__(self, tracer: OtelTracer) -> None:
        self._tracer = tracer

    @contextmanager
    def open(self, name: str, attributes: Mapping[str, Value], parent: Span | None) -> Iterator[Span]:
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(cast("_OtelSpan", parent).span) if parent is not None else None
        with self._tracer.start_as_current_span(
            name, context, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
        ) as span:
            yield _OtelSpan(span)


class _OtelSpan(Span):
    def __init__(self, span: OtelSpan) -> None:
        self.span = span

    def set(self, name: str, value: Value) -> None:
        self.span.set_attribute(name, value)

    def fail(self, error: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self.span.set_status(Status(StatusCode.ERROR, error))
