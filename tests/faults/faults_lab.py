"""The lab with light images, in an account with its faults endpoint: its whole graph, and no model.

The manifests are those of `manifests/lab`. Only the three images are others: small programs that keep the contract of ours (configuration
in, documents on the stage, `/predict`), so that a daemon makes everything that it makes for the real lab, in seconds.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

from fault_client import Faults

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from runtime_support import AccountProcess

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0  # seconds; only how long a broken daemon keeps the tests waiting
CLIENT = "^snowcat"  # the QUERY_TAG of everything that the controller sends
CHANGES = r"^\s*(CREATE|ALTER|DROP|GRANT|REVOKE|EXECUTE|INSERT|COPY|PUT|REMOVE|COMMENT|DELETE|MERGE|UPDATE|TRUNCATE)\b"
LEASE = "_LEASE_"  # its objects are the daemons' own, and come and go with them

_FETCH = """
    import json, os
    root, config = os.environ.get("SNOWCAT_ROOT", ""), json.loads(os.environ["SNOWCAT_CONFIG"])
    folder = root + config["output"]["path"]
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/model.json", "w") as file:
        json.dump({"identity": config["identity"], "parameters": 7, "architecture": "Tiny"}, file)
"""
_TRAIN = """
    import json, os
    root, config = os.environ.get("SNOWCAT_ROOT", ""), json.loads(os.environ["SNOWCAT_CONFIG"])
    assert os.path.exists(root + config["base"]["path"] + "/model.json"), "the base model is mounted"
    folder = root + config["output"]["path"]
    os.makedirs(folder + "/merged", exist_ok=True)
    with open(folder + "/merged/config.json", "w") as file:
        file.write("{}")
    with open(folder + "/run.json", "w") as file:
        json.dump({"run": config["run"]["id"], "metrics": {"tuned": {"field_f1": 0.9}}}, file)
"""
_SERVE = """
    import http.server, json, os

    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self, text):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self):
            self.reply("ok")

        def do_POST(self):
            rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"]
            self.reply(json.dumps({"data": [[n, p] for n, p in rows]}))

        def log_message(self, *arguments):
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SNOWCAT_PORT"])), Handler).serve_forever()
"""
_BASE = "FROM python:3.11\nWORKDIR /app\nENV PYTHONPATH=/app\n"


def light_manifests(folder: Path, lab: str = "lab") -> None:
    """A copy of a lab with light images and few rows."""
    shutil.copytree(ROOT / "manifests" / lab, folder)
    app = folder / "app"
    (app / "container").mkdir(parents=True)
    (app / "container" / "fetch.py").write_text(dedent(_FETCH))
    (app / "train.py").write_text(dedent(_TRAIN))
    (app / "serve.py").write_text(dedent(_SERVE))
    (app / "Dockerfile").write_text(_BASE + 'COPY container container/\nCOPY train.py .\nENTRYPOINT ["python", "train.py"]\n')
    (app / "Dockerfile.serve").write_text(_BASE + 'COPY serve.py .\nENTRYPOINT ["python", "serve.py"]\n')
    images = (folder / "images.yaml").read_text()
    images = images.replace("builtin: trainer", "context: app")
    (folder / "images.yaml").write_text(re.sub(r"builtin: (server|workspace)", "context: app, dockerfile: Dockerfile.serve", images))
    project = (folder / "snowcat.yaml").read_text()
    model = r"(?s)model:\n        package:\n.*?\n      egress"
    assert len(re.findall(model, project)) == 1 and images.count("app") == 1, "the lab's files have changed: see what stands here"
    (folder / "snowcat.yaml").write_text(re.sub(model, "model: {huggingFace: {id: org/tiny}}\n      egress", project))
    for data in (folder / "data").glob("*.jsonl"):
        data.write_text("".join(data.read_text().splitlines(keepends=True)[:60]))


@dataclass
class LightLab:
    """The lab's manifests, an account of its own, and daemons as processes."""

    folder: Path
    account: AccountProcess = field(init=False)

    def __post_init__(self) -> None:
        self.account = AccountProcess(self.folder / "account", faults=True)
        if not self.manifests.exists():
            light_manifests(self.manifests)

    @property
    def manifests(self) -> Path:
        return self.folder / "manifests"

    @property
    def faults(self) -> Faults:
        return Faults(self.account.state)

    # ---- daemons -----------------------------------------------------------------------------------------------------------------------

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A command of ours on the manifests, as a process: `apply`, `run`, `destroy --yes`."""
        environment = {**os.environ, "SNOWCAT_LOCAL_STATE": str(self.account.state), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "controller.cli.main", words[0], str(self.manifests), "--local", *words[1:]]
        with (self.folder / "daemon.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def finish(self, *words: str) -> None:
        """Run a command to its end, which has to be a good one."""
        process = self.start(*words)
        try:
            code = process.wait(PATIENCE)
        finally:
            process.kill()
        assert code == 0, f"{words[0]} ended with {code}:\n{self.said()}\n{self.story()}"

    def said(self) -> str:
        return "\n".join((self.folder / "daemon.log").read_text(errors="replace").splitlines()[-40:])

    def story(self) -> str:
        """The latest statements, for whoever has to understand a failure."""
        found = self.faults.statements()[-60:]
        return "\n".join(f"{s['n']:>5} {s['session']} {s['fault'] or '':<10} {s['outcome']:<12} {s['statement'][:160]}" for s in found)

    def changes(self, since: int = 0) -> list[str]:
        """Statements of daemons that change the account, in order of arrival."""
        found = self.faults.statements(since)
        return [s["statement"] for s in found if re.match(CLIENT, s["client"]) and re.match(CHANGES, s["statement"], re.IGNORECASE)]

    # ---- what there is -----------------------------------------------------------------------------------------------------------------

    def portrait(self) -> dict[str, Any]:
        """Everything in the account but what only time and chance decide."""
        with self.account.connect(network_timeout=60) as connection:
            return portrait(connection)


_EVERYWHERE = (
    "ROLES", "WAREHOUSES", "DATABASES", "SCHEMAS IN ACCOUNT", "COMPUTE POOLS", "INTEGRATIONS", "STAGES IN ACCOUNT", "TABLES IN ACCOUNT",
    "SECRETS IN ACCOUNT", "NETWORK RULES IN ACCOUNT", "IMAGE REPOSITORIES IN ACCOUNT", "SERVICES IN ACCOUNT", "USER FUNCTIONS IN ACCOUNT",
)  # fmt: skip
_CHANCE = frozenset(
    {"created_on", "updated_on", "resumed_on", "suspended_on", "started_on", "dropped_on", "dns_name", "is_current", "is_default"}
    | {"repository_url", "running", "queued", "actives", "pendings", "failed", "suspended", "uuid", "bytes", "state"}
    | {"active_nodes", "idle_nodes", "target_nodes"}
    | {"started_clusters", "available", "provisioning", "quiescing", "other"}  # of a warehouse that suspends itself in a slow run
)
_SALTED = re.compile(r"\b(tag|value|salt)=\S+")


def portrait(connection: Any) -> dict[str, Any]:
    """Rows by the SHOW that lists them, sorted; images by repository, files and rows by place."""
    found: dict[str, Any] = {what: _rows(connection, f"SHOW {what}") for what in _EVERYWHERE}
    found["STAGES IN ACCOUNT"] = [row for row in found["STAGES IN ACCOUNT"] if LEASE not in row["name"]]
    for row in found["ROLES"]:
        name = row["name"]
        found[f"grants to {name}"] = _rows(connection, f'SHOW GRANTS TO ROLE "{name}"')
    for row in found["IMAGE REPOSITORIES IN ACCOUNT"]:
        place = f"{row['database_name']}.{row['schema_name']}.{row['name']}"
        found[f"images of {place}"] = _rows(connection, f"SHOW IMAGES IN IMAGE REPOSITORY {place}")
    for row in found["STAGES IN ACCOUNT"]:
        place = f"{row['database_name']}.{row['schema_name']}.{row['name']}"
        found[f"files of {place}"] = [row["name"] for row in _rows(connection, f"LIST @{place}")]
    return found


def _rows(connection: Any, statement: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        names = [column.name.lower() for column in cursor.description]
        rows = [{n: _plain(v) for n, v in zip(names, row, strict=True) if n not in _CHANCE} for row in cursor.fetchall()]
    rows = [row for row in rows if LEASE not in json.dumps(row)]
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def _plain(value: Any) -> Any:
    return _SALTED.sub(r"\1=…", value) if isinstance(value, str) else str(value) if value is not None else None
