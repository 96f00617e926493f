"""A stage without room for a run's weights, over the wire: the job is not finished though its last document is, and why is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from embedded_account import RunningAccount, run_account
from kinds_round_trip import trip
from test_kinds_sweep_wire import IMAGE, manifests, until, write
from tiny_images import push_image

from controller.account.connections import local_connection
from controller.api.names import QualifiedName
from controller.reconcile.planning.change import Block

QUOTA, FILLER, WEIGHTS = 100_000, 80_000, 40_000  # bytes
TRAIN = f"""
    import json, os
    root, config = os.environ.get("SNOWCAT_ROOT", ""), json.loads(os.environ["SNOWCAT_CONFIG"])
    folder, files = root + config["output"]["path"], {{"merged/weights": {WEIGHTS}, "README.md": 10}}
    os.makedirs(folder + "/merged", exist_ok=True)
    for path, size in files.items():
        with open(folder + "/" + path, "w") as file:
            file.write("x" * size)
    listed = [{{"path": path, "bytes": size, "sha256": ""}} for path, size in files.items()]
    with open(folder + "/run.json", "w") as file:
        json.dump({{"run": config["run"]["id"], "metrics": {{"tuned": {{"field_f1": 0.9}}}}, "files": listed}}, file)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    for account in run_account(tmp_path_factory.mktemp("full") / "state", "--time-scale", "0.01", "--stage-quota", str(QUOTA)):
        with trip(local_connection(account.details)) as made:
            made.write([])
            made.by_hand("CREATE IMAGE REPOSITORY DB.SCH.IMAGES", "CREATE STAGE DB.SCH.MODELS", "CREATE WAREHOUSE WH")
        details, (repository, _, image) = account.details, IMAGE.strip("/").rpartition("/")
        url, settings = f"http://{details['host']}:{details['port']}", {"Entrypoint": ["python", "/app/train.py"]}
        push_image(url, (details["user"], details["password"]), repository, image, {"app/train.py": dedent(TRAIN)}, settings)
        yield account


def test_a_stage_without_room_for_the_weights(running: RunningAccount, tmp_path: Path) -> None:
    existing = ["Database/db", "Schema/db.sch", "Stage/db.sch.models"]
    with trip(local_connection(running.details), existing=existing, warehouse="WH") as made:
        (tmp_path / "filler").write_bytes(b"x" * FILLER)
        with made.pool.session() as session:
            session.put_file(tmp_path / "filler", QualifiedName.parse("db.sch.models"))
        documents = manifests([])
        job = documents[-1]["spec"]
        del job["sweep"]
        write(made, [*documents[:-1], {**documents[-1], "spec": {**job, "retry": {"limit": 1}}}])

        entry, started = until(made, lambda entry: entry.change.block is Block.STALLED)
        assert len(started) == 2, "as often as the manifest allows"
        told = entry.change.reason
        assert "upload of merged/weights failed: " in told and "Stage storage is full" in told, "the container's last word"
        assert "1 of 2 files that run.json lists did not arrive in @DB.SCH.MODELS/wishes/" in told
        assert "merged/weights is missing; the stage is full, or an upload failed: make room on it" in told
        names = {row["name"].rpartition("/")[2] for row in made.by_hand("LIST @DB.SCH.MODELS/wishes")}
        assert names == {"README.md", "run.json"}, "the last document is there all the same"

        made.by_hand("REMOVE @DB.SCH.MODELS/filler")
        made.state.remember(f"reconcile:{entry.key}", "asked")
        entry, started = until(made, lambda entry: entry.ready)
        assert len(started) == 1 and entry.observation is not None and "field_f1 0.90" in entry.observation.message
