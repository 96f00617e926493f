"""Measure micro-steps on this node: `python -m container.probe` with a TrainingConfig in `SNOWCAT_CONFIG`.

The figures go to the file of the output folder that `SNOWCAT_PROBE` names. Ends as the trainer does, with the exit codes of
`training.errors`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from container import memory, paths, settings
from container.model_folder import verify
from training.config import TrainingConfig
from training.errors import BadInputError, OutOfMemoryError, TrainingError
from training.files import write_json
from training.planner.machine import HOST_MEMORY
from training.progress import Progress, begin, report


def probe(config: TrainingConfig, name: str) -> None:
    """Measure, and write the result. Raises TrainingError."""
    if config.base.path is None:
        raise BadInputError("a probe needs base.path: a model that is on a stage")
    base = paths.real(config.base.path)
    verify(base)
    report(Progress("train", message="measuring two micro-steps"))
    with tempfile.TemporaryDirectory(prefix="snowcat-probe-") as work:
        out = Path(work) / "calibration.json"
        command = [sys.executable, "-m", "training.probe", str(base), "--out", str(out)]
        command += ["--method", json.dumps(config.method.document()), "--training", json.dumps(config.training.document())]
        group = memory.Group.own()
        before = group.kills()
        # a process of its own: what it measures is its memory, and nothing else has been in it
        environment = {**os.environ, "OMP_NUM_THREADS": str(settings.cores())}
        if (limit := group.limit()) is not None:
            environment.setdefault(HOST_MEMORY, str(limit))
        ended = subprocess.run(command, env=environment, check=False)
        if ended.returncode != 0 and group.kills() > before:
            raise memory.error(group, 0, 1)
        if ended.returncode == OutOfMemoryError.exit_code:
            raise OutOfMemoryError("two micro-steps of one layer do not fit into memory; take method: qlora or a larger instance family")
        if ended.returncode == BadInputError.exit_code:
            raise BadInputError("the probe cannot run with this model and method; the reason stands above in this log")
        if ended.returncode != 0 or not out.is_file():
            raise TrainingError(f"the probe ended with {ended.returncode}; the reason stands above in this log")
        write_json(paths.real(config.output.path) / name, json.loads(out.read_text(encoding="utf-8")))
    report(Progress("done", message=f"the figures are in {config.output.path}/{name}"))


def main() -> None:
    """Entry point of the container."""
    begin()
    try:
        probe(settings.document(TrainingConfig, "SNOWCAT_CONFIG"), os.environ.get("SNOWCAT_PROBE") or "probe.json")
    except TrainingError as error:
        settings.end(error)


if __name__ == "__main__":
    main()
