"""What a person is told when something fails, and the exit code that a script gets.

  0  done
  1  failed: the account, an object, this machine
  2  bad usage, or an invalid manifest
  3  `plan --exit-code` found changes
130  interrupted
"""

from __future__ import annotations

import os
import sys
import traceback

FAILED = 1
INVALID = 2
CHANGES = 3
INTERRUPTED = 130


class Failure(Exception):
    """A command cannot go on. The message is for a person: what is wrong, and what to do."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def report(error: BaseException) -> int:
    """Tell a person about an error on stderr; the exit code. A traceback only with SNOWCAT_DEBUG=1."""
    from controller.account.redact import redact

    if os.environ.get("SNOWCAT_DEBUG") == "1" and not isinstance(error, KeyboardInterrupt):
        print(redact("".join(traceback.format_exception(error))), file=sys.stderr)  # noqa: T201
    code, text = _told(error)
    if text:
        print(redact(text), file=sys.stderr)  # noqa: T201
    return code


def _told(error: BaseException) -> tuple[int, str]:
    if isinstance(error, Failure):
        return error.code, f"snowcat: {error}"
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "snowcat: interrupted"
    if isinstance(error, BrokenPipeError):
        return FAILED, ""  # whoever read our output has seen enough
    from controller.account.errors import GRANTS, AccountError, Denied, NotFound, NoWarehouse
    from controller.kinds.base import KindError
    from controller.reconcile.look.files import NoProject

    if isinstance(error, NoProject):
        return INVALID, str(error)
    if isinstance(error, AccountError):
        advice = {
            Denied: f"; {GRANTS}",
            NotFound: "; it does not exist, or the role may not see it",
            NoWarehouse: "; name one under 'warehouse' of snowcat.yaml",
        }.get(type(error), "")
        return FAILED, f"snowcat: {error.message}{advice}"
    if isinstance(error, KindError):
        return FAILED, f"snowcat: {error}"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return FAILED, f"snowcat: {place}{error.strerror or error}"
    return FAILED, f"snowcat: unexpected {type(error).__name__}: {error}\nThis is a fault of snowcat. SNOWCAT_DEBUG=1 shows where."
