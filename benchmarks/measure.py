"""What is measured of one project in one account: plan, first apply, steady state, and a file that is saved."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from account import CONNECTION, ROOT, Account, Sent
from projects import SECRET_VARIABLE, BenchProject

SNOWCAT = [sys.executable, "-m", "controller.cli.main"]
SAVES = 12
_PATIENCE = 1800.0  # seconds for anything that is waited for
_QUIET = 2.0  # seconds without a read after which a cycle is over
_SCRAPE = 15.0  # seconds between two looks at the metrics
_LEVELS = 4  # Database → Schema → NetworkRule → ExternalAccessIntegration


@dataclass
class Bench:
    """One project of one size. `results` are the figures, by name."""

    account: Account
    project: BenchProject
    folder: Path
    home: Path
    latency: float
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SNOWFLAKE_", "SNOWCAT_", "OTEL_"))},
            "SNOWFLAKE_HOME": str(self.home / "snowflake"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "PYTHONPATH": str(ROOT),
            SECRET_VARIABLE: "benchmark-value",
        }

    def run(self, *words: str) -> tuple[float, list[Sent], int]:
        """Seconds, statements and exit code of one command."""
        before = self.account.last()
        started = time.perf_counter()
        done = subprocess.run(
            [*SNOWCAT, *words, str(self.folder), "-c", CONNECTION], env=self.environment, cwd=self.home, capture_output=True, text=True
        )
        seconds = time.perf_counter() - started
        (self.home / f"{words[0]}.log").write_text(done.stdout[-20_000:] + done.stderr[-20_000:])
        if done.returncode:
            print(f"  snowcat {words[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}", file=sys.stderr)
        return seconds, self.account.sent(before), done.returncode

    # ---- commands --------------------------------------------------------------------------------------------------------------------

    def plan(self, name: str) -> None:
        """`snowcat plan`, the whole process."""
        seconds, sent, code = self.run("plan")
        self.results[name] = {
            "seconds": round(seconds, 2),
            "statements": len(sent),
            "statementsPerObject": round(len(sent) / len(self.project.documents), 3),
            "oneByOneSeconds": round(len(sent) * self.latency, 2),
            "exitCode": code,
        }

    def apply(self) -> None:
        """`snowcat apply` on an account that has nothing of the project yet."""
        begun = time.time()
        seconds, sent, code = self.run("apply")
        changes = [s for s in sent if s.changes and "_LEASE_" not in s.text]
        workers = _side_by_side(changes)
        taken = statistics.mean(s.ended - s.started for s in changes) if changes else 0.0
        spread = len(changes) / max(workers, 1)
        chain = _LEVELS * math.ceil(len(changes) / len(self.project.documents))
        self.results["firstApply"] = {
            "seconds": round(seconds, 2),
            "changes": len(changes),
            "reads": len(sent) - len(changes),
            "workers": workers,
            "longestChain": chain,
            "idealSeconds": round(max(chain, spread) * self.latency, 2),
            "meanStatementSeconds": round(taken, 4),
            "idealAtMeanSeconds": round(max(chain, spread) * taken, 2),
            "startSeconds": round(min(s.started for s in sent) - begun, 2) if sent else 0.0,
            "endSeconds": round(begun + seconds - max(s.ended for s in sent), 2) if sent else 0.0,
            "firstToLastChangeSeconds": round(max(s.ended for s in changes) - min(s.started for s in changes), 2) if changes else 0.0,
            "exitCode": code,
        }

    # ---- the daemon -------------------------------------------------------------------------------------------------------------------

    def daemon(self, cycles: int) -> None:
        """A daemon in steady state for some cycles, then files are saved."""
        with self._running() as daemon:
            daemon.settle()
            self._deep_pass(daemon)
            self._steady(daemon, cycles)
            self._saves(daemon)
            self.results["memory"] = {"peakMB": daemon.peak_mb()}

    def _deep_pass(self, daemon: Daemon) -> None:
        deep_reads = 20
        described = {s.text for s in self.account.sent(daemon.first) if s.deep}
        self.results["deepPass"] = {
            "objects": len(described),
            "deepReads": deep_reads,
            "cycles": math.ceil(len(described) / deep_reads),
            "seconds": math.ceil(len(described) / deep_reads) * daemon.resync,
            "firstPassSeconds": round(daemon.settled_after, 1),
        }

    def _steady(self, daemon: Daemon, cycles: int) -> None:
        self._cycle_ends(daemon)
        before, cpu, started = self.account.last(), daemon.cpu(), time.monotonic()
        counted, warehouse = daemon.metric("snowcat_cycle_seconds_count"), daemon.metric("snowcat_warehouse_statements_total")
        spent = daemon.metric("snowcat_cycle_seconds_sum")
        for _ in range(cycles):  # both ends of the window are ends of cycles, or a part of one would be counted
            self._cycle_ends(daemon)
        seconds, done = time.monotonic() - started, daemon.metric("snowcat_cycle_seconds_count") - counted
        sent = self.account.sent(before)
        shows = [s for s in sent if s.listing and "_LEASE_" not in s.text]
        scopes = 1 + self.project.schemas + self.project.roles
        self.results["steady"] = {
            "cycles": int(done),
            "showsPerCycle": round(len(shows) / done, 1),
            "showsBound": len(self.project.kinds) * scopes + 3,
            "kinds": len(self.project.kinds),
            "scopes": scopes,
            "deepReadsPerCycle": round(sum(s.deep for s in sent) / done, 1),
            "changes": sum(s.changes and "_LEASE_" not in s.text for s in sent),
            "leaseStatementsPerMinute": round(sum("_LEASE_" in s.text for s in sent) * 60 / seconds, 1),
            "warehouseStatements": int(daemon.metric("snowcat_warehouse_statements_total") - warehouse),
            "cycleSeconds": round((daemon.metric("snowcat_cycle_seconds_sum") - spent) / done, 2),
            "cpuPercent": round(100 * (daemon.cpu() - cpu) / seconds, 2),
        }

    def _cycle_ends(self, daemon: Daemon) -> None:
        """Wait for the end of the cycle that comes. The account tells it: asking the daemon ten times a second costs it more than its work.
        Its metrics are asked for as Prometheus does."""
        since, asked = self.account.last(), time.monotonic()
        while True:
            time.sleep(0.5)
            reads = [s for s in self.account.sent(since) if s.listing or s.deep]
            reads = [s for s in reads if "_LEASE_" not in s.text]
            if reads and all(s.ended for s in reads) and time.time() - max(s.ended for s in reads) > _QUIET:
                return
            if time.monotonic() - asked > _SCRAPE:
                asked = time.monotonic()
                daemon.metric("snowcat_settled")

    def _saves(self, daemon: Daemon) -> None:
        """A comment is edited in a file; from the save to the ALTER of it. One latency of it is the look that comes first.

        Once while the daemon rests, as for somebody who thinks between two edits; once while it looks at what came of the save before.
        """
        self.results["save"] = self._save_again_and_again(daemon, rest=True)
        self.results["hurriedSave"] = self._save_again_and_again(daemon, rest=False)

    def _save_again_and_again(self, daemon: Daemon, *, rest: bool) -> dict[str, Any]:
        number, place = self.project.file_of("Stage")
        file = self.folder / f"objects_{number:03}.yaml"
        documents = file.read_text().split("---\n")
        first, change = [], []
        for turn in range(SAVES):
            before, word = self.account.last(), f"edited {turn}{' at rest' if rest else ''}"
            documents[place] = re.sub(r'"comment": "[^"]*"', f'"comment": "{word}"', documents[place])
            saved = time.time()
            file.write_text("---\n".join(documents))
            sent = self._until(before, partial(_tells, word))
            first.append(min(s.started for s in sent if "_LEASE_" not in s.text) - saved)
            change.append(next(s.started for s in sent if _tells(word, s)) - saved)
            if rest:
                self._until_quiet()
            time.sleep(0.3 + 0.17 * turn)  # not in step with the daemon's own pauses
        beyond = [seconds - self.latency for seconds in change]
        return {
            "saves": SAVES,
            "toFirstStatement": _spread(first),
            "toItsStatement": _spread(change),
            "beyondLatency": _spread(beyond),
        }

    def _until_quiet(self, seconds: float = 1.0) -> None:
        """Wait until the daemon has sent nothing but what concerns its lease for so long."""
        until, last, since = time.monotonic() + _PATIENCE, self.account.last(), time.monotonic()
        while time.monotonic() - since < seconds:
            if time.monotonic() > until:
                raise SystemExit("the daemon never came to rest")
            time.sleep(0.1)
            if any("_LEASE_" not in s.text for s in self.account.sent(last)):
                last, since = self.account.last(), time.monotonic()

    def _until(self, since: int, wanted: Callable[[Sent], bool]) -> list[Sent]:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            sent = self.account.sent(since)
            if any(wanted(s) for s in sent):
                return sent
            time.sleep(0.02)
        raise SystemExit("the daemon never sent what was waited for")

    @contextmanager
    def _running(self) -> Iterator[Daemon]:
        log = self.home / "run.log"
        first = self.account.last()
        with log.open("w") as out:
            process = subprocess.Popen(
                [*SNOWCAT, "run", str(self.folder), "-c", CONNECTION, "--log-format", "json", "--listen", "127.0.0.1:0"],
                env=self.environment,
                cwd=self.home,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            try:
                yield Daemon(process.pid, log, first)
            finally:
                process.terminate()
                process.wait(timeout=60)


@dataclass
class Daemon:
    """A running daemon, seen from outside: its log, its metrics, its process."""

    pid: int
    log: Path
    first: int  # number of the last statement before it started
    resync: int = 30
    settled_after: float = 0.0
    _url: str = ""
    _start: float = field(default_factory=time.monotonic)

    @property
    def url(self) -> str:
        while not self._url:
            entries = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
            self._url = next((entry["url"] for entry in entries if entry.get("event") == "listening"), "")
            time.sleep(0.05)
        return self._url

    def metric(self, name: str) -> float:
        """The sum over all series of a metric."""
        text = httpx.get(f"{self.url}/metrics", timeout=30).text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}[ {{]", line))

    def settle(self) -> None:
        """Wait until nothing is left to do."""
        until = time.monotonic() + _PATIENCE
        while not self.metric("snowcat_settled"):
            if time.monotonic() > until:
                raise SystemExit(f"the daemon did not settle, see {self.log}")
            time.sleep(0.05)
        self.settled_after = self.settled_after or time.monotonic() - self._start

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        """The largest resident memory so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return round(int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024, 1)


def _side_by_side(sent: list[Sent]) -> int:
    """How many of these were under way at once, at most."""
    moments = sorted([(s.started, 1) for s in sent] + [(s.ended, -1) for s in sent])
    return max(itertools.accumulate((step for _, step in moments), initial=0))


def _tells(word: str, sent: Sent) -> bool:
    """Whether a statement changes something to `word`."""
    return sent.changes and word in sent.text


def _spread(values: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(values)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return {"p50ms": round(1000 * statistics.median(ordered)), "p95ms": round(1000 * p95), "mostms": round(1000 * ordered[-1])}
