"""Ranks that need not import torch and DeepSpeed again: one process imports them, and forks a rank for each request.

`warm` is what makes a fork cheap, `in_ranks` calls a function in forked ranks. Run as a script this reads requests as JSON lines:
{environment, arguments, log, directory} starts a rank and answers {"started": pid}; the end of each is told by {"pid", "code"}.
`Rank` is the other side, with what tests use of a Popen.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).parents[2]
USED = (
    "deepspeed.module_inject.auto_ep_layer",
    "deepspeed.ops.op_builder.all_ops",
    "deepspeed.runtime.superoffload.superoffload_stage3",
    "deepspeed.runtime.zero.muon.original_muon",  # compiles at import what torch must first gather its rules for
    "deepspeed.runtime.zero.stage3",
    "peft.tuners.lora.model",
    "setuptools",  # asked for by DeepSpeed's operators
    "training.job",
    "transformers.models.llama.modeling_llama",
)


class Server:
    """The forking process, started when the first rank is wanted, ended with the tests."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.codes: dict[int, int] = {}
        self.pids: list[int] = []
        self.news = threading.Condition()
        self.asking = threading.Lock()

    def start(self, request: dict[str, Any]) -> int:
        """Fork a rank; its process id."""
        with self.asking:
            if self.process is None or self.process.poll() is not None:
                environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(REPOSITORY)}
                self.process = subprocess.Popen(
                    [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
                )
                threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()
            assert self.process.stdin is not None
            with self.news:
                before = len(self.pids)
                self.process.stdin.write(json.dumps(request) + "\n")
                self.process.stdin.flush()
                assert self.news.wait_for(lambda: len(self.pids) > before, timeout=120), "the forking process does not answer"
                return self.pids[-1]

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line) if line.startswith("{") else {}
            with self.news:
                if "started" in told:
                    self.codes.pop(told["started"], None)
                    self.pids.append(told["started"])
                elif "code" in told:
                    self.codes[told["pid"]] = told["code"]
                self.news.notify_all()


SERVER = Server()


class Rank:
    """One forked rank."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path, directory: Path) -> None:
        request = {"arguments": arguments, "environment": environment, "log": str(log), "directory": str(directory)}
        self.pid = SERVER.start(request)

    def poll(self) -> int | None:
        return SERVER.codes.get(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        with SERVER.news:
            if not SERVER.news.wait_for(lambda: self.pid in SERVER.codes, timeout):
                raise subprocess.TimeoutExpired("rank", timeout or 0.0)
        return SERVER.codes[self.pid]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)


def become(request: dict[str, Any]) -> NoReturn:
    """In the forked process: be the rank of this request."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    import torch

    from training.rank import run

    torch.set_num_threads(1)  # here, while there is one thread: torch makes its pool again after a fork, and not safely
    run(request["arguments"])


def warm() -> None:
    """Do here, once, what every rank would do before its work: imports, and the patterns that transformers makes of all its models."""
    from training.rank import quiet_libraries

    quiet_libraries()
    os.environ["DS_ACCELERATOR"] = "cpu"
    for name in USED:
        importlib.import_module(name)
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    get_checkpoint_conversion_mapping("llama")
    spread_small_matrices()
    gc.collect()
    gc.freeze()  # DeepSpeed collects garbage at every start: that would walk over, and so copy, all that the ranks share


def spread_small_matrices() -> None:
    """At stage 3 DeepSpeed leaves what has fewer than 100,000 numbers whole on every rank: all that a model of these tests has."""
    from training import engine

    plain = engine.deepspeed_config

    def spread(*arguments: Any) -> dict[str, Any]:
        document = plain(*arguments)
        document["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return document

    engine.deepspeed_config = spread


def in_ranks(world: int, work: Callable[[], Any]) -> Any:
    """What `work()` returned, as JSON, on rank 0 of `world` ranks forked from this process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    reads, writes = os.pipe()
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ.update(shared, RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world))
            code = 1
            try:
                import torch

                from training import engine

                torch.set_num_threads(1)  # here, while there is one thread: torch makes its pool again after a fork, and not safely
                engine.prepare_environment()
                found = work()
                if rank == 0:
                    os.write(writes, json.dumps(found).encode())
                code = 0
            except Exception:  # noqa: BLE001 - the trace is for the test's log
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    os.close(writes)
    with os.fdopen(reads) as stream:
        text = stream.read()
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        raise SystemExit(f"ranks ended with {codes}")
    return json.loads(text)


def serve() -> None:
    """Fork for each request, and tell who has ended."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    warm()
    lock = threading.Lock()

    def await_end(child: int) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with lock:
            answers.write(json.dumps({"pid": child, "code": code}) + "\n")

    for line in sys.stdin:
        with lock:  # nobody writes while the process is copied
            child = os.fork()
            if child == 0:
                become(json.loads(line))
            answers.write(json.dumps({"started": child}) + "\n")
        threading.Thread(target=await_end, args=(child,), daemon=True).start()


if __name__ == "__main__":
    serve()
