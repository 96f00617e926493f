"""Help for tests of the container runtime: an account process, a connection, and images pushed over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import snowflake.connector
from tiny_images import layer, push_image

SERVER = textwrap.dedent(
    """
    import http.server, json, os, sys, threading, time
    PORT = int(os.environ.get("SNOWCAT_PORT", "8000"))
    STATE = {"calls": 0}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, document):
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/healthz":
                return self.answer(200, {"ok": True})
            if self.path == "/sse":
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for n in range(3):
                    chunk = f"data: {n}\\n\\n".encode()
                    self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(chunk), chunk))
                self.wfile.write(b"0\\r\\n\\r\\n")
                return
            headers = {k.lower(): v for k, v in self.headers.items()}
            self.answer(200, {"path": self.path, "headers": headers, "version": os.environ.get("VERSION"), "pid": os.getpid()})

        def do_POST(self):
            STATE["calls"] += 1
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/flaky" and STATE["calls"] % 2:
                return self.answer(503, {"error": "later"})
            if self.path == "/broken":
                return self.answer(400, {"error": "no"})
            if self.path == "/headers":
                wanted = {k.lower(): v for k, v in self.headers.items() if k.lower().startswith("sf-")}
                return self.answer(200, {"data": [[row[0], wanted] for row in request["data"]]})
            if self.path == "/echo":
                return self.answer(200, {"data": [[row[0], row[1]] for row in request["data"]]})
            if self.path == "/count":
                return self.answer(200, {"data": [[row[0], len(request["data"])] for row in request["data"]]})
            self.answer(200, {"data": [[row[0], "<" + " ".join(str(v) for v in row[1:]) + ">"] for row in request["data"]]})

        def log_message(self, *args):
            pass

    print("listening", flush=True)
    http.server.ThreadingHTTPServer(("0.0.0.0", PORT), Handler).serve_forever()
    """
)


__all__ = ["SERVER", "AccountProcess", "Sql", "layer", "push_image", "spec", "until"]


class AccountProcess:
    """`python -m emulator` in a folder, and connections to it."""

    def __init__(self, state: Path, *, namespaces: bool = True, time_scale: float = 0.01, faults: bool = False) -> None:
        self.state = state
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if not namespaces:
            self._environment["EMULATOR_NO_NAMESPACES"] = "1"
        self._options = ["--time-scale", str(time_scale), *(["--faults"] if faults else [])]
        self.process: subprocess.Popen[bytes] | None = None
        self.info: dict[str, Any] = {}

    def start(self) -> None:
        account = self.state / "account.json"
        account.unlink(missing_ok=True)
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / "process.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "emulator", "--state", str(self.state), *self._options],
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=Path(__file__).parents[2],
            )
        until(account.exists, 60, lambda: (self.state / "process.log").read_text())
        self.info = json.loads(account.read_text())

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    @property
    def host(self) -> str:
        return f"{self.info['host']}:{self.info['port']}"

    def connect(self, **options: Any) -> Any:
        values = {
            "account": "LOCAL",
            "user": self.info["user"],
            "password": self.info["password"],
            "host": self.info["host"],
            "port": self.info["port"],
            "protocol": "http",
            "role": "ACCOUNTADMIN",
            **options,
        }
        return snowflake.connector.connect(**values)

    def push(self, repository: str, image: str, files: dict[str, str], **config: Any) -> str:
        """Push an image to `db/schema/repo`; returns its digest."""
        return push_image(f"http://{self.host}", (self.info["user"], self.info["password"]), repository, image, files, config)


class Sql:
    """Rows as dictionaries, for readable tests."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def __call__(self, statement: str) -> list[dict[str, Any]]:
        with self.connection.cursor(snowflake.connector.DictCursor) as cursor:
            rows: list[dict[str, Any]] = cursor.execute(statement).fetchall()
            return rows

    def one(self, statement: str) -> dict[str, Any]:
        rows = self(statement)
        assert len(rows) == 1, rows
        return rows[0]

    def value(self, statement: str) -> Any:
        return next(iter(self.one(statement).values()))

    def columns(self, statement: str) -> list[str]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return [column.name for column in cursor.description]

    def service(self, name: str) -> dict[str, Any]:
        return self.one(f"DESCRIBE SERVICE {name}")

    def wait(self, name: str, status: str, seconds: float = 30) -> dict[str, Any]:
        """Until the service has the status."""
        until(lambda: self.service(name)["status"] == status, seconds, lambda: self.diagnosis(name))
        return self.service(name)

    def diagnosis(self, name: str) -> str:
        rows = self(f"SHOW SERVICE CONTAINERS IN SERVICE {name}")
        texts = [str({k: row[k] for k in ("service_status", "status", "message")}) for row in rows]
        for row in rows:
            if row["container_name"]:
                texts.append(self.logs(name, row["container_name"], row["instance_id"]))
        return "\n".join(texts)

    def logs(self, name: str, container: str = "main", instance: str = "0") -> str:
        return str(self.value(f"CALL SYSTEM$GET_SERVICE_LOGS('{name}', '{instance}', '{container}', 500)"))


def until(condition: Callable[[], object], seconds: float = 30, explain: Callable[[], str] = lambda: "") -> None:
    """Poll until the condition holds; fails with an explanation."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {explain()}")
        time.sleep(0.05)


def spec(image: str, *, command: list[str] | None = None, name: str = "main", extra: str = "", **env: str) -> str:
    """A specification with one container, as JSON (which is YAML)."""
    container: dict[str, Any] = {"name": name, "image": f"/db/s/repo/{image}", "env": env}
    if command is not None:
        container["command"] = command
    document: dict[str, Any] = {"spec": {"containers": [container]}}
    if extra:
        for path, value in json.loads(extra).items():
            target = container if path.startswith("container.") else document["spec"]
            target[path.removeprefix("container.")] = value
    return json.dumps(document)
