"""A run counts only with all files of its list: which are missed, what is said of it, and that nothing of it is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kinds_world import LAB, World, lab, only
from test_kinds_deployment import Tuned
from test_kinds_jobs import BASE, STAGES, TUNE, Lab

from controller.api.names import QualifiedName
from controller.kinds.base import Health, Stalled
from controller.kinds.base_model import folder_of
from controller.kinds.jobs.result import Result, read_result

STAGE = QualifiedName.parse("db.sch.models")
FOLDER = "wishes/0a1b2c3d"
WEIGHTS = {"path": "merged/model.safetensors", "bytes": 100}
SMALL = {"path": "README.md", "bytes": 10}


def run_document(*files: Any) -> bytes:
    return json.dumps({"metrics": {"tuned": {"field_f1": 0.9}}, "files": [*files]}).encode()


@pytest.mark.parametrize(
    ("sizes", "lacks", "reason"),
    [
        ({"merged/model.safetensors": 100, "README.md": 10}, "", "all there"),
        ({"merged/model.safetensors": 112, "README.md": 16}, "", "a stage that encrypts on the client's side shows whole blocks"),
        ({"merged/model.safetensors": 100, "README.md": 10, "checkpoints/4/complete.json": 5}, "", "what is not listed is of no account"),
        ({"README.md": 10}, "merged/model.safetensors is missing", "one that found no room"),
        ({"merged/model.safetensors": 99, "README.md": 10}, "merged/model.safetensors has 99 bytes in place of 100", "cut off"),
        ({"merged/model.safetensors": 200, "README.md": 10}, "has 200 bytes in place of 100", "that of an earlier attempt"),
        ({"model.safetensors": 100, "README.md": 10}, "merged/model.safetensors is missing", "another folder"),
        ({}, "2 of 2 files that run.json lists did not arrive in @DB.SCH.MODELS/wishes/0a1b2c3d: ", "none but the document"),
    ],
)
def test_files_are_compared_with_the_listing(tmp_path: Path, sizes: dict[str, int], lacks: str, reason: str) -> None:
    world = World(tmp_path)
    world.see(STAGES, {"name": "MODELS", "created_on": "1"})
    world.stage_files = {f"{FOLDER}/{path}": b"x" * size for path, size in sizes.items()}
    world.stage_files[f"{FOLDER}/run.json"] = run_document(WEIGHTS, SMALL)
    world.stage_files[f"{FOLDER}1/merged/model.safetensors"] = b"x" * 100  # of another run, whose name begins alike
    found = read_result(STAGE, f"{FOLDER}/run.json", world)
    if not lacks:
        assert found.document is not None and found.lacks == "", reason
        before = list(world.reads)
        assert read_result(STAGE, f"{FOLDER}/run.json", world) == found and world.reads == before, "settled: nothing is asked again"
        return
    assert found.document is None and lacks in found.lacks, reason
    assert found.lacks.endswith("make room on it, or name another stage")
    world.reads.clear()
    read_result(STAGE, f"{FOLDER}/run.json", world)
    assert world.reads == [f"{FOLDER}/run.json", f"list of {FOLDER}"], "two questions while it is not settled"


def test_a_long_list_is_cut_short_and_a_broken_one_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.see(STAGES, {"name": "MODELS", "created_on": "1"})
    world.stage_files[f"{FOLDER}/run.json"] = run_document(*({"path": f"merged/{n}", "bytes": 1} for n in range(9)))
    lacks = read_result(STAGE, f"{FOLDER}/run.json", world).lacks
    assert "9 of 9 files" in lacks and "merged/0 is missing, merged/1 is missing, merged/2 is missing and 6 more;" in lacks
    world.stage_files[f"{FOLDER}/run.json"] = run_document("README.md")
    assert "'README.md' is no path with a number of bytes" in read_result(STAGE, f"{FOLDER}/run.json", world).lacks
    world.stage_files[f"{FOLDER}/run.json"] = b'{"metrics": {}}'
    assert read_result(STAGE, f"{FOLDER}/run.json", world) == Result({"metrics": {}}), "a document without a list is all there is"


@pytest.mark.parametrize(
    ("statuses", "health", "words", "reason"),
    [
        (["RUNNING"], Health.PROGRESSING, "the job is starting", "its uploads are under way"),
        (["DONE"], Health.PROGRESSING, "waiting for the result", "they may need a moment more"),
        (
            ["FAILED"],
            Health.DEGRADED,
            "attempt 1 failed: upload of merged/x failed; 1 of 1 files that run.json lists",
            "one attempt is left",
        ),
        (["FAILED", "FAILED"], Health.DEGRADED, "failed 2 times, exit code 0: upload of merged/x failed; 1 of 1 files", "and none is left"),
    ],
)
def test_a_run_without_its_weights_ends_as_its_job_did(
    tmp_path: Path, statuses: list[str], health: Health, words: str, reason: str
) -> None:
    made = Lab(tmp_path)
    made.world.stage_files[f"wishes/{made.fact.run}/run.json"] = run_document(WEIGHTS)
    made.jobs(*statuses, code=0, log="upload of merged/x failed\n")
    seen = made.look()
    assert seen.health is health and words in seen.message, reason
    assert "JobSucceeded" not in seen.conditions or not seen.conditions["JobSucceeded"][0]
    made.world.stage_files[f"wishes/{made.fact.run}/merged/model.safetensors"] = b"x" * 100
    assert made.look().health is Health.HEALTHY, "what arrives late counts"


def test_a_job_that_ended_well_without_its_weights_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.world.stage_files[f"wishes/{made.fact.run}/run.json"] = run_document(WEIGHTS)
    made.jobs("DONE")
    for _ in range(20):
        made.look()
    with pytest.raises(Stalled, match=r"ended well, but 1 of 1 files .* is missing; the stage is full, or an upload failed: make room"):
        TUNE.update(made.job, made.look(), made.view)


def test_a_run_without_its_weights_is_not_served(tmp_path: Path) -> None:
    made = Tuned(tmp_path)
    made.world.stage_files[f"wishes/{made.run}/run.json"] = run_document(WEIGHTS)
    assert only(made.graph, "FineTuneJob").key in made.children()[0].depends_on, "it waits for the job, which is not well"
    made.serving("0ld00000")
    assert made.served() == "0ld00000", "and the run before it is served on"
    made.world.stage_files[f"wishes/{made.run}/merged/model.safetensors"] = b"x" * 100
    assert made.served() == made.run


@pytest.mark.parametrize("via", ["job", "local"])
def test_a_base_model_without_its_weights_is_not_there(tmp_path: Path, via: str) -> None:
    world = lab(tmp_path)
    (tmp_path / "base").mkdir()
    source = "source: {huggingFace: {id: org/small, revision: abc}}"
    text = LAB if via == "job" else LAB.replace(source, "source: {path: base}\n  via: local")
    graph = world.load(text)
    world.see(STAGES, {"name": "MODELS", "created_on": "1"})
    base = only(graph, "BaseModel")
    world.stage_files[f"{folder_of(base)}/model.json"] = json.dumps({"files": [SMALL]}).encode()
    seen = BASE.observe(base, world.view(graph))
    assert not seen.exists
    world.stage_files[f"{folder_of(base)}/README.md"] = b"x" * 10
    assert BASE.observe(base, world.view(graph)).exists
