"""One running container process: started through the first process (`init`), logged, and ended in order."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import emulator
from emulator.runtime.logs import ContainerLog

_START = "import sys; sys.path.insert(0, sys.argv[1]); from emulator.runtime.init.main import main; main()"
_MAX_LINE = 64 << 10


class ContainerProcess:
    """Starts at once. The configuration (with the environment) goes through a pipe, never to disk or a command line."""

    def __init__(self, config: dict[str, Any], log: ContainerLog, report: Callable[[str], None]) -> None:
        root = str(Path(emulator.__file__).parent.parent)
        reports_read, reports_write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, root],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[reports_write],
                start_new_session=True,
                env={},
            )
        except OSError:
            os.close(reports_read)
            raise
        finally:
            os.close(reports_write)
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._control = self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._control.write((json.dumps({**config, "reports": reports_write}) + "\n").encode())
            self._control.flush()
        readers = (
            (self._process.stdout, lambda text: log.write("stdout", text)),
            (self._process.stderr, lambda text: log.write("stderr", text)),
            (os.fdopen(reports_read, "rb"), report),
        )
        self._readers = [threading.Thread(target=_read, args=(stream, sink), daemon=True, name="container-log") for stream, sink in readers]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Of the first process."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code once the process is over and all it printed is in the log; None before. A signal n counts as 128 + n."""
        code = self._process.poll()
        if code is None:
            return None
        for reader in self._readers:
            reader.join(timeout=2.0)
        with contextlib.suppress(BrokenPipeError):
            self._control.close()
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """SIGTERM to the main process."""
        self._order(b"T")

    def kill(self) -> None:
        """SIGKILL to every process of the container."""
        self._order(b"K")

    def wait(self, seconds: float) -> bool:
        """Whether the process ended within the time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._control.write(order)
            self._control.flush()


def _read(stream: IO[bytes], sink: Callable[[str], None]) -> None:
    with stream:
        while line := stream.readline(_MAX_LINE):
            sink(line.decode(errors="replace").rstrip("\r\n"))
