"""The lab's folder is sound for both accounts, and says what the guide says."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from controller.api.objects import Graph
from controller.api.registry import KINDS
from controller.manifests.project import load_project

LAB = Path(__file__).parents[2] / "manifests" / "lab"
ACCOUNTS = ("local", "production")


def graph(account: str, folder: Path = LAB) -> Graph:
    loaded = load_project(folder, account)
    assert [str(problem) for problem in loaded.problems] == []
    return loaded.graph


def spec(found: Graph, kind: str, name: str) -> dict[str, object]:
    (obj,) = [obj for obj in found.of_kind(kind) if str(obj.key) == f"{kind}/{name}"]
    dumped: dict[str, object] = obj.manifest.spec.model_dump(by_alias=True, exclude_none=True)
    return dumped


@pytest.mark.parametrize("account", ACCOUNTS)
def test_every_object_of_the_guide_is_there(account: str) -> None:
    found = {str(obj.key) for obj in graph(account)}
    assert found == {
        "Role/venksadmin", "Warehouse/venks_basic_wh", "SecurityIntegration/snowservices_ingress_oauth",
        "Warehouse/llm_finetune_wh", "Database/llm_finetune_db", "Schema/hol", "ComputePool/llm_finetune_pool",
        "Stage/yaml_stage", "Stage/llm_workspace_stage", "Stage/llm_models",
        "ImageRepository/llm_repo", "Image/trainer", "Image/server", "Image/workspace",
        "Secret/hf_token", "NetworkRule/huggingface", "ExternalAccessIntegration/huggingface_access",
        "Dataset/transcripts", "Dataset/frosty_transcripts",
        "BaseModel/llama_chat", "ModelDeployment/llama_base", "FineTuneJob/toy_wishes", "ModelDeployment/llama_finetuned",
        "Workspace/llm_workspace",
    }  # fmt: skip


def test_all_kinds_but_those_for_services_of_ones_own_are_used() -> None:
    assert set(KINDS) - {obj.key.kind for obj in graph("local")} == {"Service", "Gateway"}


@pytest.mark.parametrize("account", ACCOUNTS)
def test_objects_with_data_say_that_they_may_be_dropped(account: str) -> None:
    """The lab drops its database at the end."""
    for obj in graph(account):
        if obj.manifest.holds_data:
            assert obj.manifest.deletion_policy == "delete", obj.key


@pytest.mark.parametrize("account", ACCOUNTS)
def test_the_instruction_is_the_datas_own(account: str) -> None:
    rows = (LAB / "data" / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()
    asked = {json.loads(row)["instruction"] for row in rows}
    found = graph(account)
    job, base = spec(found, "FineTuneJob", "toy_wishes"), spec(found, "ModelDeployment", "llama_base")
    assert isinstance(job["prompt"], dict) and isinstance(base["prompt"], dict)
    assert {job["prompt"]["instruction"], base["prompt"]["instruction"]} == asked


def test_production_has_a_gpu_for_each_part_that_needs_one() -> None:
    found = graph("production")
    pool = spec(found, "ComputePool", "llm_finetune_pool")
    assert (pool["instanceFamily"], pool["maxNodes"]) == ("GPU_NV_S", 3)
    asked: Counter[str] = Counter()
    for obj in found:
        resources = getattr(obj.manifest.spec, "resources", None)
        if resources and resources.requests.gpu:
            assert resources.limits.gpu == resources.requests.gpu
            asked[str(obj.key)] += resources.requests.gpu
    # a node of this family has one GPU and 28 GiB, so these three fill the three nodes, and the small ones fit beside them
    assert asked == {"ModelDeployment/llama_base": 1, "FineTuneJob/toy_wishes": 1, "ModelDeployment/llama_finetuned": 1}


def test_production_reaches_the_hub_with_the_token_only_to_fetch_the_model() -> None:
    found = graph("production")
    with_egress = [str(obj.key) for obj in found if getattr(obj.manifest.spec, "external_access", None)]
    assert with_egress == ["BaseModel/llama_chat"]
    source = spec(found, "BaseModel", "llama_chat")["source"]
    assert source == {"huggingFace": {"id": "meta-llama/Llama-2-7b-chat-hf", "revision": "main", "tokenSecret": "hf_token"}}
    assert spec(found, "Secret", "hf_token")["valueFrom"] == {"env": "HF_TOKEN", "optional": False}


def test_another_file_with_the_same_columns_works_by_a_value(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    shutil.copytree(LAB, folder)
    other = tmp_path / "calls.jsonl"
    other.write_text((LAB / "data" / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    project = folder / "snowcat.yaml"
    text = project.read_text(encoding="utf-8")
    project.write_text(text.replace("transcripts: data/transcripts.jsonl", f"transcripts: {other}"), encoding="utf-8")
    assert spec(graph("local", folder), "Dataset", "transcripts")["file"] == str(other)


def test_the_previews_instance_family_is_refused_with_todays_name(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    shutil.copytree(LAB, folder)
    project = folder / "snowcat.yaml"
    project.write_text(project.read_text(encoding="utf-8").replace("CPU_X64_M", "GPU_7"), encoding="utf-8")
    problems = [str(problem) for problem in load_project(folder, "local").problems]
    assert any("compute.yaml" in problem and "GPU_7" in problem and "GPU_NV_M" in problem for problem in problems), problems
