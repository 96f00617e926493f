"""`make bench-reconcile`: the reconciler against an account where every statement takes 100 ms longer, at 10 to 4,000 objects.

Real processes over the wire. Results go to `benchmarks/results/reconcile.json`, and as a table to the terminal. Wall times depend on the
machine and on what else it does: the load is written beside them, and each has the figure next to it that it should be compared with.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from account import Account, account
from measure import SNOWCAT, Bench
from others import compare
from projects import SECRET_VARIABLE, project

from controller.account.connections import local_connection
from controller.account.session import open_session
from controller.kinds.registry import KINDS
from controller.reconcile.bootstrap import bootstrap_statements, run_bootstrap
from controller.reconcile.engine import Engine
from controller.reconcile.log import configure
from controller.reconcile.look.files import loader
from controller.reconcile.state import State

RESULTS = Path(__file__).parent / "results" / "reconcile.json"
SIZES = (10, 100, 1000, 4000)
STARTS = 5


def main() -> None:
    options = _options()
    sizes = [int(size) for size in options.sizes.split(",")]
    results: dict[str, Any] = {**_machine(), "latencySeconds": options.latency, "help": _help_start(), **_kept(options)}
    with tempfile.TemporaryDirectory(prefix="snowcat-bench-", dir=options.folder) as name:
        for size in sizes:
            print(f"{size} objects", file=sys.stderr)
            measured = {**results["sizes"], str(size): _one_size(size, Path(name) / str(size), options)}
            results["sizes"] = {at: measured[at] for at in sorted(measured, key=int)}
            _write(results, options)  # after each size: a run that is cut short leaves the smaller ones
        if not options.no_others:
            results["plansOfOthers"] = _others(Path(name) / "others", options)
            _write(results, options)
    print(table(results))


def _kept(options: argparse.Namespace) -> dict[str, Any]:
    """With `--add`, what the file has of other sizes and other tools; each size says when it was measured, and at which load."""
    before = json.loads(options.out.read_text()) if options.add and options.out.exists() else {}
    return {"sizes": {}, **{part: before[part] for part in ("sizes", "plansOfOthers") if part in before}}


def _write(results: dict[str, Any], options: argparse.Namespace) -> None:
    results["load"]["after"] = os.getloadavg()[0]
    if not options.no_write:
        options.out.parent.mkdir(exist_ok=True)
        options.out.write_text(json.dumps(results, indent=2) + "\n")


def _others(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The plans of other tools and ours of the same, in one account."""
    home.mkdir()
    sizes = [int(size) for size in options.others.split(",")]
    with account(home / "account") as running:
        running.connections(home / "snowflake")
        return compare(running, home, options.latency, sizes)


def _one_size(size: int, home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one size, in an account of its own."""
    home.mkdir()
    made = project(f"b{size}", size)
    with account(home / "account") as running:
        running.connections(home / "snowflake")
        made.write(home / "project")
        _bootstrap(running, home / "project")
        bench = Bench(running, made, home / "project", home, options.latency)
        running.latency(options.latency)
        for name, step in (
            ("plan of everything", lambda: bench.plan("planOfEverything")),
            ("first apply", bench.apply),
            ("plan of nothing", lambda: bench.plan("planOfNothing")),
            ("daemon", lambda: bench.daemon(options.cycles)),
        ):
            started = time.monotonic()
            step()
            print(f"  {name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return {"objects": size, "byKind": made.kinds, "date": _now(), "load": os.getloadavg()[0], **bench.results}


def _bootstrap(running: Account, folder: Path) -> None:
    """What an administrator does once."""
    os.environ[SECRET_VARIABLE] = "benchmark-value"
    configure(as_json=False, level=logging.WARNING)
    loaded = Engine(loader(folder), KINDS, State(None), None).load()
    session = open_session(local_connection(running.details), role="ACCOUNTADMIN")
    run_bootstrap(session, bootstrap_statements(loaded))
    session.close()


def _help_start() -> dict[str, float]:
    """`snowcat --help`, the best and the worst of a few starts."""
    times = []
    for _ in range(STARTS):
        started = time.perf_counter()
        subprocess.run([*SNOWCAT, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return {"bestSeconds": round(min(times), 3), "worstSeconds": round(max(times), 3)}


def _machine() -> dict[str, Any]:
    return {
        "date": _now(),
        "snowcat": version_of("snowcat"),
        "python": platform.python_version(),
        "driver": version_of("snowflake-connector-python"),
        "cores": os.cpu_count(),
        "load": {"before": os.getloadavg()[0]},
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def version_of(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return "not installed"


def table(results: dict[str, Any]) -> str:
    """The figures with what they should be, a column for each size."""
    sizes = list(results["sizes"])
    rows: list[tuple[str, list[str]]] = []

    def row(title: str, show: Any) -> None:
        cells = []
        for size in sizes:
            try:
                cells.append(str(show(results["sizes"][size])))
            except (KeyError, TypeError):
                cells.append("–")
        rows.append((title, cells))

    row("SHOWs a cycle (bound: kinds × scopes + 3)", lambda r: f"{r['steady']['showsPerCycle']} ({r['steady']['showsBound']})")
    row("DESCRIBEs a cycle (bound: 20)", lambda r: r["steady"]["deepReadsPerCycle"])
    row("deep pass: objects, seconds", lambda r: f"{r['deepPass']['objects']}, {r['deepPass']['seconds']}")
    row("warehouse statements in steady state (0)", lambda r: r["steady"]["warehouseStatements"])
    row("changes in steady state (0)", lambda r: r["steady"]["changes"])
    row("length of a steady cycle, s", lambda r: r["steady"]["cycleSeconds"])
    row("idle CPU, % of a core (1)", lambda r: r["steady"]["cpuPercent"])
    row("peak memory, MB (250)", lambda r: r["memory"]["peakMB"])
    row("plan of everything, s (statements × latency)", lambda r: _against(r["planOfEverything"], "oneByOneSeconds"))
    row("plan of nothing, s (statements × latency)", lambda r: _against(r["planOfNothing"], "oneByOneSeconds"))
    row("statements of a plan per object", lambda r: r["planOfNothing"]["statementsPerObject"])
    row("first apply, s (ideal)", lambda r: _against(r["firstApply"], "idealSeconds"))
    row("  before its first statement, after its last, s", lambda r: f"{r['firstApply']['startSeconds']}, {r['firstApply']['endSeconds']}")
    row("  ideal at the account's own speed, s", lambda r: r["firstApply"]["idealAtMeanSeconds"])
    row("save → its statement beyond latency, p95 ms (150)", lambda r: r["save"]["beyondLatency"]["p95ms"])
    row("save → first statement, p95 ms", lambda r: r["save"]["toFirstStatement"]["p95ms"])
    row("save during a look → first statement, p95 ms", lambda r: r["hurriedSave"]["toFirstStatement"]["p95ms"])
    row("save during a look → its statement beyond latency, p95 ms", lambda r: r["hurriedSave"]["beyondLatency"]["p95ms"])
    width = max(len(title) for title, _ in rows)
    lines = [f"{'objects':<{width}}" + "".join(f"{size:>16}" for size in sizes)]
    lines += [f"{title:<{width}}" + "".join(f"{cell:>16}" for cell in cells) for title, cells in rows]
    for size, found in results.get("plansOfOthers", {}).get("sizes", {}).items():
        for tool, figures in found.items():
            end = "" if not figures["exitCode"] else f", stopped: {figures['stoppedWith'][-120:]}"
            lines.append(
                f"{size} databases, schemas and warehouses, {tool} plans: {figures['seconds']} s, {figures['statements']} statements{end}"
            )
    load = f"load {results['load']['before']:.1f} before, {results['load'].get('after', 0):.1f} after, {results['cores']} cores"
    lines.append(f"snowcat --help: {results['help']['bestSeconds']} s (0.3); {load}; latency {results['latencySeconds']} s a statement")
    return "\n".join(lines)


def _against(figures: dict[str, Any], ideal: str) -> str:
    return f"{figures['seconds']} ({figures[ideal]})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of objects, separated by commas")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds added to every statement")
    parser.add_argument("--cycles", type=int, default=3, help="steady cycles to measure")
    parser.add_argument("--others", default="10,100,1000", help="sizes at which other tools plan too")
    parser.add_argument("--no-others", action="store_true", help="leave other tools out")
    parser.add_argument("--folder", type=Path, default=None, help="where accounts and projects are made, for a look at them")
    parser.add_argument("--add", action="store_true", help="keep what the JSON file has of other sizes, and of other tools")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("--no-write", action="store_true", help="print the table only")
    return parser.parse_args()


if __name__ == "__main__":
    main()
