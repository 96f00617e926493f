"""Read what a container was started with, and end it so that the reason can be read in its log."""

from __future__ import annotations

import os
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from training.errors import BadInputError, TrainingError
from training.progress import Progress, report

LOOPBACK = ("127.0.0.1", "localhost", "::1")

Document = TypeVar("Document", bound=BaseModel)


def document(kind: type[Document], variable: str) -> Document:
    """The JSON document in an environment variable. Raises BadInputError with the field that is wrong."""
    text = os.environ.get(variable)
    if not text:
        raise BadInputError(f"{variable} is not set; it must hold the {kind.__name__} as JSON")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        # only places and reasons: the values may be long, and are not needed to find the mistake
        found = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'document'}: {item['msg']}" for item in error.errors())
        raise BadInputError(f"{variable} is not a valid {kind.__name__}: {found}") from error


def number(variable: str, default: int) -> int:
    """A positive whole number from the environment. Raises BadInputError."""
    text = os.environ.get(variable, "")
    if not text:
        return default
    if not text.isdigit() or int(text) < 1:
        raise BadInputError(f"{variable} must be a positive whole number, found {text!r}")
    return int(text)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def listen_host() -> str:
    """The address to serve on: every interface, as SPCS needs; loopback when the account runs on this machine."""
    return "127.0.0.1" if os.environ.get("SNOWFLAKE_HOST") in LOOPBACK else "0.0.0.0"  # noqa: S104 - SPCS routes to it


def end(error: TrainingError) -> NoReturn:
    """Report a failure whose meaning is known, and leave with its exit code."""
    report(Progress("failed", message=str(error)))
    raise SystemExit(error.exit_code)
