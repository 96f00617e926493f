"""A fine-tune on several nodes by the controller: a node dies while it trains, the job fails, the next attempt goes on and ends.

The account, its nodes, the images, the trainer and its ranks are real; only the model is tiny and random.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("faults", "training")]

from faults_lab import LightLab  # noqa: E402 - found by the path above
from training_tiny import tiny_rows, write_rows, write_tiny_model  # noqa: E402

pytestmark = pytest.mark.slow

PATIENCE = 200.0
MANIFESTS = """
apiVersion: snowcat/v1
kind: Project
project: nodes
role: tuner
home: snowcat.control
warehouse: wh
existing: [Role/SYSADMIN]
resync: 1s
---
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
spec: {instanceFamily: CPU_X64_S, minNodes: REPLICAS, maxNodes: REPLICAS, autoSuspendSeconds: 3600}
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
---
apiVersion: snowcat/v1
kind: FineTuneJob
metadata: {name: wishes, schema: db.sch}
spec:
  computePool: pool
  image: trainer
  model: tiny
  dataset: calls
  replicas: REPLICAS
  processes: 1
  deepspeed: {zero: STAGE}
  training: {maxSteps: 12, learningRate: 0.02, dtype: float32}
  checkpoint: {everySteps: 2, keep: 3}
  evaluation: {rows: 2, maxNewTokens: 2}
  retry: {limit: 3}
  output: {stage: models}
  resources: {requests: {cpu: 2, memory: 1Gi}}  # one node for each
"""


@dataclass(frozen=True)
class World:
    """How many nodes train under which ZeRO stage: drawn, so that `make test-deep` comes to all of them."""

    replicas: int
    stage: int


@pytest.fixture
def world(seed: int) -> World:
    return World([2, 4][seed % 2], [2, 1, 3][seed % 3])


@pytest.fixture
def lab(tmp_path: Path, world: World) -> Iterator[LightLab]:
    folder = tmp_path
    manifests = folder / "manifests"
    manifests.mkdir(parents=True)
    text = MANIFESTS.replace("REPLICAS", str(world.replicas)).replace("STAGE", str(world.stage))
    project, _, objects = text.strip().partition("\n---\n")
    (manifests / "snowcat.yaml").write_text(project + "\n")
    (manifests / "objects.yaml").write_text(objects + "\n")
    write_tiny_model(manifests / "tiny")
    (manifests / "tiny" / "model.json").unlink()
    rows = [{name.lower(): value for name, value in row.items() if not name.startswith("_")} for row in tiny_rows()]
    write_rows(manifests / "calls.jsonl", rows)
    made = LightLab(folder)
    made.account.start()
    yield made
    made.account.stop()
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

    def jobs(self) -> list[dict[str, Any]]:
        return [row for row in self.rows("SHOW SERVICES IN ACCOUNT") if row["is_job"] == "true"]

    def checkpoints(self) -> list[str]:
        return [row["name"] for row in self.rows("LIST @DB.SCH.MODELS") if row["name"].endswith("/complete.json")]

    def wait_for(self, found: Any, what: str) -> Any:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if value := found():
                return value
            assert self.daemon.poll() is None, f"no {what}:\n{self.lab.said()}\n{logs(self.lab)}"
            time.sleep(0.1)
        raise AssertionError(f"no {what}:\n{self.lab.said()}\n{logs(self.lab)}")


def files(lab: LightLab, pattern: str) -> list[Path]:
    return sorted(lab.account.state.rglob(pattern))


def logs(lab: LightLab) -> str:
    return "\n".join(f"== {path}\n{path.read_text(errors='replace')[-3000:]}" for path in files(lab, "logs/**/*") if path.is_file())


def test_a_lost_node_fails_the_job_and_the_next_attempt_goes_on_and_ends(lab: LightLab, world: World) -> None:
    daemon = lab.start("apply")
    look = Look(lab, daemon)
    try:
        (job,) = look.wait_for(look.jobs, "job")
        look.wait_for(look.checkpoints, "checkpoint on the stage")
        instances = look.rows(f"SHOW SERVICE INSTANCES IN SERVICE DB.SCH.{job['name']}")
        assert len({row["ip_address"] for row in instances}) == world.replicas, "every node has an address of its own"
        lab.faults.kill_node("POOL")
        look.wait_for(lambda: look.jobs()[0]["status"] == "FAILED", "failed job")
        assert daemon.wait(PATIENCE) == 0, lab.said() + logs(lab)
    finally:
        daemon.kill()
        daemon.wait()
    assert sorted((row["name"][-2:], row["status"]) for row in look.jobs()) == [("_1", "FAILED"), ("_2", "DONE")]
    run = json.loads(next(iter(files(lab, "run.json"))).read_text())
    first_attempt, second = run["attempts"]
    assert (first_attempt["attempt"], first_attempt["fromStep"], second["attempt"]) == (1, 0, 2)
    assert second["fromStep"] >= 2, "the second attempt goes on from a checkpoint of the first"
    assert run["steps"] == 12
