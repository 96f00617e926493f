"""The whole lab through the command line, with a fine-tune of two steps: everything that `make demo` does but the scores.

The tests of this module share one account and run in their order; `destroy` is the last.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from demo.lab import Lab, quick_manifests, rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    quick_manifests(folder / "manifests", steps=2, evaluated=2)
    project = Lab(folder / "manifests", folder / "account")
    try:
        assert project.snowcat("apply", str(project.manifests), "--local") == 0
        yield project
    finally:
        project.snowcat("local", "stop")


def jobs(lab: Lab) -> list[str]:
    with lab.connect() as connection:
        return sorted(row["name"] for row in rows(connection, "SHOW JOB SERVICES IN ACCOUNT"))


def test_every_object_is_healthy(lab: Lab) -> None:
    objects = lab.objects()
    assert len(objects) >= 24
    assert [item for item in objects if (item["sync"], item["health"]) != ("Synced", "Healthy")] == []


def test_both_models_answer_through_sql(lab: Lab) -> None:
    with lab.connect() as connection:
        rows(connection, "USE SCHEMA llm_finetune_db.hol")
        asked = "FROM (SELECT input FROM transcripts WHERE _split = 'test' ORDER BY _row_id LIMIT 2)"
        answers = rows(connection, f"SELECT llama_base_predict(input) AS base, llama_predict(input) AS tuned {asked}")
        assert len(answers) == 2
        assert all(isinstance(value, str) and value for answer in answers for value in answer.values())
        (detail,) = rows(connection, "SELECT llama_predict_detail('Hello from Oslo') AS detail")
        assert set(json.loads(detail["detail"])) == {"answer", "error", "model_version", "tokens"}
        assert rows(connection, "SELECT llama_predict(NULL) AS nothing") == [{"nothing": None}]


def test_a_second_plan_is_empty_and_trains_nothing(lab: Lab) -> None:
    before = jobs(lab)
    assert lab.snowcat("plan", str(lab.manifests), "--local", "--exit-code") == 0
    assert lab.snowcat("apply", str(lab.manifests), "--local") == 0
    assert jobs(lab) == before


@pytest.mark.parametrize("notebook", ["lab1_base_model.ipynb", "lab2_fine_tune.ipynb"])
def test_the_notebooks_run(lab: Lab, notebook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of the workspace, where they take the default connection of connections.toml."""
    account = json.loads((lab.state / "account.json").read_text())
    keys = ("host", "port", "protocol", "account", "user", "password")
    lines = ["[default]", *(f"{key} = {json.dumps(account[key])}" for key in keys), 'role = "VENKSADMIN"']
    connections = tmp_path / "connections.toml"
    connections.write_text("\n".join(lines))
    connections.chmod(0o600)
    monkeypatch.setenv("SNOWFLAKE_HOME", str(tmp_path))
    document = nbformat.read(lab.manifests / "notebooks" / notebook, as_version=4)
    NotebookClient(document, timeout=300, kernel_name="python3").execute()
    assert all(cell.get("execution_count") for cell in document.cells if cell.cell_type == "code")


def test_the_workspace_has_both_notebooks(lab: Lab) -> None:
    with lab.connect() as connection:
        listed = {row["name"] for row in rows(connection, "LIST @llm_finetune_db.hol.llm_workspace_stage")}
    assert {Path(name).name for name in listed} >= {"lab1_base_model.ipynb", "lab2_fine_tune.ipynb"}


def test_a_changed_learning_rate_is_another_run(lab: Lab, tmp_path: Path) -> None:
    changed = tmp_path / "manifests"
    shutil.copytree(lab.manifests, changed)
    project = changed / "snowcat.yaml"
    text = project.read_text()
    project.write_text(re.sub(r"(maxSteps: 2, learningRate: )[\d.e-]+", r"\g<1>5.0e-4", text, count=1))
    assert project.read_text() != text
    planned = json.loads(lab.text("plan", str(changed), "--local", "-o", "json"))
    changes = {change["object"]: change["action"] for change in planned["changes"] if change["action"] != "none"}
    assert changes.get("FineTuneJob/toy_wishes") in ("create", "update"), changes
    assert not {"Dataset/transcripts", "BaseModel/llama_chat", "ModelDeployment/llama_base"} & set(changes), changes


def test_destroy_removes_the_lab_and_nothing_else(lab: Lab) -> None:
    with lab.connect() as connection:
        rows(connection, "CREATE DATABASE someone_elses")
        rows(connection, "CREATE COMPUTE POOL someone_elses MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS")
        assert lab.snowcat("destroy", str(lab.manifests), "--local", "--yes") == 0
        left = {
            what: {row["name"] for row in rows(connection, f"SHOW {what}")}
            for what in ("DATABASES", "COMPUTE POOLS", "WAREHOUSES", "ROLES")
        }
    assert "SOMEONE_ELSES" in left["DATABASES"] and "LLM_FINETUNE_DB" not in left["DATABASES"]
    assert "SOMEONE_ELSES" in left["COMPUTE POOLS"] and "LLM_FINETUNE_POOL" not in left["COMPUTE POOLS"]
    assert "LLM_FINETUNE_WH" not in left["WAREHOUSES"]
    assert "VENKS_BASIC_WH" in left["WAREHOUSES"], "the manifest says deletionPolicy: orphan"
    assert "VENKSADMIN" in left["ROLES"]
