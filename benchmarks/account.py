"""An embedded account for the benchmarks, as a process: latency is injected through its faults endpoint, and its journal tells which
statements were sent, when, and by whom."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
CONNECTION = "bench"
_START = 60.0  # seconds to wait for the account


@dataclass(frozen=True)
class Sent:
    """One statement as the account saw it. Times are Unix time in seconds; `ended` is 0 while it runs."""

    n: int
    session: int
    text: str
    started: float
    ended: float

    @property
    def word(self) -> str:
        """The first word: SHOW, DESCRIBE, CREATE …"""
        return self.text.split(None, 1)[0].upper()

    @property
    def listing(self) -> bool:
        """Whether it lists objects: the SHOWs that a cycle is made of."""
        return self.word == "SHOW" and not self.deep

    @property
    def deep(self) -> bool:
        """Whether it asks for the details of one object, which `deepReads` limits."""
        return self.word in ("DESCRIBE", "DESC") or self.text.upper().startswith("SHOW PARAMETERS")

    @property
    def changes(self) -> bool:
        return self.word in ("CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "COMMENT") and not self.text.upper().startswith("ALTER SESSION")


@dataclass(frozen=True)
class Account:
    """A running account. `state` is its folder."""

    state: Path
    details: dict[str, Any]

    @property
    def _faults(self) -> dict[str, str]:
        return dict(self.details["faults"])

    def _ask(self, method: str, path: str = "", **more: Any) -> Any:
        answer = httpx.request(
            method, self._faults["url"] + path, headers={"Authorization": f"Bearer {self._faults['token']}"}, timeout=60, **more
        )
        answer.raise_for_status()
        return answer.json()

    def latency(self, seconds: float) -> None:
        """Every statement takes this much longer from now on."""
        rules = [{"name": "latency", "match": ".", "latency": seconds}] if seconds else []
        self._ask("PUT", json={"seed": 0, "rules": rules})

    def sent(self, since: int = 0) -> list[Sent]:
        """The statements after number `since`."""
        found = self._ask("GET", "/statements", params={"since": since})
        return [Sent(s["n"], s["session"], s["statement"], s["startedAt"], s["endedAt"] or 0.0) for s in found]

    def last(self) -> int:
        """The number of the latest statement."""
        found = self._ask("GET", "/statements", params={"since": self._mark})
        if found:
            object.__setattr__(self, "_mark", found[-1]["n"])
        return self._mark

    _mark: int = 0

    def connections(self, folder: Path) -> None:
        """Write `connections.toml` for tools that read Snowflake's own connections."""
        folder.mkdir(parents=True, exist_ok=True)
        keys = ("account", "user", "password", "host", "protocol")
        lines = [f"[{CONNECTION}]", *(f"{key} = {json.dumps(self.details[key])}" for key in keys), f"port = {self.details['port']}"]
        file = folder / "connections.toml"
        file.write_text("\n".join(lines) + "\n")
        file.chmod(0o600)


@contextmanager
def account(state: Path) -> Iterator[Account]:
    """A fresh account whose nodes start at once."""
    with state.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "emulator", "--state", str(state), "--faults", "--time-scale", "0.01"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            until = time.monotonic() + _START
            while not (state / "account.json").exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"the embedded account did not start, see {log.name}")
                time.sleep(0.05)
            yield Account(state, json.loads((state / "account.json").read_text()))
        finally:
            process.terminate()
            process.wait(timeout=60)
