"""`snowcat`: runs a command, and turns whatever goes wrong into one message and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys

import typer

from controller.account import lean
from controller.cli.app import app
from controller.cli.errors import report


def main() -> int:
    """The exit code of the command in `sys.argv`."""
    lean.wanted = True
    try:
        app()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(bool(done.code))
    except (typer.Abort, KeyboardInterrupt):
        return report(KeyboardInterrupt())
    except BrokenPipeError as error:
        with contextlib.suppress(OSError):  # or Python itself complains when it flushes at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return report(error)
    except Exception as error:  # noqa: BLE001 - the one place where everything ends
        return report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
