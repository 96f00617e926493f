"""Random schedules of faults by seed: rules for the account, and a supervisor that starts again what dies, as a machine's would."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from subprocess import Popen
from typing import Any

from faults_crash import DEEP, TRANSFERS
from faults_lab import CHANGES, CLIENT, LightLab
from httpx import TransportError

_TRANSIENT = ((604, "57014", "SQL execution canceled"), (603, "XX000", "SQL execution internal error: Processing aborted by error 300010"))
_ENOUGH = 25 if DEEP else 12  # faults after which the account becomes well
_LONGEST = 25.0 if DEEP else 12.0  # seconds after which it does in any case
_HANGS = 0.5  # seconds that a hung statement is left alone


def draw(seed: int) -> list[dict[str, Any]]:
    """Five rules or so; the same for the same seed."""
    chance = random.Random(seed)
    few, some = chance.uniform(0.01, 0.05), chance.uniform(0.05, 0.2)
    number, state, message = chance.choice(_TRANSIENT)
    lost: list[dict[str, Any]] = [
        {"name": "lost before", "drop": "before", "probability": few},
        {"name": "lost after", "match": CHANGES, "drop": "after", "attempts": chance.randint(1, 2), "probability": some},
        {"name": "busy", "http": chance.choice([429, 502, 503]), "retryAfter": 0, "probability": few},
        {"name": "expired", "expire": "session", "probability": few},
        {"name": "logged out", "expire": "master", "probability": few},
        {"name": "error", "match": CHANGES, "error": {"errno": number, "sqlstate": state, "message": message}, "probability": some},
        {"name": "hung", "match": CHANGES, "hang": True, "probability": some, "times": 3},
        {"name": "late listing", "match": "^SHOW", "stale": chance.uniform(0.2, 3.0), "probability": 2 * some},
        {"name": "no nodes", "capacity": "LLM_FINETUNE_POOL"},
        {"name": "no transfer", "path": TRANSFERS, "drop": chance.choice(["before", "after"]), "probability": some},
        {"name": "no login", "path": "login-request", "http": 503, "probability": 2 * some},
        {"name": "end", "match": CHANGES, "exit": chance.choice(["before", "after"]), "nth": [chance.randint(12, 50)]},
    ]
    chosen = chance.sample(lost, 5)
    client = [rule if "capacity" in rule or "path" in rule else {"client": CLIENT, **rule} for rule in chosen]
    return [*client, {"name": "slow", "client": CLIENT, "latency": {"min": 0, "max": 0.1}, "probability": some}]


@dataclass
class Supervisor:
    """Keeps an account and a daemon up while the faults of a schedule happen, and kills the daemon now and then."""

    lab: LightLab
    seed: int
    command: tuple[str, ...]
    daemons: int = 0
    accounts: int = 0
    fired: int = 0
    _rules: list[dict[str, Any]] = field(default_factory=list)
    _hung_since: dict[int, float] = field(default_factory=dict)

    def run(self) -> None:
        """Until enough faults have happened; then the account is well, and no daemon runs."""
        chance = random.Random(f"{self.seed} kills")
        self._rules = draw(self.seed)
        self.lab.faults.put(*self._rules, seed=self.seed)
        end, daemon = time.monotonic() + _LONGEST, None
        kill_at = time.monotonic() + chance.uniform(2, 6)
        try:
            while self.fired < _ENOUGH and time.monotonic() < end:
                if self._account_is_gone():
                    self._stop(daemon)
                    daemon = None
                    self._start_account()
                if daemon is None or daemon.poll() is not None or time.monotonic() > kill_at:
                    self._stop(daemon)
                    daemon = self.lab.start(*self.command)
                    self.daemons += 1
                    kill_at = time.monotonic() + chance.uniform(4, 10)
                self._look_at_account(chance)
                time.sleep(0.05)
        finally:
            self._stop(daemon)
        if self._account_is_gone():
            self._start_account()
        self.lab.faults.clear()

    def _account_is_gone(self) -> bool:
        process = self.lab.account.process
        return process is None or process.poll() is not None

    def _start_account(self) -> None:
        self.lab.account.start()
        self.accounts += 1
        self._rules = [rule for rule in self._rules if "exit" not in rule]
        self.lab.faults.put(*self._rules, seed=self.seed + self.accounts)

    def _look_at_account(self, chance: random.Random) -> None:
        try:
            told = self.lab.faults.rules()
            held = self.lab.faults.held()
        except (OSError, TransportError):  # it died just now
            return
        self.fired = max(self.fired, sum(rule["fired"] for rule in told))
        for one in held:
            since = self._hung_since.setdefault(one["id"], time.monotonic())
            if time.monotonic() - since > _HANGS:
                self.lab.faults.release(one["id"], cancel=chance.random() < 0.5)

    def _stop(self, daemon: Popen[bytes] | None) -> None:
        if daemon is not None:
            daemon.kill()
            daemon.wait()


def settled(portrait: Mapping[str, Any]) -> dict[str, Any]:
    """The portrait without the tries of a job that failed: a job that died with the account is tried again, under its next number."""
    found = dict(portrait)
    jobs = [row for row in portrait["SERVICES IN ACCOUNT"] if row["is_job"] == "true"]
    services = [row for row in portrait["SERVICES IN ACCOUNT"] if row["is_job"] != "true"]
    good = [{"name": row["name"].rpartition("_")[0], "status": row["status"]} for row in jobs if row["status"] == "DONE"]
    found["SERVICES IN ACCOUNT"] = services
    found["jobs"] = sorted(good, key=str)
    for what in [what for what in found if what.startswith("grants to ")]:
        found[what] = [row for row in found[what] if not any(job["name"] in str(row["name"]) for job in jobs)]
    return found
