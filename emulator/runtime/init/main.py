"""Start one container's process, pass requests to end on, and leave nothing behind when it is over."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from emulator.runtime.init import guard, libc, namespaces

CANNOT_START = 125
NOT_FOUND = 127


def main() -> None:
    config = json.loads(_read_line())
    reports = int(config["reports"])
    private = bool(config["private"])
    mounts = [str(mount) for mount in config["guarded"]]
    pair = socket.socketpair() if mounts else None
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    # A terminal's interrupt is for the account, which then ends its containers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY) if Path("/proc").is_dir() else -1
    try:
        if private:
            namespaces.enter()
            namespaces.build_root(config)
    except OSError as error:
        _fail(f"cannot make the container's root: {error}")
    child = os.fork()
    if child == 0:
        if private:
            _first_process(config, pair)
        _run(config, pair)
    sys.exit(_Watch(child, private, proc, wake_read, reports).until_exit(pair, mounts))


def _read_line() -> bytes:
    """One line, byte by byte in effect: nothing behind it may be swallowed by a buffer."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 1)
        if not chunk:
            sys.exit(CANNOT_START)
        line += chunk
    return line


def _fail(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
    os._exit(CANNOT_START)


def _first_process(config: dict[str, Any], pair: tuple[socket.socket, socket.socket] | None) -> None:
    """PID 1 of the container: owns its root, reaps its orphans, and takes everything down when the main process ends."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        namespaces.switch_root(config["root"])
    except OSError as error:
        _fail(f"cannot enter the container's root: {error}")
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    main_process = os.fork()
    if main_process == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGCHLD})
        _run(config, pair)
    if pair:
        pair[0].close()
        pair[1].close()
    while True:
        received = signal.sigwait({signal.SIGTERM, signal.SIGCHLD})
        if received == signal.SIGTERM:
            os.kill(main_process, signal.SIGTERM)
            continue
        while True:
            pid, status = _reap()
            if pid == main_process:
                os._exit(_code(status))
            if pid == 0:
                break


def _run(config: dict[str, Any], pair: tuple[socket.socket, socket.socket] | None) -> None:
    """Become the container's main process; does not return."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.chdir(config["directory"])
        if pair:
            pair[0].close()
            try:
                guard.install(pair[1])
            except (OSError, KeyError):
                pair[1].close()
        os.environ.clear()
        os.environ.update(config["environment"])
        os.execvpe(config["argv"][0], config["argv"], config["environment"])  # noqa: S606 - that is what it is for
    except FileNotFoundError as error:
        missing = error.filename or config["argv"][0]
        sys.stderr.write(f"cannot start {config['argv'][0]!r}: {missing} does not exist in the container\n")
        sys.stderr.flush()
        os._exit(NOT_FOUND)
    except OSError as error:
        _fail(f"cannot start {config['argv'][0]!r}: {error}")


class _Watch:
    """The loop of the outer process."""

    def __init__(self, child: int, private: bool, proc: int, wake: int, reports: int) -> None:
        self._child, self._private, self._proc, self._wake, self._reports = child, private, proc, wake, reports

    def until_exit(self, pair: tuple[socket.socket, socket.socket] | None, mounts: list[str]) -> int:
        watched = None
        if pair:
            pair[1].close()
            listener = guard.receive_listener(pair[0])
            pair[0].close()
            if listener is not None:
                watched = guard.Guard(listener, mounts, self._report, self._proc)
            else:
                self._report("unguarded")
        sources: list[int] = [0, self._wake, *([watched.listener] if watched else [])]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if watched and watched.listener in ready and not watched.answer():
                sources.remove(watched.listener)
                watched = None
            if self._wake in ready:
                os.read(self._wake, 4096)
                while True:
                    pid, status = _reap()
                    if pid == self._child:
                        self._kill()
                        return _code(status)
                    if pid == 0:
                        break
            if 0 in ready:
                for order in os.read(0, 64) or b"K":
                    if order == ord("T"):
                        os.kill(self._child, signal.SIGTERM)
                    else:
                        sources = [source for source in sources if source != 0]
                        self._kill()

    def _report(self, text: str) -> None:
        os.write(self._reports, (text + "\n").encode())

    def _kill(self) -> None:
        """End every process of the container."""
        if self._private:
            _signal(self._child)  # the kernel ends the whole PID namespace with its first process
            return
        for _ in range(100):
            found = _descendants(os.getpid())
            if not found:
                return
            for pid in found:
                _signal(pid)


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _descendants(ancestor: int) -> list[int]:
    """Living processes below `ancestor`; zombies are left out."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib is slow to import
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:  # noqa: PTH123
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry)] = int(fields[1])
    found = {ancestor}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found and pid not in found}
        grown = bool(more)
        found |= more
    return sorted(found - {ancestor})


def _reap() -> tuple[int, int]:
    """One ended child (pid, status), or (0, 0)."""
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
