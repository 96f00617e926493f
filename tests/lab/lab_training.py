"""A project with a tiny model and fine-tunes of it, for tests that train by the controller: account, nodes, trainer and ranks are real.

The model is random and learns in seconds. Jobs go one after another on the nodes of one pool.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("faults", "training")]

from faults_lab import LightLab  # noqa: E402 - found by the path above
from training_tiny import tiny_rows, write_rows, write_tiny_model  # noqa: E402

Found = TypeVar("Found")
PATIENCE = 300.0  # seconds; only how long a broken run keeps the tests waiting
PROJECT = """
apiVersion: snowcat/v1
kind: Project
project: nodes
role: tuner
home: snowcat.control
warehouse: wh
existing: [Role/SYSADMIN]
resync: 1s
"""
OBJECTS = """
apiVersion: snowcat/v1
kind: Warehouse
metadata: {name: wh}
spec: {size: xsmall, autoSuspend: 180, initiallySuspended: true}
---
apiVersion: snowcat/v1
kind: Database
metadata: {name: db, deletionPolicy: delete}
---
apiVersion: snowcat/v1
kind: Schema
metadata: {name: sch, database: db, deletionPolicy: delete}
---
apiVersion: snowcat/v1
kind: Stage
metadata: {name: models, schema: db.sch, deletionPolicy: delete}
spec: {encryption: SNOWFLAKE_SSE, directory: true}
---
apiVersion: snowcat/v1
kind: ImageRepository
metadata: {name: repo, schema: db.sch, deletionPolicy: delete}
---
apiVersion: snowcat/v1
kind: Image
metadata: {name: trainer, schema: db.sch}
spec: {repository: repo, builtin: trainer}
---
apiVersion: snowcat/v1
kind: ComputePool
metadata: {name: pool}
spec: {instanceFamily: CPU_X64_S, minNodes: NODES, maxNodes: NODES, autoSuspendSeconds: 3600}
---
apiVersion: snowcat/v1
kind: Dataset
metadata: {name: calls, schema: db.sch, deletionPolicy: delete}
spec: {file: calls.jsonl, split: {train: 0.7, eval: 0.2, test: 0.1}}
---
apiVersion: snowcat/v1
kind: BaseModel
metadata: {name: tiny, schema: db.sch}
spec: {source: {path: tiny}, stage: models, via: local}
"""
JOB = """
---
apiVersion: snowcat/v1
kind: FineTuneJob
metadata: {name: NAME, schema: db.sch, dependsOn: [AFTER]}
spec:
  computePool: pool
  image: trainer
  model: tiny
  dataset: calls
  replicas: REPLICAS
  processes: 1
  deepspeed: {zero: STAGE}
  training: {maxSteps: 8, learningRate: 0.02, dtype: float32}
  checkpoint: {everySteps: 2, keep: 3}
  retry: {limit: 3}
  output: {stage: models}
  resources: {requests: {cpu: 2, memory: 1Gi}}  # one node for each
"""
EVALUATION = "  evaluation: {rows: 2, maxNewTokens: 2}\n"


def job(name: str, replicas: int, stage: int, more: str = EVALUATION, after: str = "") -> str:
    """The manifest of a fine-tune; it waits for the one named `after`."""
    text = JOB.replace("NAME", name).replace("REPLICAS", str(replicas)).replace("STAGE", str(stage))
    return text.replace("AFTER", f"FineTuneJob/{after}" if after else "") + more


@contextmanager
def training_lab(folder: Path, nodes: int, jobs: Sequence[str]) -> Iterator[LightLab]:
    """An account that runs, and the manifests of the jobs, not yet applied."""
    manifests = folder / "manifests"
    manifests.mkdir(parents=True)
    (manifests / "snowcat.yaml").write_text(PROJECT)
    (manifests / "objects.yaml").write_text(OBJECTS.replace("NODES", str(nodes)) + "".join(jobs))
    write_tiny_model(manifests / "tiny")
    (manifests / "tiny" / "model.json").unlink()
    rows = [{name.lower(): value for name, value in row.items() if not name.startswith("_")} for row in tiny_rows()]
    write_rows(manifests / "calls.jsonl", rows)
    lab = LightLab(folder)
    lab.account.start()
    try:
        yield lab
    finally:
        lab.account.stop()
        shutil.rmtree(folder / "account", ignore_errors=True)


class Look:
    """What a person sees of the account while the daemon works, over one connection."""

    def __init__(self, lab: LightLab, daemon: subprocess.Popen[bytes]) -> None:
        self.lab = lab
        self.daemon = daemon
        self.connection = lab.account.connect()

    def rows(self, statement: str) -> list[dict[str, Any]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            names = [column.name.lower() for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """The attempts of a fine-tune, the first one first."""
        found = [row for row in self.rows("SHOW SERVICES IN ACCOUNT") if row["is_job"] == "true"]
        return sorted((row for row in found if row["name"].startswith(f"{name.upper()}_")), key=lambda row: row["name"])

    def wait_for(self, found: Callable[[], Found], what: str) -> Found:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if value := found():
                return value
            assert self.daemon.poll() is None, f"no {what}:\n{self.told()}"
            time.sleep(0.02)
        raise AssertionError(f"no {what}:\n{self.told()}")

    def told(self) -> str:
        """What daemon and containers said, for whoever has to understand a failure."""
        logs = [path for path in sorted((self.lab.account.state / "logs").rglob("*")) if path.is_file()]
        return "\n".join([self.lab.said(), *(f"== {path}\n{path.read_text(errors='replace')[-3000:]}" for path in logs)])


def files(lab: LightLab, pattern: str) -> list[Path]:
    """Files on the stages, as they lie on the account's own disk."""
    return sorted((lab.account.state / "stages").rglob(pattern))


def document(lab: LightLab, name: str, file: str) -> Any:
    """A document that the run of the fine-tune `name` has left on the stage."""
    (path,) = files(lab, f"{name}/*/{file}")
    return json.loads(path.read_text())


def losses(lab: LightLab, name: str) -> list[float]:
    """The losses of all steps, over all attempts."""
    return [step["loss"] for step in document(lab, name, "metrics.json")["steps"]]
