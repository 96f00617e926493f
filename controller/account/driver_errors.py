"""Turns the driver's exceptions into ours. Apart from `errors`, so that planning and printing need not load the driver."""

from __future__ import annotations

from snowflake.connector.errors import Error as DriverError
from snowflake.connector.errors import OperationalError

from controller.account.errors import AccountError, Rejected, Transient, class_of
from controller.account.redact import redact


def from_driver(error: Exception, statement: str | None) -> AccountError:
    """One of ours for an exception of the driver, with secrets out of its text. `statement` is the display text."""
    errno = getattr(error, "errno", None)
    errno = errno if isinstance(errno, int) and errno > 0 else None
    sqlstate = getattr(error, "sqlstate", None)
    message = (getattr(error, "raw_msg", None) if isinstance(error, DriverError) else None) or str(error) or type(error).__name__
    kind = class_of(errno)
    if kind is Rejected and isinstance(error, OperationalError):
        kind = Transient  # a connection that broke, or timed out, below the level of statements
    return kind(redact(message), errno=errno, sqlstate=sqlstate, statement=statement)
