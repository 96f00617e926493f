"""`snowcat`: runs a command, and turns whatever goes wrong into one message and an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> int:
    """The exit code of the command in `sys.argv`."""
    if sys.argv[1:2] == ["run"]:
        _end_cleanly_from_now_on()
    from controller.cli.foreign import hush

    hush()
    import typer

    from controller.account import lean
    from controller.cli.app import app
    from controller.cli.errors import report

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


def _end_cleanly_from_now_on() -> None:
    """A daemon that is stopped while it still loads has nothing to finish; `Stopping` takes over once there is something."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))


if __name__ == "__main__":
    sys.exit(main())
