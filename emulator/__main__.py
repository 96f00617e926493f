"""`python -m emulator`: runs one account in one folder until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import duckdb
import uvicorn

from emulator.account import Account, Options
from emulator.server import application

STATE_FORMAT = "1"  # of the files in the state folder; counted up when an older account could not read them


class _Server(uvicorn.Server):
    """uvicorn's own server raises the signal again after its shutdown, which would skip the account's clean stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


def main() -> int:
    """Exit 0 after a clean stop, 1 when the folder or the port is taken or the state cannot be used (one line on stderr)."""
    options, state = _arguments()
    state.mkdir(parents=True, exist_ok=True)
    os.umask(0o077)
    os.environ["TZ"] = "UTC"  # sessions are in UTC; DuckDB takes the process's zone
    time.tzset()
    sys.setswitchinterval(0.0005)  # Python's own 5 ms let a small answer wait long for the large ones that are made beside it
    lock = _lock(state)
    if lock is None:
        sys.stderr.write(f"an account is already running on {state} (its lock is held)" + "\n")
        return 1
    try:
        listener = _listen(state, options)
    except OSError as error:
        sys.stderr.write(f"cannot listen on {options.host}:{options.port}: {error.strerror}" + "\n")
        return 1
    if trouble := _wrong_format(state):
        sys.stderr.write(trouble + "\n")
        return 1
    try:
        account = Account(state, options)
    except (sqlite3.DatabaseError, duckdb.Error) as error:
        sys.stderr.write(f"the state in {state} cannot be read ({' '.join(str(error).split())}); move the folder away to start anew" + "\n")
        return 1
    account.port = listener.getsockname()[1]
    (state / "port").write_text(str(account.port))
    server = _Server(
        uvicorn.Config(
            application(account),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
    )
    ready = threading.Thread(target=_announce, args=(server, account, state), daemon=True)
    ready.start()
    server.run(sockets=[listener])
    (state / "account.json").unlink(missing_ok=True)
    account.stop()
    return 0


def _arguments() -> tuple[Options, Path]:
    parser = argparse.ArgumentParser(prog="python -m emulator", description="The embedded local account.")
    parser.add_argument("--state", type=Path, required=True, help="folder that holds the whole account")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to bind")
    parser.add_argument("--port", type=int, default=0, help="0 takes the folder's last port, or a free one")
    parser.add_argument("--time-scale", type=float, default=1.0, help="multiplies the delays of pools and services")
    parser.add_argument("--stage-quota", type=int, default=None, help="bytes that all stages together may hold")
    parser.add_argument("--session-seconds", type=float, default=3600.0, help="life of a session token before renewal")
    parser.add_argument("--faults", action="store_true", help="offer the endpoint that makes faults happen, for tests")
    names = ("path", "host")
    parser.add_argument("--image-names", choices=names, default=names[0], help="images in DESCRIBE SERVICE")
    given = parser.parse_args()
    if given.host not in ("127.0.0.1", "localhost", "::1"):
        parser.error("--host must be a loopback address: the account is for this machine only")
    options = Options(given.host, given.port, given.time_scale, given.stage_quota, given.session_seconds, given.faults, given.image_names)
    return options, given.state.resolve()


def _wrong_format(state: Path) -> str:
    """Why a folder that another version of the account made cannot be used; '' when it can. A new folder is stamped with the format."""
    stamp = state / "format"
    found = stamp.read_text(encoding="utf-8", errors="replace").strip() if stamp.exists() else ""
    if not found and not (state / "catalogue.sqlite").exists():
        stamp.write_text(STATE_FORMAT, encoding="utf-8")
        return ""
    if found == STATE_FORMAT:
        return ""
    return f"the state in {state} has format {found or 'none'}, this account writes {STATE_FORMAT}; move the folder away to start anew"


def _lock(state: Path) -> IO[str] | None:
    """The folder's lock, held as long as the process lives; None if another one has it."""
    handle = (state / "lock").open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle


def _listen(state: Path, options: Options) -> socket.socket:
    """A bound socket: the wanted port, or with port 0 the folder's last one if free, or any."""
    last = state / "port"
    wanted = [options.port]
    if options.port == 0 and last.exists() and last.read_text().strip().isdigit():
        wanted.insert(0, int(last.read_text()))
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    for port in wanted:
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle on
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((options.host, port))
            listener.listen(256)
            listener.set_inheritable(False)
            return listener
        except OSError:
            listener.close()
            if port == wanted[-1]:
                raise
    raise AssertionError("unreachable: the last port either binds or raises")


def _announce(server: uvicorn.Server, account: Account, state: Path) -> None:
    """Writes account.json once the server answers, and starts the container runtime."""
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.01)
    account.start()
    record: dict[str, Any] = {
        "pid": os.getpid(),
        "host": account.host,
        "port": account.port,
        "account": account.name,
        "organization": account.organization,
        "user": "ADMIN",
        "password": account.password,
        "protocol": "http",
        "startedAt": time.time(),
        "timeScale": account.options.time_scale,
    }
    if account.faults is not None:
        record["faults"] = {"url": f"{account.base_url}/_faults", "token": account.faults_token}
    temporary = state / "account.json.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        json.dump(record, out, indent=1)
    temporary.replace(state / "account.json")


if __name__ == "__main__":
    sys.exit(main())
