"""Spans around what is done, for whoever traces: nothing happens, and nothing is imported, until a tracer is put in.

`controller.dashboard.traces` puts OpenTelemetry in. Spans follow threads only where `carried` says so, because threads start with an empty
context. Every text that goes into a span passes the redactor here.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import ParamSpec, Protocol, TypeVar

from controller.account.redact import redact

P = ParamSpec("P")
T = TypeVar("T")
Value = str | bool | int | float


class Span(Protocol):
    """One span that is open."""

    def set(self, name: str, value: Value) -> None: ...

    def fail(self, error: str) -> None: ...


class Tracer(Protocol):
    """What opens spans. `parent` None takes the span that is open in this context."""

    def open(self, name: str, attributes: Mapping[str, Value], parent: Span | None) -> AbstractContextManager[Span]: ...


class _NoSpan:
    def set(self, name: str, value: Value) -> None:
        return None

    def fail(self, error: str) -> None:
        return None


class _Redacted:
    """A span that takes no secret."""

    def __init__(self, inner: Span) -> None:
        self.inner = inner

    def set(self, name: str, value: Value) -> None:
        self.inner.set(name, _clean(value))

    def fail(self, error: str) -> None:
        self.inner.fail(redact(error))


_NONE = _NoSpan()
_tracer: Tracer | None = None


def trace_with(tracer: Tracer | None) -> None:
    """Open spans with this tracer from now on; None: no more."""
    global _tracer
    _tracer = tracer


@contextmanager
def span(name: str, *, parent: Span | None = None, **attributes: Value) -> Iterator[Span]:
    """A span around a block. An error that leaves the block marks the span as failed; '__' in a name of an attribute stands for a dot."""
    if _tracer is None:
        yield _NONE
        return
    plain = {key.replace("__", "."): _clean(value) for key, value in attributes.items()}
    outer = parent.inner if isinstance(parent, _Redacted) else None
    with _tracer.open(redact(name), plain, outer) as inner:
        opened = _Redacted(inner)
        try:
            yield opened
        except BaseException as error:
            opened.fail(f"{type(error).__name__}: {error}")
            raise


def carried(call: Callable[P, T]) -> Callable[P, T]:
    """The same call with the context of here, for a thread: its spans are children of the one that is open now."""
    if _tracer is None:
        return call
    context = contextvars.copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.copy().run(call, *args, **kwargs)

    return run


def _clean(value: Value) -> Value:
    return redact(value) if isinstance(value, str) else value
