"""Small projects into which the tests of bad input put one fault each."""

from __future__ import annotations

from pathlib import Path

from controller.manifests.project import LoadResult, load_project

PROJECT = """\
apiVersion: snowcat/v1
kind: Project
project: test
role: worker
existing: [Schema/db.s]
values: {nodes: 2, family: cpu_x64_xs}
"""

POOL = """\
apiVersion: snowcat/v1
kind: ComputePool
metadata: {name: NAME}
spec:
  instanceFamily: cpu_x64_xs
"""

STAGE = """\
apiVersion: snowcat/v1
kind: Stage
metadata: {name: files, schema: db.s}
spec: {}
"""


def pool(name: str = "pool", extra: str = "") -> str:
    return POOL.replace("NAME", name) + extra


def service(containers: str) -> str:
    return (
        pool()
        + "---\napiVersion: snowcat/v1\nkind: Service\nmetadata: {name: web, schema: db.s}\nspec:\n  computePool: pool\n"
        + f"  specification:\n    spec:\n{containers}"
    )


def load(folder: Path, text: str | bytes, project: str = PROJECT) -> LoadResult:
    (folder / "snowcat.yaml").write_text(project)
    data = text if isinstance(text, bytes) else text.replace("NAME", "pool").encode()
    (folder / "objects.yaml").write_bytes(data)
    return load_project(folder)
