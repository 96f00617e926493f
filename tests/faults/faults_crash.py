"""Daemons that die by kill -9 between two statements, told by the account, and what has to be the same afterwards."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults_lab import CHANGES, CLIENT, PATIENCE, LightLab

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
SEED = int(os.environ.get("SNOWCAT_SEED", "0"))
TRANSFERS = "^/(v2|_stage)/"  # images and files travel beside the statements
MOST = 150  # no fewer than an apply has boundaries, which is asserted
ROUNDS = 5
_SLACK = 4  # statements by which one run may be shorter than another, as its steps fall together otherwise


@dataclass(frozen=True)
class Boundary:
    """The `number`-th change (or transfer) of a command, from 1, and what becomes of it when the daemon dies there.

    `lost`: it never reached the account. `done`: it had its effect, and its answer came to nobody. `late`: it has its effect only after the
    daemon is dead.
    """

    number: int
    fate: str
    transfer: bool = False
    match: str = CHANGES

    def __str__(self) -> str:
        return f"{'transfer ' if self.transfer else ''}{self.number} {self.fate}"

    def rule(self) -> dict[str, Any]:
        side = "after" if self.fate == "done" else "before"
        where = {"path": TRANSFERS} if self.transfer else {"match": self.match, "client": CLIENT}
        return {"name": "boundary", "nth": [self.number], "hold": side, **where}


def numbers() -> list[int]:
    """Which of the boundaries are tried: in a deep run every fifth from the seed on, so that five rounds try all; else a few."""
    return list(range(SEED % ROUNDS, MOST, ROUNDS)) if DEEP else random.Random(SEED).sample(range(MOST), 3)


def kill_at(lab: LightLab, boundary: Boundary, last: int, *command: str) -> None:
    """Run a command until it stands at the boundary, and kill it there. Only near the `last` one it may come to its end before."""
    lab.faults.put(boundary.rule())
    daemon = lab.start(*command)
    until = time.monotonic() + PATIENCE
    try:
        while not (held := lab.faults.held()) and daemon.poll() is None:
            assert time.monotonic() < until, f"neither at {boundary} nor at the end:\n{lab.said()}\n{lab.story()}"
            time.sleep(0.02)
    finally:
        daemon.kill()
        daemon.wait()
    lab.faults.release(cancel=boundary.fate == "lost")
    lab.faults.clear()
    assert held or boundary.number > last - _SLACK, f"it never came to {boundary} of {last}:\n{lab.story()}"


@dataclass(frozen=True)
class Unbroken:
    """What an apply and a destroy that nobody disturbs leave, and how many boundaries they have."""

    applied: dict[str, Any]
    destroyed: dict[str, Any]
    changes: int
    transfers: int
    drops: int

    def there(self, number: int) -> Boundary:
        """A boundary of apply; what becomes of the statement goes round."""
        place = number % (self.changes + self.transfers)
        if place < self.changes:
            return Boundary(place + 1, ("lost", "done", "late")[(number + SEED) % 3])
        return Boundary(place - self.changes + 1, ("lost", "done")[(number + SEED) % 2], transfer=True)

    def back(self, number: int) -> Boundary:
        """A boundary of destroy."""
        return Boundary(number % self.drops + 1, ("lost", "done", "late")[(number // self.drops + SEED) % 3])


def run_unbroken(folder: Path) -> Unbroken:
    lab = LightLab(folder)
    lab.account.start()
    try:
        lab.faults.put({"path": TRANSFERS, "latency": 0})
        lab.finish("apply")
        transfers = lab.faults.fired()
        changes, applied, last = len(lab.changes()), lab.portrait(), lab.faults.statements()[-1]["n"]
        lab.finish("destroy", "--yes")
        return Unbroken(applied, lab.portrait(), changes, transfers, len(lab.changes(last)))
    finally:
        lab.account.stop()


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """In words, what is there too much, too little, or otherwise."""
    lines = []
    for what in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get(what, []), found.get(what, [])
        lines += [f"missing in {what}: {row}" for row in wanted if row not in there]
        lines += [f"too much in {what}: {row}" for row in there if row not in wanted]
        if len(there) != len(wanted):
            lines.append(f"{what}: {len(there)} in place of {len(wanted)}")
    return lines
