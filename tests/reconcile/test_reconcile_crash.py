"""kill -9 at any moment: what is started again ends where it would have ended."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from embedded_account import ROOT
from reconcile_live import Live

MANIFESTS = """
    kind: Warehouse
    metadata: {name: wh_@}
    ---
    kind: Database
    metadata: {name: db_@, deletionPolicy: delete}
    ---
    kind: Schema
    metadata: {name: sch, database: db_@, deletionPolicy: delete}
    ---
    kind: Stage
    metadata: {name: st, schema: db_@.sch, deletionPolicy: delete}
    spec: {files: [{from: hello.txt, to: greetings}]}
"""


def kill_after(live: Live, lines: int, seconds: float = 60.0) -> int:
    """Run a daemon and kill it once it has logged so many lines, or after so many seconds; how many it did log."""
    account = live.account.state / "account.json"
    command = [sys.executable, str(Path(__file__).with_name("reconcile_process.py")), str(account), str(live.folder), str(live.state.path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*command, f"worker{live.n}"], stderr=subprocess.PIPE, env=environment, text=True) as daemon:
        seen = 0
        assert daemon.stderr is not None
        timer = threading.Timer(seconds, daemon.kill)
        timer.start()
        for line in daemon.stderr:
            seen += 1
            if line.endswith("\n"):  # the last one may be cut off by the kill
                assert json.loads(line)["level"] in ("info", "warning"), line
            if seen >= lines:
                break
        timer.cancel()
        daemon.kill()
    return seen


def converges(live: Live) -> None:
    """The next look ends where an unbroken one would have: everything there once, and nothing more to do."""
    report = live.apply()
    assert report.ready, [s.as_dict() for s in report.failed]
    assert len(live.admin.execute(f"LIST @db_{live.n}.sch.st").rows) == 1
    assert [row["name"] for row in live.sql("SHOW WAREHOUSES") if row["name"] == live.text("WH_@")] == [live.text("WH_@")]
    again = live.engine()
    loaded = again.load()
    assert again.plan(loaded, again.look(loaded)).empty


@pytest.mark.parametrize("lines", [1, 3, 5, 8, 11])
def test_killed_at_any_line_of_its_log(live: Live, lines: int) -> None:
    (live.folder / "hello.txt").write_text("hello")
    live.write(a=MANIFESTS)
    assert kill_after(live, lines) == lines, "it was killed in the middle"
    converges(live)


def test_killed_again_and_again_at_random_lines(live: Live, seed: int) -> None:
    """Several daemons in a row die somewhere on the way, the manifests changing between them."""
    schedule = random.Random(seed)
    (live.folder / "hello.txt").write_text("hello")
    for size in ("XSMALL", "SMALL", "MEDIUM"):
        live.write(a=MANIFESTS.replace("{name: wh_@}", "{name: wh_@}\n    spec: {size: SIZE}").replace("SIZE", size))
        kill_after(live, schedule.randint(1, 12), seconds=schedule.uniform(0.2, 3.0))
    converges(live)
