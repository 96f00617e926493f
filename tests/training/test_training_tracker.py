"""What an MLflow server is told. The server here keeps to the answers that a real one (MLflow 3, REST 2.0) gave to the same requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from training_tiny import tiny_config

from training.config import TrainingConfig
from training.errors import BadInputError, StoppedError
from training.progress import Progress
from training.results.tracker import tell_scores, tracking


class Store:
    """What was told: experiments by name, and runs with tags, parameters, metrics and the history of their status."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.broken = False

    def answer(self, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.broken:
            return 500, {"error_code": "INTERNAL_ERROR"}
        match path.removeprefix("/api/2.0/mlflow/"):
            case "experiments/get-by-name":
                found = self.experiments.get(query["experiment_name"][0])
                return (200, {"experiment": {"experiment_id": found}}) if found else (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
            case "experiments/create":
                self.experiments[body["name"]] = "7"
                return 200, {"experiment_id": "7"}
            case "runs/search":
                wanted = body["filter"].split("'")[1]
                return 200, {"runs": [{"info": {"run_id": r["id"]}} for r in self.runs if r["tags"]["snowcat.run"] == wanted]}
            case "runs/create":
                run = {"id": f"m{len(self.runs)}", "tags": {tag["key"]: tag["value"] for tag in body["tags"]}}
                self.runs.append(run | {"params": {}, "metrics": [], "status": []})
                return 200, {"run": {"info": {"run_id": run["id"]}}}
        run = next(run for run in self.runs if run["id"] == body["run_id"])
        if path.endswith("log-batch"):
            assert len(body["metrics"]) <= 1000 and len(body["params"]) <= 100
            run["metrics"] += [(metric["key"], metric["step"], metric["value"]) for metric in body["metrics"]]
            run["params"] |= {param["key"]: param["value"] for param in body["params"]}
        else:
            run["status"].append(body["status"])
        return 200, {}


@pytest.fixture
def server() -> Iterator[tuple[str, Store]]:
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            store.headers.append(self.headers.get("Authorization"))
            url = urlsplit(self.path)
            code, document = store.answer(url.path, parse_qs(url.query), json.loads(self.rfile.read(length) or b"{}"))
            content = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", store
    http.shutdown()
    thread.join()
    http.server_close()


def config(uri: str, attempt: int = 1) -> TrainingConfig:
    parts = {"tracker": {"mlflow": {"uri": uri, "experiment": "calls"}}, "run": {"attempt": attempt}}
    return TrainingConfig.model_validate(tiny_config(Path("/out"), Path("/base"), Path("/rows"), **parts))


def step(number: int) -> Progress:
    return Progress("train", step=number, steps=9, loss=1 / number, learning_rate=1e-3, memory_bytes=5)


def test_a_run_is_told_once_over_all_attempts(server: tuple[str, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    uri, store = server
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    said: list[str] = []
    with pytest.raises(StoppedError), tracking(config(uri), True, said.append) as tell:
        tell(step(1))
        tell(Progress("eval", step=3, steps=4))
        raise StoppedError("node lost")
    with tracking(config(uri, attempt=2), True, said.append) as tell:
        tell(step(2))
        tell(Progress("train", step=2, steps=9, metrics={"loss": 0.5}))
    tell_scores(config(uri, attempt=2), 2, {"field_f1": 0.1}, {"field_f1": 0.9}, said.append)
    assert said == []
    (run,) = store.runs
    assert run["status"] == ["KILLED", "RUNNING", "RUNNING", "RUNNING", "FINISHED"]
    found = {(key, at): value for key, at, value in run["metrics"]}
    assert found[("train/loss", 1)] == 1.0 and found[("train/loss", 2)] == 0.5
    assert found[("eval/loss", 2)] == 0.5
    assert (found[("base/field_f1", 2)], found[("tuned/field_f1", 2)]) == (0.1, 0.9)
    assert run["params"]["training.maxSteps"] == "24" and "run.attempt" not in run["params"]
    assert set(store.headers) == {"Bearer t0ken"}


def test_a_failure_of_the_run_is_told(server: tuple[str, Store]) -> None:
    uri, store = server
    with pytest.raises(BadInputError), tracking(config(uri), True, print) as tell:
        tell(step(1))
        raise BadInputError("the loss is nan")
    assert store.runs[0]["status"] == ["FAILED"]


@pytest.mark.parametrize("away", [True, False], ids=["nobody listens", "500"])
def test_a_tracker_that_fails_ends_no_run(server: tuple[str, Store], away: bool) -> None:
    uri, store = server
    store.broken = True
    said: list[str] = []
    with tracking(config("http://127.0.0.1:1" if away else uri), True, said.append) as tell:
        for number in range(1, 9):
            tell(step(number))
    tell_scores(config(uri), 8, {}, {"loss": 1.0}, said.append)
    assert 2 <= len(said) <= 4, "it is said, and not for every step"
    assert said[-1].startswith("the tracker does not take the scores: HTTPStatusError")


def test_without_a_tracker_nobody_is_told() -> None:
    plain = TrainingConfig.model_validate(tiny_config(Path("/out"), Path("/base"), Path("/rows")))
    with tracking(plain, True, pytest.fail) as tell:
        tell(step(1))
    tell_scores(plain, 1, {}, {}, pytest.fail)


@pytest.mark.parametrize("uri", ["ftp://x", "https://user:secret@host", "file:///tmp/mlruns", "https://"])
def test_an_address_that_is_none(uri: str) -> None:
    with pytest.raises(ValueError, match=r"tracker\.mlflow\.uri"):
        config(uri)
