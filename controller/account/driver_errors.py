"""Turns the driver's exceptions into ours. Apart from `errors`, so that planning and printing need not load the driver."""

from __future__ import annotations

import re

from controller.account.driver import DriverError, OperationalError
from controller.account.errors import AccountError, Rejected, StageFull, Transient, class_of
from controller.account.redact import redact

_INTERNAL = "XX000"
_TRANSFER = re.compile(r"While putting file\(s\) there was an error: '(?P<cause>.*)', this might be", re.DOTALL)
_STORAGE = re.compile(r"https?://(?P<host>[^/\s']+)")
# What lines 4 and 5 of the driver say when an upload was answered with 507.
_FULL = ("Insufficient Storage", "HTTP 507")


def from_driver(error: Exception, statement: str | None) -> AccountError:
    """One of ours for an exception of the driver, with secrets out of its text. `statement` is the display text."""
    errno = getattr(error, "errno", None)
    errno = errno if isinstance(errno, int) and errno > 0 else None
    sqlstate = getattr(error, "sqlstate", None)
    message = (getattr(error, "raw_msg", None) if isinstance(error, DriverError) else None) or str(error) or type(error).__name__
    if any(text in message for text in _FULL):  # the driver's own text ends with the signed address of the upload
        return StageFull(
            "the stage is full: remove files from it, or give it more room", errno=errno, sqlstate=sqlstate, statement=statement
        )
    if transfer := _TRANSFER.search(message):
        message = _transfer(transfer["cause"])
    kind = class_of(errno)
    if kind is Rejected and (isinstance(error, OperationalError) or sqlstate == _INTERNAL):
        kind = Transient  # a connection that broke, or timed out, below the level of statements; or the account's own fault
    return kind(redact(message), errno=errno, sqlstate=sqlstate, statement=statement)


def _transfer(cause: str) -> str:
    """The driver's text about a file that did not arrive, which holds the signed address of the upload, in words for people."""
    status, host = re.search(r"\b([45]\d\d)\b [A-Za-z ]*(?:Error|Forbidden)", cause), _STORAGE.search(cause)
    where = f"the storage of the stage, {host['host']}," if host else "the storage of the stage"
    what = f"answered HTTP {status[1]}" if status else "did not take the file" if host else f"did not take the file ({cause})"
    return f"{where} {what}: check that this machine may reach it, and a proxy"
