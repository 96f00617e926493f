"""Set-up of the structured log: one line for each decision, for people on a terminal or as JSON, everything through the redactor.

The fields of the JSON form are a promise to those who collect it; `docs/observability.md` lists them. In code, a line about an object says
`object=` with its key, and a line about what has taken time says `duration=` in seconds; project, kind and full name are added here.
Tracebacks are plain text without the values of variables, which may be secrets.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from datetime import datetime
from typing import Any, TextIO

import structlog

from controller.account.redact import redact
from controller.api.objects import ObjectKey

_always: dict[str, str] = {}


def say_always(**fields: str) -> None:
    """Fields of every line from now on, such as the project."""
    _always.update(fields)


def configure(*, as_json: bool, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Call once, early. Lines go to `stream`, by default standard error, so that output for scripts stays clean."""
    out = stream or sys.stderr
    identified: list[Any] = [identify] if as_json else []
    renderer: Any = structlog.processors.JSONRenderer() if as_json else person
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *identified,
            redact_all,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def person(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> str:
    """A structlog renderer: time of day, object, what happened, and why; what else there is comes last as `key=value`. One line each."""
    moment = datetime.fromisoformat(str(entry.pop("timestamp"))).astimezone().strftime("%H:%M:%S")
    level = str(entry.pop("level", "info"))
    event, subject = str(entry.pop("event", "")), str(entry.pop("object", "") or "")
    words = [entry.pop(key, "") for key in ("action", "reason", "message", "error")]
    said = ": ".join(str(word) for word in words if word)
    rest = " ".join(f"{key}={value}" for key, value in entry.items() if key not in ("generation", "project") and value not in ("", None))
    parts = [moment, "" if level == "info" else level.upper(), subject, event, f"({said})" if said else "", rest]
    return "  ".join(" ".join(part.split()) for part in parts if part)


def identify(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: what happened, to what, in an order that reads well; nothing that is empty."""
    key = entry.pop("object", None)
    about = {"object": str(key or ""), **({"kind": key.kind, "name": str(key.name)} if isinstance(key, ObjectKey) else {})}
    first = {key: entry.pop(key, None) for key in ("timestamp", "level", "event")}
    return {key: value for key, value in {**first, **_always, **about, **entry}.items() if value not in ("", None)}


def redact_all(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: no text leaves unredacted."""
    for key, value in entry.items():
        entry[key] = _clean(value)
    return entry


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return value


def trace(error: BaseException) -> str:
    """Where an unexpected error came from, for the log."""
    return redact("".join(traceback.format_exception(error)))
