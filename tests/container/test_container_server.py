"""The server over real HTTP, with a tiny model: Snowflake's batch format, chat, health and back-pressure."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import uvicorn
from training_tiny import REPOSITORY

from container.serving import service as service_module
from container.serving.app import build
from container.serving.service import ModelService
from container.serving.settings import ServerSettings
from training.config import Prompt

LIMIT = 6


class Running:
    """A server on a free port of this process."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        values: dict[str, Any] = {
            "model": folder,
            "name": "tiny",
            "version": "v1",
            "prompt": Prompt(instruction="JSON, please."),
            "port": 0,
            "max_new_tokens": LIMIT,
            "max_batch_rows": 12,
            "threads": 1,
        }
        self.service = ModelService(ServerSettings(**{**values, **changes}))
        self.failed = threading.Event()
        config = uvicorn.Config(build(self.service, self.failed.set), host="127.0.0.1", port=0, log_level="error")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until(lambda: self.server.started)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)

    def stop(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(timeout=30)

    def predict(self, prompts: list[Any], path: str = "/predict") -> list[Any]:
        answer = self.client.post(path, json={"data": [[i, prompt] for i, prompt in enumerate(prompts)]})
        assert answer.status_code == 200, answer.text
        rows = answer.json()["data"]
        assert [row[0] for row in rows] == list(range(len(prompts)))
        return [row[1] for row in rows]


def until(condition: Callable[[], Any]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in a minute")


@pytest.fixture(scope="module", autouse=True)
def exact_numbers() -> Iterator[None]:
    """float32, so that an answer does not depend on the rows beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service_module, "choose_dtype", lambda wanted: torch.float32)
        yield


@pytest.fixture(scope="module")
def server(tiny_base: Path) -> Iterator[Running]:
    running = Running(tiny_base)
    until(lambda: running.service.ready)
    yield running
    running.stop()


def test_health_is_200_only_after_the_model_has_answered(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    load = service_module.Generator.load
    monkeypatch.setattr(service_module.Generator, "load", lambda *a: (gate.wait(60), load(*a))[1])
    running = Running(tiny_base)
    try:
        answer = running.client.get("/healthz")
        assert (answer.status_code, answer.json()["status"]) == (503, "loading")
        assert running.client.post("/predict", json={"data": [[0, "x"]]}).status_code == 503
        gate.set()
        until(lambda: running.client.get("/healthz").status_code == 200)
        assert running.client.get("/healthz").json() == {"status": "ready", "model": "tiny", "version": "v1"}
    finally:
        gate.set()
        running.stop()


def test_rows_are_answered_in_order_as_each_alone(server: Running) -> None:
    prompts = ["short", "a much longer prompt, so that padding matters", "x" * 40, "short"]
    together = server.predict(prompts)
    assert together == [server.predict([prompt])[0] for prompt in prompts]
    assert together[0] == together[3]


def test_a_row_that_fails_does_not_fail_its_batch(server: Running) -> None:
    prompts = ["fine", None, "x" * 5000, 7]
    answers = server.predict(prompts)
    assert isinstance(answers[0], str)
    assert answers[1:] == [None, None, None]
    details = server.predict(prompts, "/predict_detail")
    assert details[0]["answer"] == answers[0]
    assert details[0]["error"] is None
    assert details[0]["model_version"] == "v1"
    assert 0 <= details[0]["tokens"] <= LIMIT
    assert details[1] is None
    assert "the model takes" in details[2]["error"]
    assert "must be text" in details[3]["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "must be JSON"),
        (b"{}", "must be JSON"),
        (b"[1]", "must be JSON"),
        (b'{"data": 5}', "list of rows"),
        (b'{"data": [[0]]}', "row 0"),
        (b'{"data": [[0, "a"], ["1", "b"]]}', "row 1"),
        (b'{"data": [[true, "a"]]}', "row 0"),
        (json.dumps({"data": [[i, "a"] for i in range(13)]}).encode(), "at most 12"),
        (b"[" * 100_000, "must be JSON"),
    ],
)
def test_a_malformed_batch_is_400(server: Running, body: bytes, words: str) -> None:
    answer = server.client.post("/predict", content=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_an_empty_batch_is_answered(server: Running) -> None:
    assert server.predict([]) == []


def test_requests_that_meet_share_a_batch(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(tiny_base)
    try:
        until(lambda: running.service.ready)
        sizes: list[int] = []
        gate = threading.Event()
        answer = running.service.generator._answer

        def slow(batch: list[Any]) -> None:
            sizes.append(len(batch))
            gate.wait(60)
            answer(batch)

        monkeypatch.setattr(running.service.generator, "_answer", slow)
        with ThreadPoolExecutor(9) as pool:
            first = pool.submit(running.predict, ["first"])
            until(lambda: sizes)
            others = [pool.submit(running.predict, [f"row {i}"]) for i in range(8)]
            until(lambda: len(running.service.generator._queue) == 8)
            gate.set()
            assert all(len(done.result()) == 1 for done in [first, *others])
        assert sizes == [1, 8]
    finally:
        gate.set()
        running.stop()


def test_a_full_queue_answers_429_and_forgets_nothing(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(tiny_base, max_batch_rows=2)
    taken, gate = threading.Event(), threading.Event()
    try:
        until(lambda: running.service.ready)
        answer = running.service.generator._answer
        monkeypatch.setattr(running.service.generator, "_answer", lambda batch: (taken.set(), gate.wait(60), answer(batch)))
        with ThreadPoolExecutor(9) as pool:
            waiting = [pool.submit(running.predict, ["a", "b"])]
            until(taken.is_set)
            for count in range(1, 5):
                waiting.append(pool.submit(running.predict, ["c", "d"]))
                until(lambda count=count: len(running.service.generator._queue) >= 2 * count or gate.is_set())
            refused = running.client.post("/predict", json={"data": [[0, "e"]]})
            assert refused.status_code == 429
            assert refused.headers["Retry-After"]
            chat = {"messages": [{"role": "user", "content": "e"}]}
            assert running.client.post("/v1/chat/completions", json=chat).status_code == 429
            gate.set()
            assert all(len(done.result()) == 2 for done in waiting)
        assert len(running.predict(["e"])) == 1
    finally:
        gate.set()
        running.stop()


def chat(content: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


def test_chat_and_its_stream_say_the_same(server: Running) -> None:
    whole = server.client.post("/v1/chat/completions", json=chat("hello", max_tokens=20)).json()
    assert whole["object"] == "chat.completion"
    usage = whole["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    with server.client.stream("POST", "/v1/chat/completions", json=chat("hello", max_tokens=20, stream=True)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line)["choices"][0] for line in lines[:-1]]
    text = "".join(chunk["delta"].get("content", "") for chunk in chunks)
    assert text.strip() == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["finish_reason"] == whole["choices"][0]["finish_reason"] in ("stop", "length")
    assert len(chunks) > 3, "pieces come one by one"


def test_sampling_follows_its_seed(server: Running) -> None:
    def ask(**more: Any) -> str:
        answer = server.client.post("/v1/chat/completions", json=chat("hello", max_tokens=20, **more))
        return str(answer.json()["choices"][0]["message"]["content"])

    assert ask(temperature=1.0, seed=4) == ask(temperature=1.0, seed=4)
    assert len({ask(temperature=1.5, seed=seed) for seed in range(4)}) > 1
    assert ask() == ask(temperature=0)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "role"),
        (chat("x", n=2), 400, "n"),
        (chat("x", top_p=0.5), 400, "top_p"),
        (chat("x", temperature=9), 400, "temperature"),
        (chat("x" * 5000), 400, "the model takes"),
        (chat("x", model="gpt"), 404, "no model 'gpt'; this is 'tiny'"),
    ],
)
def test_what_chat_refuses(server: Running, body: dict[str, Any], status: int, words: str) -> None:
    answer = server.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def test_models(server: Running) -> None:
    assert [model["id"] for model in server.client.get("/v1/models").json()["data"]] == ["tiny"]


def test_a_caller_that_leaves_frees_its_row(tiny_base: Path) -> None:
    running = Running(tiny_base, max_new_tokens=400)
    try:
        until(lambda: running.service.ready)
        with running.client.stream("POST", "/v1/chat/completions", json=chat("hello", stream=True)) as answer:
            next(answer.iter_lines())
        assert running.client.post("/v1/chat/completions", json=chat("again", max_tokens=1)).status_code == 200
    finally:
        running.stop()


def start(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "SNOWCAT_MODEL_PATH": str(folder),
        "SNOWCAT_PORT": str(port),
        "SNOWFLAKE_HOST": "127.0.0.1",
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        **more,
    }
    return subprocess.run(
        [sys.executable, "-m", "container.server"], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_folder_without_a_manifest_ends_with_10(tmp_path: Path) -> None:
    ended = start(tmp_path)
    assert ended.returncode == 10, ended.stderr
    assert "no finished model in" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_a_model_that_cannot_be_loaded_ends_with_10(tiny_base: Path, tmp_path: Path) -> None:
    from training.files import describe, write_json

    folder = tmp_path / "merged"
    folder.mkdir()
    for path in tiny_base.iterdir():
        if path.name != "model.json":
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "model.safetensors").write_bytes(b"not a model")
    files = [{**entry.document(), "path": f"merged/{entry.path}"} for entry in describe(folder)]
    write_json(tmp_path / "run.json", {"version": 1, "run": "r", "files": files})
    ended = start(folder)
    assert ended.returncode == 10, ended.stderr
    assert "the model does not work: cannot load the model" in ended.stdout
