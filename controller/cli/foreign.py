"""What libraries print by themselves: tracebacks of their threads, warnings of Python, lines of `logging`.

Whoever asked them for something gets an error and tells it in our words, so the driver's own are left out; the others' become one line of
our log. SNOWCAT_DEBUG=1 shows all of it, through the redactor.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import Any, TextIO

_DRIVER = "snowflake"


def hush() -> None:
    """To be called once, before the libraries are loaded."""
    threading.excepthook = _thread_ended
    sys.unraisablehook = _ignored
    warnings.showwarning = _warned
    logging.getLogger().addHandler(_Lines(logging.WARNING))


def _debugging() -> bool:
    return os.environ.get("SNOWCAT_DEBUG") == "1"


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    """Such as the driver's own, which cancels a statement and does not reach the account for that."""
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread is not None else ""
        _report(f"a thread of {type(args.thread).__module__} ended", args.exc_value or args.exc_type(), args.exc_traceback, name)


def _ignored(args: Any) -> None:
    """An error in a destructor. Python drops even the wish of a person to stop, when it comes in the midst of one: it is said again."""
    if isinstance(args.exc_value, KeyboardInterrupt):
        # as a signal, from outside: what the program waits for next has to be woken by it
        again = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()
        return
    _report("an error while something was cleared away", args.exc_value or args.exc_type(), args.exc_traceback, "")


def _report(what: str, error: BaseException, where: TracebackType | None, thread: str) -> None:
    from controller.account.redact import redact

    if _debugging():
        print(redact("".join(traceback.format_exception(type(error), error, where))), file=sys.stderr)  # noqa: T201
    elif not _by_driver(where):
        _logger().error(f"unexpected: {what}", error=f"{type(error).__name__}: {error}", thread=thread)


def _logger() -> Any:
    """The log, which a command that has failed early has not set up yet."""
    import structlog

    from controller.reconcile.log import configure

    if not structlog.is_configured():
        configure(as_json=False, level=logging.WARNING)
    return structlog.get_logger("snowcat")


def _by_driver(where: TracebackType | None) -> bool:
    """Whether the driver is what called, down to where it went wrong."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(where)]
    return any(str(module).partition(".")[0] == _DRIVER for module in modules)


def _warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    logging.getLogger(f"python.{category.__name__}").log(
        logging.WARNING if issubclass(category, UserWarning) else logging.DEBUG, "%s", message
    )


class _Lines(logging.Handler):
    """Log lines of libraries as lines of ours. What the driver notes on its way stands in the error that it raises in the end."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] == _DRIVER and not _debugging():
            return
        try:
            text = record.getMessage()
            if _debugging() and record.exc_info and record.exc_info[1] is not None:
                text += "\n" + "".join(traceback.format_exception(record.exc_info[1]))
            _logger().log(min(max(record.levelno // 10, 1), 5) * 10, text, library=record.name)  # libraries have levels in between
        except Exception:  # noqa: BLE001 - a line that cannot be written must not stop who wrote it
            self.handleError(record)
