"""Tell an MLflow server of the run, where the configuration names one.

Spoken over its REST interface (2.0), in a thread of its own: a tracker that is slow, away or broken costs the run
nothing but a line in the log. One run of ours is one run there, found again by its tag after a resume.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from training.config import Mlflow, Run, TrainingConfig
from training.errors import StoppedError
from training.progress import Progress

TAG = "snowcat.run"
TIMEOUT = 10.0  # seconds for one answer, and at most so long does the end of a run wait
PATIENCE = 3  # failures in a row after which nothing more is sent
_BATCH = 900  # MLflow takes 1000 metrics and 100 parameters at once
_PARAMETERS = 100
_LONGEST = 500  # characters of a parameter that every server takes


class Server:
    """The few calls that are needed. Each raises httpx.HTTPError when the server does not do what it is asked."""

    def __init__(self, mlflow: Mlflow, run: Run) -> None:
        import httpx

        token, user = os.environ.get("MLFLOW_TRACKING_TOKEN"), os.environ.get("MLFLOW_TRACKING_USERNAME")
        self._http = httpx.Client(
            base_url=mlflow.uri.rstrip("/") + "/api/2.0/mlflow/",
            timeout=TIMEOUT,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            auth=(user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None,
        )
        self._experiment = mlflow.experiment
        self._run = run
        self._id = ""

    def open(self) -> bool:
        """Find the run by its tag, or begin it; True when it is new."""
        found = self._http.get("experiments/get-by-name", params={"experiment_name": self._experiment})
        if found.status_code == 404:
            experiment = self._post("experiments/create", name=self._experiment)["experiment_id"]
        else:
            experiment = found.raise_for_status().json()["experiment"]["experiment_id"]
        wanted = f"tags.`{TAG}` = '{self._run.id}'"
        runs = self._post("runs/search", experiment_ids=[experiment], filter=wanted, max_results=1).get("runs", [])
        if runs:
            self._id = runs[0]["info"]["run_id"]
            self.status("RUNNING")
            return False
        tags = [{"key": TAG, "value": self._run.id}, {"key": "snowcat.job", "value": self._run.job}]
        name = f"{self._run.job} {self._run.id}"
        made = self._post("runs/create", experiment_id=experiment, start_time=_now(), run_name=name, tags=tags)
        self._id = made["run"]["info"]["run_id"]
        return True

    def log(self, metrics: list[dict[str, Any]], parameters: Mapping[str, str] | None = None) -> None:
        """Add measurements and, once, what the run was made with."""
        params = [{"key": key, "value": value[:_LONGEST]} for key, value in (parameters or {}).items()]
        self._post("runs/log-batch", run_id=self._id, metrics=metrics, params=params[:_PARAMETERS])

    def status(self, status: str) -> None:
        """RUNNING, FINISHED, FAILED or KILLED."""
        end = {} if status == "RUNNING" else {"end_time": _now()}
        self._post("runs/update", run_id=self._id, status=status, **end)

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._http.post(path, json=body).raise_for_status().json()
        return answer


class Tracker:
    """What the training says, handed on without waiting."""

    def __init__(self, server: Server, config: TrainingConfig, say: Callable[[str], None]) -> None:
        self._server = server
        self._config = config
        self._say = say
        self._queue: SimpleQueue[list[dict[str, Any]] | str] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    def progress(self, progress: Progress) -> None:
        """Numbers of a step; other lines are passed over."""
        if progress.phase != "train" or not progress.step:
            return
        names = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "mfu", "memory_bytes")
        found = {f"train/{name}": getattr(progress, name) for name in names if progress.loss is not None}
        if progress.loss is None:  # a look at the held-out rows, not a step
            found = {f"eval/{name}": value for name, value in (progress.metrics or {}).items()}
        self._queue.put(measured(found, progress.step))

    def end(self, status: str) -> None:
        """Send what is left; a server that does not take it in time has had its chance."""
        self._queue.put(status)
        self._thread.join(TIMEOUT)

    def _work(self) -> None:
        failures, opened = 0, False
        while failures < PATIENCE:
            item = self._queue.get()
            try:
                if not opened:
                    new = self._server.open()
                    self._server.log([], flat(self._config) if new else None)
                    opened = True
                if isinstance(item, str):
                    self._server.status(item)
                    break
                self._server.log(self._more(item))
                failures = 0
            except Exception as error:  # noqa: BLE001 - no answer of a tracker may end a run
                failures += 1
                self._say(f"the tracker does not take what it is told: {type(error).__name__}: {error}"[:300])
                if isinstance(item, str):
                    break
        self._server.close()

    def _more(self, first: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """With what else waits already."""
        batch = list(first)
        while len(batch) < _BATCH:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if isinstance(item, str):
                self._queue.put(item)  # the end comes after all measurements
                break
            batch += item
        return batch


@contextmanager
def tracking(config: TrainingConfig, lead: bool, say: Callable[[str], None]) -> Iterator[Callable[[Progress], None]]:
    """A function to be called with each progress line; it does nothing where no tracker is named, or on other ranks."""
    if config.tracker is None or not lead:
        yield lambda progress: None
        return
    tracker = Tracker(Server(config.tracker.mlflow, config.run), config, say)
    try:
        yield tracker.progress
    except BaseException as error:
        tracker.end("KILLED" if isinstance(error, StoppedError) else "FAILED")
        raise
    tracker.end("RUNNING")  # the scores are still to come, see `tell_scores`


def tell_scores(
    config: TrainingConfig, step: int, base: Mapping[str, float], tuned: Mapping[str, float], say: Callable[[str], None]
) -> None:
    """Close the run with the scores of both models."""
    if config.tracker is None:
        return
    server = Server(config.tracker.mlflow, config.run)
    try:
        server.open()
        server.log(measured({f"base/{k}": v for k, v in base.items()} | {f"tuned/{k}": v for k, v in tuned.items()}, step))
        server.status("FINISHED")
    except Exception as error:  # noqa: BLE001 - no answer of a tracker may end a run
        say(f"the tracker does not take the scores: {type(error).__name__}: {error}"[:300])
    finally:
        server.close()


def measured(values: Mapping[str, float | None], step: int) -> list[dict[str, Any]]:
    """Measurements in MLflow's form; None is left out."""
    return [{"key": key, "value": value, "timestamp": _now(), "step": step} for key, value in values.items() if value is not None]


def flat(config: TrainingConfig) -> dict[str, str]:
    """The configuration as `training.learningRate: 0.001`, without what differs from attempt to attempt."""

    def walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict):
            for name, part in value.items():
                yield from walk(part, f"{path}.{name}" if path else name)
        elif not path.startswith(("run.", "tracker.")):
            yield path, str(value)

    return dict(walk(config.document(), ""))


def _now() -> int:
    return int(time.time() * 1000)
