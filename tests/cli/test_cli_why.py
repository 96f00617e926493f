"""`why` on a service whose container fails: the chain ends there, with what it wrote last."""

from __future__ import annotations

import json
import time

from cli_support import OBJECTS, Snowcat

SERVER = "import sys\nprint('looking for the model', flush=True)\nsys.exit('there is no model at /models')\n"
DOCKERFILE = 'FROM python:3.11-slim\nWORKDIR /app\nCOPY server.py server.py\nENTRYPOINT ["python", "server.py"]\n'
MORE = """\
---
apiVersion: snowcat/v1
kind: ComputePool
metadata: {name: pool}
spec: {instanceFamily: CPU_X64_XS, autoSuspendSeconds: 0}
---
apiVersion: snowcat/v1
kind: ImageRepository
metadata: {name: repo, schema: db.s, deletionPolicy: delete}
---
apiVersion: snowcat/v1
kind: Image
metadata: {name: page, schema: db.s}
spec: {repository: repo, context: app}
---
apiVersion: snowcat/v1
kind: Service
metadata: {name: web, schema: db.s}
spec:
  computePool: pool
  specification: {spec: {containers: [{name: main, image: {ref: page}, readinessProbe: {port: 8000, path: /}}]}}
---
apiVersion: snowcat/v1
kind: Stage
metadata: {name: after, schema: db.s, dependsOn: [Service/web]}
"""
PATIENCE = 120.0  # seconds; only how long a broken account keeps the test waiting


def test_a_container_that_fails_is_the_root_with_its_last_lines(local: Snowcat) -> None:
    (local.folder / "objects.yaml").write_text(OBJECTS + MORE)
    app = local.folder / "app"
    app.mkdir()
    (app / "server.py").write_text(SERVER)
    (app / "Dockerfile").write_text(DOCKERFILE)
    local("apply", "--local", "--timeout", "8")
    until = time.monotonic() + PATIENCE
    told = json.loads(local("why", "--local", "Stage/after", "-o", "json").out)
    while told["cause"] != "container" and time.monotonic() < until:
        told = json.loads(local("why", "--local", "Stage/after", "-o", "json").out)
    assert [link["object"] for link in told["chain"]] == ["Stage/after", "Service/web"], told
    assert told["cause"] == "container" and any("there is no model at /models" in line for line in told["logs"]), told
    shown = local("why", "--local", "Stage/after").out
    assert "waits for Service/web" in shown and "Last lines of its container:" in shown and "there is no model" in shown
    assert "snowcat logs Service/web" in shown
