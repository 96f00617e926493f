"""`logs` and `open` on a real service: an image built from a folder, run by the embedded account."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
from cli_support import OBJECTS, Output, Snowcat

SERVER = """\
import http.server
import os


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked for", self.path, flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from the service")

    def log_message(self, *_):
        pass


print("listening", flush=True)
http.server.HTTPServer(("0.0.0.0", int(os.environ["SNOWCAT_PORT"])), Page).serve_forever()
"""

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
metadata: {name: repo, schema: db.s}
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
  specification:
    spec:
      containers:
        - name: main
          image: {ref: page}
          env: {SNOWCAT_PORT: 8000}
          readinessProbe: {port: 8000, path: /}
      endpoints:
        - {name: page, port: 8000, public: true}
"""


def test_a_service_is_opened_and_its_log_is_read(local: Snowcat) -> None:
    (local.folder / "app").mkdir()
    (local.folder / "app" / "server.py").write_text(SERVER)
    (local.folder / "app" / "Dockerfile").write_text(DOCKERFILE)
    (local.folder / "objects.yaml").write_text(OBJECTS + MORE)
    applied = local("apply", "--local", "--timeout", "100")
    assert applied.code == 0, applied

    logs = local("logs", "Service/web", "--local")
    assert logs.code == 0, logs
    assert logs.out.startswith("listening\n")

    opened = local("open", "Service/web", "--local", "--no-browser")
    assert opened.code == 0, opened
    link = opened.out.strip()
    follower = local.start("logs", "Service/web", "--local", "--follow")
    try:
        output = Output(follower)
        output.until("listening")
        with httpx.Client(follow_redirects=False, trust_env=False) as client:
            url = urlsplit(link)
            there = f"http://127.0.0.1:{url.port}"
            host = {"Host": url.netloc}
            stranger = client.get(f"{there}/secret-page", headers=host)
            assert "hello" not in stranger.text
            signed_in = client.get(f"{there}{url.path}?{url.query}", headers=host)
            assert signed_in.status_code == 303
            cookie = {"Cookie": signed_in.headers["set-cookie"].split(";")[0]}
            assert client.get(f"{there}/after-sign-in", headers={**host, **cookie}).text == "hello from the service"
            assert client.get(f"{there}{url.path}?{url.query}", headers=host).status_code != 303, "the link works once"
        output.until("asked for /after-sign-in")
    finally:
        follower.terminate()
        follower.wait(timeout=30)

    unknown = local("open", "Service/web", "--local", "--endpoint", "admin")
    assert unknown.code == 2
    assert "has no public endpoint 'admin'; public ones: page" in unknown.err.lower()
