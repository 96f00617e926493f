"""A small world for the kinds that run containers: manifests on disk, an account given as rows, and a gatherer that reads from both."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

from controller.account.snapshot import Read, Row, Show, Snapshot
from controller.api.objects import DesiredObject, Graph
from controller.kinds.base import KindError, Project, View
from controller.kinds.registry import KINDS
from controller.manifests.project import load_project

PROJECT = """
apiVersion: snowcat/v1
kind: Project
project: proj
role: worker
warehouse: wh
existing: [Role/SYSADMIN, Role/ANALYST, Database/db, Schema/db.sch, Warehouse/wh]
"""

LAB = """
kind: ComputePool
metadata: {name: pool}
spec: {instanceFamily: CPU_X64_M}
---
kind: ComputePool
metadata: {name: gpus}
spec: {instanceFamily: GPU_NV_M}
---
kind: Stage
metadata: {name: models, schema: db.sch}
---
kind: ImageRepository
metadata: {name: repo, schema: db.sch}
---
kind: Image
metadata: {name: trainer, schema: db.sch}
spec: {repository: repo, context: app}
---
kind: Dataset
metadata: {name: calls, schema: db.sch}
spec: {file: calls.jsonl}
---
kind: BaseModel
metadata: {name: small, schema: db.sch}
spec:
  source: {huggingFace: {id: org/small, revision: abc}}
  stage: models
  computePool: pool
  image: trainer
"""

JOB = """
kind: FineTuneJob
metadata: {name: wishes, schema: db.sch}
spec:
  computePool: pool
  image: trainer
  model: small
  dataset: calls
  training: {maxSteps: 4, learningRate: 0.001}
  retry: {limit: 1}
  output: {stage: models}
"""

DEPLOYMENT = """
kind: ModelDeployment
metadata: {name: tuned, schema: db.sch}
spec:
  model: {fromJob: wishes}
  promote: {when: {metric: field_f1, atLeast: 0.6}}
  computePool: pool
  image: trainer
  function: {name: tuned_predict}
"""


@dataclass
class World:
    """What files and account hold. It is a `Gatherer`, and makes the views that kinds are asked with."""

    folder: Path
    answers: dict[Read, tuple[Row, ...]] = field(default_factory=dict)
    stage_files: dict[str, bytes] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)  # stage files and logs that were read
    offline: bool = False
    project: Project = field(default_factory=lambda: Project("proj", Path("."), warehouse="WH", local=True))

    # ---- the gatherer ----

    def hash_files(self, paths: Iterable[Path]) -> str:
        return hashlib.sha256(b"|".join(path.read_bytes() for path in sorted(paths))).hexdigest()

    def remember(self, key: str, value: Any) -> None:
        self.memory[key] = value

    def recall(self, key: str) -> Any | None:
        return self.memory.get(key)

    def read_stage_file(self, stage: str, path: str) -> bytes | None:
        self.reads.append(path)
        return self.stage_files.get(path)

    def list_stage_files(self, stage: str, folder: str, pattern: str = "") -> dict[str, int]:
        self.reads.append(f"list of {folder}")
        found = {path: len(content) for path, content in self.stage_files.items() if path.startswith(f"{folder}/")}
        return {f"stage/{path}": size for path, size in found.items() if not pattern or re.fullmatch(pattern, path)}

    def show(self, read: Show) -> tuple[Mapping[str, Any], ...]:
        return self.answers.get(read, ())

    def service_logs(self, service: str, instance: int, container: str, lines: int) -> str | None:
        self.reads.append(f"log of {service}, instance {instance}")
        return self.logs.get(service)

    # ---- views ----

    def load(self, *manifests: str) -> Graph:
        """Load manifests, given without their apiVersion lines."""
        (self.folder / "snowcat.yaml").write_text(PROJECT)
        texts = [part for manifest in manifests for part in dedent(manifest).strip().split("\n---\n")]
        (self.folder / "objects.yaml").write_text("\n---\n".join(f"apiVersion: snowcat/v1\n{text}" for text in texts))
        result = load_project(self.folder)
        problems = [str(problem) for problem in result.problems if problem.severity == "error"]
        assert not problems, problems
        return result.graph

    def view(self, graph: Graph) -> View:
        """Facts gathered, and all questions of the objects answered (with no rows where nothing is given)."""
        facts: dict[Any, Any] = {}
        given = dict(self.answers)
        for obj in graph:
            kind = KINDS[obj.key.kind]
            try:
                facts[obj.key] = kind.gather(obj, graph, self)
            except KindError as error:
                facts[obj.key] = error
            for read in kind.reads(obj, graph):
                given.setdefault(read, ())
        return View(self.project, graph, Snapshot(given, role="WORKER", offline=self.offline), facts)

    def see(self, read: Read, *rows: Row) -> None:
        self.answers[read] = rows


def lab(folder: Path) -> World:
    """A world with the files that `LAB` names."""
    world = World(folder)
    (folder / "app").mkdir(exist_ok=True)
    (folder / "app" / "Dockerfile").write_text('FROM python:3.11\nWORKDIR /app\nCOPY main.py .\nENTRYPOINT ["python", "main.py"]\n')
    (folder / "app" / "main.py").write_text("print('hello')\n")
    rows = (f'{{"instruction": "i", "input": "call {n}", "output": "{{}}", "language": "{"EN" if n % 2 else "DE"}"}}' for n in range(20))
    (folder / "calls.jsonl").write_text("\n".join(rows) + "\n")
    return world


def only(graph: Graph, kind: str) -> DesiredObject:
    (obj,) = graph.of_kind(kind)
    return obj


def with_graph(view: View, graph: Graph) -> View:
    return replace(view, graph=graph)
