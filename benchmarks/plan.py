"""`make bench`: how the number of questions to the account and the time of a plan grow with the number of objects.

Plans N stages, network rules and warehouses against an account that has none of them, and counts the SHOWs of one cycle. Needs no account.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from controller.kinds.registry import KINDS
from controller.reconcile.engine import Engine
from controller.reconcile.look.files import loader
from controller.reconcile.state import State

PROJECT = "apiVersion: snowcat/v1\nkind: Project\nproject: bench\nrole: worker\nexisting: [Schema/db.s]\n"
OBJECTS = (
    "apiVersion: snowcat/v1\nkind: Stage\nmetadata: {{name: stage_{n}, schema: db.s}}\n---\n"
    "apiVersion: snowcat/v1\nkind: NetworkRule\nmetadata: {{name: rule_{n}, schema: db.s}}\nspec: {{values: [example.com]}}\n---\n"
    "apiVersion: snowcat/v1\nkind: Warehouse\nmetadata: {{name: wh_{n}}}\n"
)


def measure(count: int) -> tuple[int, int, float]:
    """Objects, distinct SHOWs of one cycle, and seconds from the files to the plan."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "snowcat.yaml").write_text(PROJECT)
        for n in range(count):
            (folder / f"{n}.yaml").write_text(OBJECTS.format(n=n))
        start = time.perf_counter()
        engine = Engine(loader(folder, None, connection=None, local=False), KINDS, State(None), None, "bench")
        loaded = engine.load()
        plan = engine.plan(loaded, engine.look(loaded))
        seconds = time.perf_counter() - start
        shows = {show for obj in loaded.graph for show in KINDS[obj.key.kind].reads(obj, loaded.graph)}
        return len(plan.changes), len(shows), seconds


def main() -> None:
    sys.stdout.write(f"{'objects':>8} {'SHOWs a cycle':>14} {'files to plan':>14} {'per object':>11}\n")
    for count in (10, 100, 400):
        objects, shows, seconds = measure(count)
        sys.stdout.write(f"{objects:>8} {shows:>14} {seconds:>12.2f} s {1000 * seconds / objects:>8.1f} ms\n")


if __name__ == "__main__":
    main()
