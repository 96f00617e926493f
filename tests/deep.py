"""`make test-deep SEED=n BUDGET=minutes`: properties and random schedules, again and again with the next seed until the budget is spent.

Ends with the seed that failed, so that `make test-deep SEED=<it> BUDGET=0` repeats just that round.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--budget", type=float, default=10.0, help="minutes; a round that has begun is finished")
    parser.add_argument("--workers", default="2")
    chosen = parser.parse_args()
    end = time.monotonic() + 60 * chosen.budget
    seed = chosen.seed
    while True:
        print(f"round with seed {seed}", flush=True)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "deep",
            "-n",
            chosen.workers,
            "--dist",
            "loadfile",
            "--max-worker-restart=0",
            f"--hypothesis-seed={seed}",
        ]
        environment = {**os.environ, "HYPOTHESIS_PROFILE": "deep", "SNOWCAT_SEED": str(seed)}
        if code := subprocess.run([*command, "tests"], cwd=ROOT, env=environment, check=False).returncode:
            print(f"failed with seed {seed}: make test-deep SEED={seed} BUDGET=0", file=sys.stderr)
            return code
        if time.monotonic() >= end:
            return 0
        seed += 1


if __name__ == "__main__":
    sys.exit(main())
