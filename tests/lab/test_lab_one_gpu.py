"""The lab on one node: who makes room for whom, in which order, and through daemons that die in between.

The manifests are `manifests/lab-one-gpu` with light images (`faults_lab`), the account is a process of its own with the faults endpoint.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from faults_lab import CLIENT, PATIENCE, LightLab, light_manifests

BASE, JOB, TUNED = "LLAMA_BASE", "TOY_WISHES", "LLAMA_FINETUNED"
SCHEMA = "LLM_FINETUNE_DB.HOL"
BOUNDARIES = [
    ("it is suspended, and nothing was started yet", rf"ALTER SERVICE \S+{BASE} SUSPEND", "after"),
    ("the reason is in the mark, and it still runs", rf"ALTER SERVICE \S+{BASE} SET AUTO_RESUME = FALSE", "after"),
    ("the job is about to be submitted", rf"EXECUTE JOB SERVICE[\s\S]*{JOB}_", "before"),
    ("the job was submitted", rf"EXECUTE JOB SERVICE[\s\S]*{JOB}_", "after"),
    ("it has come back, and its mark still says held", rf"ALTER SERVICE \S+{BASE} RESUME", "after"),
]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LightLab]:
    light_manifests(tmp_path / "manifests", "lab-one-gpu")
    light = LightLab(tmp_path)
    light.account.start()
    yield light
    light.account.stop()


def story(lab: LightLab) -> list[str]:
    """What was done to the three, in order: `SUSPEND LLAMA_BASE`."""
    found = []
    for statement in lab.changes():
        done = re.match(rf"(CREATE|ALTER) SERVICE {SCHEMA}\.(\w+)\s+(?:(SUSPEND|RESUME)$|IN )", statement)
        if done is not None:
            found.append(f"{done[3] or done[1]} {done[2]}")
        elif statement.startswith("EXECUTE JOB") and f"NAME = {SCHEMA}.{JOB}_" in statement:
            found.append(f"EXECUTE {JOB}")
    return [line for line in found if line.split()[1] in (BASE, JOB, TUNED)]


def services(lab: LightLab) -> dict[str, dict[str, str]]:
    with lab.account.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW SERVICES IN ACCOUNT")
        names = [column.name.lower() for column in cursor.description]
        return {row[0]: {n: str(v) for n, v in zip(names, row, strict=True)} for row in cursor.fetchall()}


def settled_well(lab: LightLab) -> None:
    """Both models serve, nothing is held any more, the job was run once, and there is nothing left to do."""
    found = services(lab)
    assert {name: found[name]["status"] for name in (BASE, TUNED)} == {BASE: "RUNNING", TUNED: "RUNNING"}
    assert all(row["auto_resume"] == "true" for name, row in found.items() if name in (BASE, TUNED))
    assert not [row["comment"] for row in found.values() if "held=" in row["comment"]]
    assert [name for name in found if name.startswith(f"{JOB}_")] == [next(n for n in found if n.startswith(f"{JOB}_"))]
    lab.finish("plan", "--exit-code")


def test_the_base_model_makes_room_and_comes_back(lab: LightLab) -> None:
    lab.finish("apply")
    order = story(lab)
    assert order[:3] == [f"CREATE {BASE}", f"SUSPEND {BASE}", f"EXECUTE {JOB}"]
    assert sorted(order[3:]) == [f"CREATE {TUNED}", f"RESUME {BASE}"]
    settled_well(lab)


def test_where_only_one_model_fits_the_tuned_one_has_the_place(lab: LightLab) -> None:
    """As on one GPU, and as in the guide: the base model is gone in the end. Another fine-tune gets the tuned model's place in its turn."""
    project = lab.manifests / "snowcat.yaml"
    text = project.read_text()
    one_at_a_time = text.replace("serve_resources: {requests: {cpu: 1,", "serve_resources: {requests: {cpu: 2,", 1)
    assert one_at_a_time != text
    project.write_text(one_at_a_time)
    lab.finish("apply")
    found = services(lab)
    assert (found[TUNED]["status"], found[BASE]["status"]) == ("RUNNING", "SUSPENDED")
    assert "held=ModelDeployment/llama_finetuned" in found[BASE]["comment"]
    assert story(lab) == [f"CREATE {BASE}", f"SUSPEND {BASE}", f"EXECUTE {JOB}", f"CREATE {TUNED}"]
    lab.finish("plan", "--exit-code")

    project.write_text(one_at_a_time.replace("maxSteps: 40", "maxSteps: 41", 1))
    before = len(story(lab))
    lab.finish("apply")
    assert story(lab)[before:] == [f"SUSPEND {TUNED}", f"EXECUTE {JOB}", f"RESUME {TUNED}"]
    assert services(lab)[BASE]["status"] == "SUSPENDED"


def test_a_daemon_that_dies_on_the_way(seed: int, lab: LightLab) -> None:
    """A new one goes on without the other's memory: why it was suspended stands in the account."""
    reason, statement, side = BOUNDARIES[seed % len(BOUNDARIES)]
    lab.faults.put({"match": statement, "client": CLIENT, "nth": [1], "hold": side})
    daemon = lab.start("run")
    until = time.monotonic() + PATIENCE
    while not lab.faults.held():
        assert daemon.poll() is None and time.monotonic() < until, f"{reason}: it never came so far:\n{lab.said()}\n{lab.story()}"
        time.sleep(0.02)
    daemon.kill()
    daemon.wait()
    lab.faults.release()
    lab.faults.clear()
    shutil.rmtree(lab.account.state / "controller")
    lab.finish("apply")
    settled_well(lab)
    assert story(lab).count(f"EXECUTE {JOB}") == 1, reason
