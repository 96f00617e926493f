"""SIGTERM in every state of a daemon: it ends cleanly, with exit code 0, within the ten seconds after which others kill by force."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_support import OBJECTS, PROJECT, Output, Snowcat, environment
from fault_client import Faults

LIMIT = 12.0  # seconds; the promise is ten
FRESH = itertools.count(1000)  # numbers that no warehouse of these tests has yet
READY = "all objects are ready"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snowcat]:
    """One small project, applied, in an account with faults."""
    folder = tmp_path_factory.mktemp("stop")
    project = folder / "project"
    project.mkdir()
    (project / "snowcat.yaml").write_text(PROJECT + "lease: {seconds: 2}\n")
    (project / "objects.yaml").write_text(OBJECTS)
    caller = Snowcat(project, {**environment(folder), "SNOWCAT_LOCAL_STATE": str(folder / "account")})
    assert caller("local", "start", "--faults").code == 0
    yield caller
    caller("local", "stop")


@pytest.fixture
def faults(local: Snowcat) -> Iterator[Faults]:
    endpoint = Faults(Path(local.environment["SNOWCAT_LOCAL_STATE"]))
    yield endpoint
    endpoint.clear()


def hanging_change(local: Snowcat, faults: Faults, output: Output) -> None:
    output.until(READY)
    faults.put({"match": "^ALTER WAREHOUSE", "hang": True})
    (local.folder / "objects.yaml").write_text(OBJECTS.replace('"${suspend}"', str(next(FRESH))))
    faults.await_held()


def hanging_upload(local: Snowcat, faults: Faults, output: Output) -> None:
    output.until(READY)
    (local.folder / "up.txt").write_text(str(next(FRESH)))
    faults.put({"match": "^PUT ", "hang": True})
    (local.folder / "objects.yaml").write_text(OBJECTS + "spec: {files: [{from: up.txt, to: up}]}\n")
    faults.await_held()


def hanging_login(local: Snowcat, faults: Faults, output: Output) -> None:
    faults.await_held()


STATES: list[tuple[str, Callable[[Snowcat, Faults, Output], None]]] = [
    ("a statement hangs", hanging_change),
    ("an upload hangs", hanging_upload),
    ("the first login hangs", hanging_login),
]


@pytest.mark.parametrize(("state", "reach"), STATES, ids=[row[0].replace(" ", "-") for row in STATES])
def test_a_daemon_ends_in_time_while(state: str, reach: Callable[[Snowcat, Faults, Output], None], local: Snowcat, faults: Faults) -> None:
    if reach is hanging_login:
        faults.put({"path": "login-request", "hang": True})
    process = local.start("run", "--local", "--log-format", "json")
    try:
        reach(local, faults, Output(process))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=LIMIT) == 0, state
    finally:
        faults.clear()
        process.kill()
        process.wait()


@pytest.mark.parametrize("wait", [0.0, 0.4, 1.0, 2.0])
def test_a_daemon_ends_cleanly_while_it_starts(wait: float, local: Snowcat, faults: Faults) -> None:
    process = local.start("run", "--local", "--log-format", "json")
    try:
        _until_it_catches(process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=LIMIT) == 0
        assert "Traceback" not in Output(process).text
    finally:
        process.kill()
        process.wait()


def _until_it_catches(pid: int) -> None:
    """The interpreter itself needs a moment before any program can ask for a signal."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.01)
    raise AssertionError("SIGTERM is never caught")


def test_a_daemon_that_stands_by_ends_in_time(local: Snowcat, faults: Faults) -> None:
    first = local.start("run", "--local", "--log-format", "json")
    second: subprocess.Popen[str] | None = None
    try:
        Output(first).until(READY)
        second = local.start("run", "--local", "--log-format", "json")
        Output(second).until("standby")
        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=LIMIT) == 0
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=LIMIT) == 0
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.wait()


def test_a_second_signal_ends_at_once(local: Snowcat, faults: Faults) -> None:
    process = local.start("run", "--local", "--log-format", "json")
    try:
        output = Output(process)
        hanging_change(local, faults, output)
        process.send_signal(signal.SIGTERM)
        output.until("once more ends at once")
        assert all(json.loads(line)["event"] for line in output.text.splitlines()), "each line of the log is one object"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=LIMIT) == -signal.SIGTERM
    finally:
        faults.clear()
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "gone"])
def test_a_daemon_ends_in_time_while_the_account_is(how: signal.Signals, local: Snowcat) -> None:
    """Last in this file: the account is killed."""
    folder = Path(local.environment["SNOWCAT_LOCAL_STATE"])
    account = json.loads((folder / "account.json").read_text())["pid"]
    process = local.start("run", "--local", "--log-format", "json")
    try:
        Output(process).until(READY)
        os.kill(account, how)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=LIMIT) == 0
    finally:
        if how is signal.SIGSTOP:
            os.kill(account, signal.SIGCONT)
        process.kill()
        process.wait()
