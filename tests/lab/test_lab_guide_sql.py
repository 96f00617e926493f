"""Every SQL statement of the lab guide, in its order, over the wire. Where the guide needs a correction, it is named.

The statements depend on one another, so this is one test. A statement that is wrong as printed is also run as printed, and must be refused.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from embedded_account import ROOT, RunningAccount
from snowflake.connector import DictCursor, SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

REPOSITORY = "llm_finetune_db/hol/llm_repo"
SPECIFICATION = """
spec:
  containers:
    - name: llm-finetune-hol
      image: /llm_finetune_db/hol/llm_repo/llm-finetune-hol:latest
      readinessProbe: {port: 8888, path: /}
      volumeMounts:
        - {name: workspace, mountPath: /notebooks/workspace}
  endpoints:
    - {name: jupyter, port: 8888, public: true}
  volumes:
    - name: workspace
      source: stage
      stageConfig: {name: "@llm_finetune_db.hol.llm_workspace_stage"}
"""


@dataclass(frozen=True)
class Statement:
    """One statement of the guide. `today` replaces it where it cannot stay as printed, `why` says why."""

    step: str
    printed: str
    today: str = ""
    why: str = ""
    refused: bool = False  # as printed it must fail, not only mean something else


def as_printed(step: str, *statements: str) -> list[Statement]:
    return [Statement(step, statement) for statement in statements]


USER = "the user is your own; the embedded account has ADMIN"
ROLE = [
    *as_printed("B.1", "USE ROLE SECURITYADMIN", "CREATE ROLE venksadmin"),
    Statement("B.1", "GRANT ROLE venksadmin TO USER venks", "GRANT ROLE venksadmin TO USER admin", USER, refused=True),
    *as_printed("B.1", "GRANT ROLE venksadmin TO ROLE SYSADMIN", "USE ROLE ACCOUNTADMIN"),
    *as_printed("B.2", "GRANT ALL ON ACCOUNT TO ROLE venksadmin"),
    *as_printed(
        "B.3",
        "GRANT IMPORTED PRIVILEGES ON DATABASE SNOWFLAKE TO ROLE public",
        "CREATE DATABASE snowflake_sample_db FROM SHARE sfc_samples.sample_data",
    ),
    Statement(
        "B.4", "ALTER USER venks SET DEFAULT_ROLE = venksadmin", "ALTER USER admin SET DEFAULT_ROLE = venksadmin", USER, refused=True
    ),
    *as_printed("B.4", "USE ROLE venksadmin"),
    Statement(
        "B.4",
        "CREATE OR REPLACE WAREHOUSE venks_basic_wh AUTO_SUSPEND = 300, INITIALLY_SUSPENDED = true",
        "CREATE OR REPLACE WAREHOUSE venks_basic_wh AUTO_SUSPEND = 300 INITIALLY_SUSPENDED = true",
        "options are separated by blanks; whether the comma is still taken is not documented, and the embedded account is lenient",
    ),
    *as_printed("B.4", "SHOW WAREHOUSES"),
    Statement(
        "B.4", "ALTER USER venks SET DEFAULT_WAREHOUSE = venks_basic_wh", "ALTER USER admin SET DEFAULT_WAREHOUSE = venks_basic_wh", USER,
        refused=True,
    ),
]  # fmt: skip
ENVIRONMENT = [
    *as_printed("2.4a", "USE ROLE venksadmin"),
    *as_printed(
        "2.4b",
        "CREATE WAREHOUSE llm_finetune_wh WAREHOUSE_SIZE = 'xsmall' AUTO_SUSPEND = 180 INITIALLY_SUSPENDED = true",
        "USE WAREHOUSE llm_finetune_wh",
    ),
    *as_printed("2.4c", "CREATE DATABASE llm_finetune_db", "CREATE SCHEMA hol", "USE SCHEMA llm_finetune_db.hol"),
    *as_printed(
        "2.4d",
        "CREATE SECURITY INTEGRATION IF NOT EXISTS snowservices_ingress_oauth"
        " TYPE = oauth OAUTH_CLIENT = snowservices_ingress ENABLED = true",
    ),
    Statement(
        "2.4e",
        "CREATE COMPUTE POOL llm_finetune_pool MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = GPU_7",
        "CREATE COMPUTE POOL llm_finetune_pool MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = GPU_NV_S",
        "GPU_7 is a name of the preview",
        refused=True,
    ),
    *as_printed("2.4f", "DESCRIBE COMPUTE POOL llm_finetune_pool"),
]
IMAGE = [
    *as_printed("4.1", "USE ROLE venksadmin", "USE WAREHOUSE llm_finetune_wh", "USE SCHEMA llm_finetune_db.hol"),
    *as_printed(
        "4.1",
        "CREATE STAGE yaml_stage DIRECTORY = ( ENABLE = true ) ENCRYPTION = ( TYPE = 'SNOWFLAKE_SSE' )",
        "CREATE STAGE llm_workspace_stage DIRECTORY = ( ENABLE = true ) ENCRYPTION = ( TYPE = 'SNOWFLAKE_SSE' )",
        "CREATE IMAGE REPOSITORY llm_repo",
    ),
]
PUSHED = as_printed("4.4i", "SHOW IMAGE REPOSITORIES", "SELECT SYSTEM$REGISTRY_LIST_IMAGES('/llm_finetune_db/hol/llm_repo')")
ROOM = [
    *as_printed("5.1", "SHOW SERVICES IN COMPUTE POOL llm_finetune_pool"),
    Statement(
        "5.2",
        "DROP SERVICE llm_finetune_db.hol.<Service_Name>",
        "DROP SERVICE llm_finetune_db.hol.lab1_service",
        "a placeholder for the name of Lab 1's service",
        refused=True,
    ),
]
SERVICE = [
    *as_printed("5.3", "LIST @yaml_stage"),
    *as_printed("5.4", "SHOW COMPUTE POOLS", "ALTER COMPUTE POOL llm_finetune_pool RESUME"),
    Statement(
        "5.5",
        "CREATE SERVICE llm_finetune_service IN COMPUTE POOL LLM_FINETUNE_POOL FROM @yaml_stage SPEC = 'llm-finetune-hol.yaml'",
        "CREATE SERVICE llm_finetune_service IN COMPUTE POOL LLM_FINETUNE_POOL"
        " FROM @yaml_stage SPECIFICATION_FILE = 'llm-finetune-hol.yaml'",
        "SPEC was the preview's keyword",
        refused=True,
    ),
]
STATUS = Statement(
    "5.6",
    "SELECT v.value:containerName::varchar container_name, v.value:status::varchar status, v.value:message::varchar message FROM"
    " (SELECT PARSE_JSON(system$get_service_status('LLM_FINETUNE_SERVICE')) t, LATERAL FLATTEN(input => t.$1) v",
    "SELECT v.value:containerName::varchar container_name, v.value:status::varchar status, v.value:message::varchar message FROM"
    " (SELECT PARSE_JSON(system$get_service_status('LLM_FINETUNE_SERVICE'))) t, LATERAL FLATTEN(input => t.$1) v",
    "a closing bracket is missing",
    refused=True,
)
ENDPOINTS = as_printed("5.7", "SHOW ENDPOINTS IN SERVICE llm_finetune_service")
CLEAN_UP = [
    *as_printed("7.1", "USE ROLE venksadmin"),
    Statement(
        "7.1", "USE WAREHOUSE venks_default_wh", "USE WAREHOUSE venks_basic_wh", "Appendix B made it under the other name", refused=True
    ),
    *as_printed("7.1", "USE SCHEMA snowflake_sample_data.tpch_sf1"),
    *as_printed(
        "7.2",
        "DROP WAREHOUSE llm_finetune_wh",
        "DROP SERVICE llm_finetune_db.hol.llm_finetune_service",
        "DROP COMPUTE POOL llm_finetune_pool",
        "DROP DATABASE llm_finetune_db",
        "DROP SECURITY INTEGRATION snowservices_ingress_oauth",
    ),
]
ALL = [*ROLE, *ENVIRONMENT, *IMAGE, *PUSHED, *ROOM, *SERVICE, STATUS, *ENDPOINTS, *CLEAN_UP]


@contextmanager
def about(statement: Statement) -> Iterator[None]:
    """Name the step of the guide when its statement fails."""
    try:
        yield
    except ProgrammingError as error:
        pytest.fail(f"step {statement.step}: {statement.today or statement.printed}\n{error}")


def run(connection: SnowflakeConnection, statement: Statement) -> list[dict[str, Any]]:
    """The rows of a statement in the form that runs today. What must be refused as printed, is."""
    with connection.cursor(DictCursor) as cursor:
        if statement.refused:
            with pytest.raises(ProgrammingError):
                cursor.execute(statement.printed)
        with about(statement):
            cursor.execute(statement.today or statement.printed)
            return [dict(row) for row in cursor.fetchall()]


def run_all(connection: SnowflakeConnection, statements: list[Statement]) -> dict[str, list[dict[str, Any]]]:
    """Run in order; the last rows of each step."""
    return {statement.step: run(connection, statement) for statement in statements}


def until(connection: SnowflakeConnection, statement: Statement, column: str, wanted: set[str]) -> None:
    """Repeat a statement, as the guide says, until a column of its first row says what is waited for."""
    deadline = time.monotonic() + 120
    while (rows := run(connection, statement)) and rows[0][column] not in wanted:
        assert time.monotonic() < deadline, f"step {statement.step}: {column} is {rows[0][column]!r}, not one of {wanted}: {rows[0]}"
        time.sleep(0.1)


def push(account: RunningAccount, image: str) -> None:
    """What `docker push` sends: one empty layer, and a configuration whose entrypoint serves a folder on Jupyter's port."""
    user, password = account.details["user"], account.details["password"]
    base = f"http://{account.details['host']}:{account.details['port']}/v2/{REPOSITORY}/{image}"
    with httpx.Client(auth=(user, password), timeout=60) as registry:

        def blob(content: bytes) -> dict[str, Any]:
            digest = "sha256:" + hashlib.sha256(content).hexdigest()
            place = registry.post(f"{base}/blobs/uploads/").raise_for_status().headers["location"]
            address = httpx.URL(f"{base}/").join(place)
            registry.put(address.copy_merge_params({"digest": digest}), content=content).raise_for_status()
            return {"digest": digest, "size": len(content)}

        layer = bytes(10240)  # an empty tar archive
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["python", "-m", "http.server", "8888", "--directory", "/tmp"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(json.dumps(config).encode())},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **blob(layer)}],
        }
        registry.put(
            f"{base}/manifests/latest", content=json.dumps(manifest), headers={"Content-Type": manifest["mediaType"]}
        ).raise_for_status()  # fmt: skip


def test_the_whole_guide_runs(account: RunningAccount, tmp_path: Path) -> None:
    with account.connect() as connection:
        run_all(connection, ROLE)
        run_all(connection, ENVIRONMENT)
        until(connection, ENVIRONMENT[-1], "state", {"IDLE", "ACTIVE"})  # step 2.4g
        run_all(connection, IMAGE)

        push(account, "llm-finetune-hol")  # steps 4.4b to 4.4h
        pushed = run_all(connection, PUSHED)
        assert json.loads(next(iter(pushed["4.4i"][0].values()))) == {"images": ["llm-finetune-hol"]}

        inline = f"CREATE SERVICE lab1_service IN COMPUTE POOL llm_finetune_pool FROM SPECIFICATION $${SPECIFICATION}$$"
        connection.cursor().execute(inline)  # stands for what Lab 1's deploy() made
        assert [row["name"] for row in run(connection, ROOM[0])] == ["LAB1_SERVICE"]
        run(connection, ROOM[1])
        assert run(connection, ROOM[0]) == []

        (tmp_path / "llm-finetune-hol.yaml").write_text(SPECIFICATION)
        connection.cursor().execute(f"PUT file://{tmp_path}/llm-finetune-hol.yaml @yaml_stage AUTO_COMPRESS = FALSE")
        listed = run(connection, SERVICE[0])
        assert [row["name"] for row in listed] == ["yaml_stage/llm-finetune-hol.yaml"]
        run_all(connection, SERVICE[1:])
        until(connection, STATUS, "STATUS", {"READY"})
        (endpoint,) = run(connection, ENDPOINTS[0])
        assert endpoint["name"] == "jupyter" and endpoint["is_public"] == "true"

        run_all(connection, CLEAN_UP)
        with connection.cursor(DictCursor) as cursor:
            cursor.execute("SHOW DATABASES LIKE 'LLM_FINETUNE_DB'")
            assert cursor.fetchall() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("containers:", "container:"), ("endpoints:", "endpoint:"), ("volumes:", "volume:")],
)
def test_the_previews_singular_keys_are_refused(account: RunningAccount, old: str, new: str) -> None:
    with account.connect(role="ACCOUNTADMIN") as connection:
        for statement in (
            "CREATE DATABASE IF NOT EXISTS preview_keys",
            "CREATE COMPUTE POOL IF NOT EXISTS preview_pool MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS",
        ):
            connection.cursor().execute(statement)
        old_text = SPECIFICATION.replace(old, new)
        with pytest.raises(ProgrammingError) as refused:
            connection.cursor().execute(
                f"CREATE SERVICE preview_keys.public.s IN COMPUTE POOL preview_pool FROM SPECIFICATION $${old_text}$$"
            )
        assert refused.value.errno == 395018
        assert new.rstrip(":") in str(refused.value)


def test_docs_name_every_step_and_correction() -> None:
    text = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
    for statement in ALL:
        assert f"| {statement.step} |" in text or f"SQL {statement.step}" in text, statement.step
    corrections = text.split("## Corrections to the guide")[1]
    for statement in ALL:
        if statement.why:
            assert statement.step in corrections, f"{statement.step}: {statement.why}"
