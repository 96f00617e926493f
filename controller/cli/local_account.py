"""The embedded account as a background process: started, found, stopped. Its lock file says whether it runs, its account.json where."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.cli.errors import INVALID, Failure
from controller.cli.local_folder import AccountFolder

START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0
_TRIES = 5
_NEEDED = ("duckdb", "sqlglot", "starlette", "uvicorn")  # one module of each part of the extra `local` that is loaded at start


def state_folder(chosen: Path | None) -> Path:
    """Where the account lives: as chosen, else `.snowcat/local` of this folder if it is there, else below `$XDG_STATE_HOME`."""
    if chosen is not None:
        return chosen.absolute()
    here = Path.cwd() / ".snowcat" / "local"
    if here.is_dir():
        return here
    from platformdirs import user_state_path

    return user_state_path("snowcat") / "local"


@dataclass(frozen=True)
class LocalAccount:
    """One embedded account, named by its folder."""

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "account.log"

    @property
    def controller_state(self) -> Path:
        """Where Snowcat keeps its own history for this account, so that a fresh account has a fresh one."""
        return self.folder / "controller"

    def running(self) -> bool:
        """Whether a process holds the folder's lock. A stale account.json or pid means nothing."""
        lock = self.folder / "lock"
        if not lock.exists():
            return False
        with lock.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
            fcntl.flock(handle, fcntl.LOCK_UN)
        return False

    def record(self) -> dict[str, Any] | None:
        """What account.json says, when the account runs and answers.

        The lock is tried only once the file is there: trying it for an instant would turn away an account that just starts.
        """
        try:
            record = json.loads((self.folder / "account.json").read_text())
            if not self.running():
                return None
            with socket.create_connection((record["host"], record["port"]), timeout=2):
                return dict(record)
        except (OSError, ValueError, KeyError):
            return None

    def start(self, *, port: int = 0, time_scale: float | None = None, faults: bool = False) -> dict[str, Any]:
        """Start it if it is not up, and wait until it answers.

        Raises:
            Failure: the folder is somebody else's, a part of the extra `local` is missing, the port is taken, or it does not come up.
        """
        found = self.record()
        if found:
            return found
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise Failure(f"the embedded account needs {', '.join(missing)}: pip install 'snowcat[local]'")
        AccountFolder(self.folder).make()
        scale = time_scale if time_scale is not None else _time_scale(os.environ.get("SNOWCAT_LOCAL_TIME_SCALE", "1"))
        for _ in range(_TRIES):
            self._forget_stale()
            process, begin = self._launch(port, scale, faults)
            found = self._wait(process, begin, port)
            if found:
                return found
        raise Failure(f"the embedded account did not start: somebody else starts and stops it all the time; see {self.log}")

    def _forget_stale(self) -> None:
        """Remove the record of an account that was killed, so that nobody takes it for the next one's."""
        record = self.folder / "account.json"
        if record.exists() and not self.running():
            record.unlink(missing_ok=True)

    def _launch(self, port: int, scale: float, faults: bool) -> tuple[subprocess.Popen[bytes], int]:
        command = [sys.executable, "-m", "emulator", "--state", str(self.folder), "--port", str(port), "--time-scale", str(scale)]
        if faults:
            command.append("--faults")
        with self.log.open("ab") as log:
            begin = log.tell()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=_environment(), start_new_session=True
            )
        return process, begin

    def _wait(self, process: subprocess.Popen[bytes], begin: int, port: int) -> dict[str, Any] | None:
        """The record once it answers; None when our process gave way to another one that is gone again."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            found = self.record()
            if found:
                return found
            if process.poll() is not None and not self.running():
                with self.log.open("rb") as log:
                    log.seek(begin)
                    said = log.read().decode(errors="replace").strip().splitlines()
                if said and "lock is held" in said[-1]:
                    return None
                reason = said[-1] if said else f"exit code {process.returncode}"
                hint = "choose another with --port" if port else f"the whole story is in {self.log}"
                raise Failure(f"the embedded account did not start: {reason}; {hint}")
            time.sleep(0.05)
        raise Failure(f"the embedded account did not answer within {START_TIMEOUT:.0f} seconds; see {self.log}")

    def stop(self) -> bool:
        """Stop it and wait until its lock is free. False when it was not running.

        Raises:
            Failure: it does not end.
        """
        if not self.running():
            return False
        deadline = time.monotonic() + STOP_TIMEOUT
        asked = False
        while self.running() and time.monotonic() < deadline:
            pid = self._pid()
            if not asked and pid:
                os.kill(pid, signal.SIGTERM)
                asked = True
            time.sleep(0.05)
        if self.running():
            raise Failure(f"the embedded account (pid {self._pid()}) does not end; see {self.log}")
        return True

    def _pid(self) -> int | None:
        try:
            return int(json.loads((self.folder / "account.json").read_text())["pid"])
        except (OSError, ValueError, KeyError):
            return None  # still starting, or already going

    def reset(self) -> tuple[str, ...]:
        """Stop it and remove everything that it has made; the names of what is left in the folder, in which somebody else put it.

        Raises:
            Failure: the folder holds no account, or a part of it cannot be removed.
        """
        own = AccountFolder(self.folder)
        own.check_reset()
        self.stop()
        return own.remove()


def _time_scale(text: str) -> float:
    """The scale that a variable of the environment sets.

    Raises:
        Failure: it is no number that can multiply a delay.
    """
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not 0 <= scale < math.inf:
        raise Failure(f"SNOWCAT_LOCAL_TIME_SCALE is {text!r}; it must be a number, 0 or more", INVALID)
    return scale


def _environment() -> dict[str, str]:
    """Ours, and the place of this installation: the account is started from another folder."""
    place = str(Path(__file__).resolve().parents[2])
    rest = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{rest}" if rest else place}
