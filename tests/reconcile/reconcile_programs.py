"""Small programs in the place of fetcher, trainer and server: they keep the contract of ours and need no model."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

FETCH = """
    import json, os
    root, config = os.environ.get("SNOWCAT_ROOT", ""), json.loads(os.environ["SNOWCAT_CONFIG"])
    folder = root + config["output"]["path"]
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/model.json", "w") as file:
        json.dump({"identity": config["identity"], "parameters": 7, "architecture": "Tiny"}, file)
"""

TRAIN = """
    import json, os, sys
    root, config = os.environ.get("SNOWCAT_ROOT", ""), json.loads(os.environ["SNOWCAT_CONFIG"])
    print("SNOWCAT_PROGRESS " + json.dumps({"phase": "train", "step": 1, "steps": 2, "loss": 0.5}), flush=True)
    if config["run"]["attempt"] <= int(os.environ.get("FAILURES", "0")):
        print("SNOWCAT_PROGRESS " + json.dumps({"phase": "failed", "message": "no luck"}), flush=True)
        sys.exit(int(os.environ.get("CODE", "1")))
    assert os.path.exists(root + config["base"]["path"] + "/model.json"), "the base model is mounted"
    folder = root + config["output"]["path"]
    os.makedirs(folder + "/merged", exist_ok=True)
    with open(folder + "/merged/config.json", "w") as file:
        file.write("{}")
    score = config["training"]["learningRate"] * 100
    with open(folder + "/run.json", "w") as file:
        json.dump({"run": config["run"]["id"], "metrics": {"tuned": {"field_f1": score}}}, file)
"""

SERVE = """
    import http.server, json, os
    root, version = os.environ.get("SNOWCAT_ROOT", ""), os.environ["SNOWCAT_MODEL_VERSION"]
    path = os.environ["SNOWCAT_MODEL_PATH"]
    assert os.path.isdir(path) or os.path.isdir(root + path), "the model is mounted"

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
            detail = self.path.endswith("_detail")
            answers = [[n, {"answer": p, "model_version": version} if detail else f"{version}: {p}"] for n, p in rows]
            self.reply(json.dumps({"data": answers}))

    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SNOWCAT_PORT"])), Handler).serve_forever()
"""


def write_programs(folder: Path) -> None:
    """Two build contexts in `folder/app`: `Dockerfile` for jobs, `Dockerfile.server` for deployments."""
    app = folder / "app"
    (app / "container").mkdir(parents=True)
    (app / "container" / "fetch.py").write_text(dedent(FETCH))
    (app / "train.py").write_text(dedent(TRAIN))
    (app / "serve.py").write_text(dedent(SERVE))
    base = "FROM python:3.11\nWORKDIR /app\nENV PYTHONPATH=/app\n"
    (app / "Dockerfile").write_text(base + 'COPY container container/\nCOPY train.py .\nENTRYPOINT ["python", "train.py"]\n')
    (app / "Dockerfile.server").write_text(base + 'COPY serve.py .\nENTRYPOINT ["python", "serve.py"]\n')
