"""A sweep over the wire with light jobs: its runs end well or badly, the best is the result, and another value runs alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any

import pytest
from embedded_account import RunningAccount, run_account
from kinds_round_trip import Trip, told, trip
from tiny_images import push_image

from controller.account.connections import local_connection
from controller.kinds.base_model import MANIFEST, folder_of
from controller.reconcile.planning.change import Block, ObjectPlan

PATIENCE = 60.0  # seconds, only until a broken account fails the test
IMAGE = "/db/sch/images/light:1"
TRAIN = """
    import json, os, sys
    root, config = os.environ.get("SNOWCAT_ROOT", ""), json.loads(os.environ["SNOWCAT_CONFIG"])
    rate, folder = config["training"]["learningRate"], root + config["output"]["path"]
    if rate > 0.5:
        print('SNOWCAT_PROGRESS {"phase": "failed", "message": "the loss is nan"}', flush=True)
        sys.exit(10)
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/run.json", "w") as file:
        json.dump({"run": config["run"]["id"], "metrics": {"tuned": {"field_f1": 1 - abs(rate - 0.2)}}}, file)
"""
CONFIG = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 128, "vocab_size": 300, "max_position_embeddings": 512,
}  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    for account in run_account(tmp_path_factory.mktemp("sweep") / "state", "--time-scale", "0.01"):
        with trip(local_connection(account.details)) as made:
            made.write([])
            made.by_hand("CREATE IMAGE REPOSITORY DB.SCH.IMAGES", "CREATE STAGE DB.SCH.MODELS", "CREATE WAREHOUSE WH")
        details = account.details
        url = f"http://{details['host']}:{details['port']}"
        settings = {"Entrypoint": ["python", "/app/train.py"]}
        push_image(url, (details["user"], details["password"]), "db/sch/images", "light:1", {"app/train.py": dedent(TRAIN)}, settings)
        yield account


def manifests(rates: list[float], **sweep: Any) -> list[dict[str, Any]]:
    place = {"schema": "db.sch"}
    return [
        {"kind": "ComputePool", "metadata": {"name": "sweeps"}, "spec": {"instanceFamily": "CPU_X64_L"}},
        {"kind": "Dataset", "metadata": {"name": "calls", **place}, "spec": {"file": "calls.jsonl"}},
        {
            "kind": "BaseModel",
            "metadata": {"name": "small", **place},
            "spec": {"source": {"path": "base"}, "via": "local", "stage": "models"},
        },
        {
            "kind": "FineTuneJob",
            "metadata": {"name": "wishes", **place},
            "spec": {
                "computePool": "sweeps",
                "image": IMAGE,
                "model": "small",
                "dataset": "calls",
                "training": {"maxSteps": 4},
                "sweep": {"grid": {"training.learningRate": rates}, "metric": "field_f1", "concurrency": 2, **sweep},
                "output": {"stage": "models"},
            },
        },
    ]


def write(made: Trip, documents: list[dict[str, Any]]) -> None:
    """The manifests and their files, and the base model on its stage."""
    (made.folder / "base").mkdir(exist_ok=True)
    (made.folder / "base" / "config.json").write_text(json.dumps(CONFIG))
    rows = [{"instruction": "i", "input": f"call {number}", "output": "{}"} for number in range(20)]
    (made.folder / "calls.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    made.write(documents)
    _, loaded = made._engine()
    (base,) = loaded.graph.of_kind("BaseModel")
    result = made.folder / MANIFEST
    result.write_text("{}")
    with made.pool.session() as session:
        session.put_file(result, base.references["stage"].name, folder_of(base))


def until(made: Trip, done: Callable[[ObjectPlan], bool]) -> tuple[ObjectPlan, list[str]]:
    """Look and act until it is so; how the job stands then, and the statements that started its runs."""
    end, started = time.monotonic() + PATIENCE, []
    while True:
        plan = made.apply()
        started += [text for text in made.sent if text.startswith("EXECUTE JOB SERVICE")]
        (entry,) = [entry for entry in plan if entry.key.kind == "FineTuneJob"]
        if done(entry):
            return entry, started
        assert time.monotonic() < end, told(plan)
        time.sleep(0.02)


def test_a_sweep_from_its_first_run_to_its_best(running: RunningAccount) -> None:
    existing = ["Database/db", "Schema/db.sch", "Stage/db.sch.models"]
    with trip(local_connection(running.details), existing=existing, warehouse="WH") as made:
        write(made, manifests([0.1, 0.2, 0.9]))
        entry, started = until(made, lambda entry: entry.ready)
        assert entry.observation is not None
        assert len(started) == 3, "each run once"
        states = {row["learningRate"]: row["state"] for row in entry.observation.observed["runs"]}
        assert states == {0.1: "finished", 0.2: "finished", 0.9: "failed"}
        assert "learningRate 0.2" in entry.observation.message and "1 failed" in entry.observation.message
        assert entry.observation.conditions["RunsFailed"][2].endswith("the loss is nan; mend it, then run `snowcat reconcile`")

        write(made, manifests([0.1, 0.2, 0.21]))
        entry, started = until(made, lambda entry: entry.ready)
        assert len(started) == 1, "only the new value"
        assert entry.observation is not None and len(entry.observation.observed["runs"]) == 3

        write(made, manifests([0.8, 0.9]))
        entry, _ = until(made, lambda entry: entry.change.block is Block.STALLED)
        assert "all 2 runs failed" in entry.change.reason
