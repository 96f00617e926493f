"""Deployments with their functions, and workspaces, over the wire: any valid one leaves an empty plan, a change by hand is put back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from embedded_account import RunningAccount, run_account
from hypothesis import given
from hypothesis import strategies as st
from kinds_round_trip import Trip, told, trip
from strategies_common import optional, over_the_wire
from tiny_images import push

from controller.account.connections import local_connection
from controller.kinds.base_model import MANIFEST, folder_of

IMAGE = "/db/sch/images/live:1"
EXISTING = ["Database/db", "Schema/db.sch", "ComputePool/RUNS", "Stage/db.sch.models", "Role/ANALYST"]
BASE = {
    "kind": "BaseModel",
    "metadata": {"name": "small", "schema": "db.sch"},
    "spec": {"source": {"path": "weights"}, "via": "local", "stage": "models"},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    """An account with an image that answers every readiness probe of ours, and a base model on its stage."""
    for account in run_account(tmp_path_factory.mktemp("composites") / "state", "--time-scale", "0.01"):
        with trip(local_connection(account.details)) as made:
            made.write([])
            made.by_hand(
                "CREATE COMPUTE POOL RUNS MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_L",
                "CREATE IMAGE REPOSITORY DB.SCH.IMAGES",
                "CREATE STAGE DB.SCH.MODELS",
                "CREATE ROLE ANALYST",
            )
            serve = 'cd /srv && touch healthz api && exec python -m http.server "$SNOWCAT_PORT"'
            push(account, IMAGE, "", Entrypoint=["sh", "-c", f"mkdir -p /srv; {serve}"])
        yield account


@pytest.fixture
def made(running: RunningAccount) -> Iterator[Trip]:
    with trip(local_connection(running.details), existing=EXISTING) as project:
        yield project


def write(made: Trip, *documents: dict[str, Any]) -> None:
    """The manifests, with the base model's files where they belong."""
    (made.folder / "weights").mkdir(exist_ok=True)
    (made.folder / "weights" / "config.json").write_text("{}")
    made.write([BASE, *documents])
    _, loaded = made._engine()
    (base,) = loaded.graph.of_kind("BaseModel")
    result = made.folder / MANIFEST
    result.write_text(json.dumps({"files": [], "model": {}}))
    with made.pool.session() as session:
        session.put_file(result, base.references["stage"].name, folder_of(base))


def deployment(**spec: Any) -> dict[str, Any]:
    body = {"model": "small", "computePool": "runs", "image": IMAGE, "function": {"name": "ask", "maxBatchRows": 50}, **spec}
    return {"kind": "ModelDeployment", "metadata": {"name": "llama", "schema": "db.sch"}, "spec": body}


deployments = optional(
    engine=st.sampled_from(["auto", "transformers"]),
    instances=st.sampled_from([{"min": 1, "max": 2}, {"min": 2}]),
    function=st.fixed_dictionaries({"name": st.sampled_from(["ask", '"Ask me"'])}, optional={"maxBatchRows": st.integers(1, 1000)}),
    maxNewTokens=st.integers(1, 500),
    public=st.booleans(),
    usage=st.sampled_from([[], ["analyst"]]),
    resources=st.sampled_from([{"requests": {"cpu": 0.5, "memory": "1Gi"}}, {"limits": {"memory": "2Gi"}}]),
    env=st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["1", "$$", "two\nlines"])),
)
workspaces = optional(
    resources=st.sampled_from([{"requests": {"cpu": 0.5, "memory": "1Gi"}}, {"limits": {"memory": "2Gi"}}]),
    env=st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["1", "x"])),
    notebooks=st.just(["*.ipynb"]),
)


@over_the_wire
@given(spec=deployments)
def test_any_deployment_closes_its_round_trip(spec: dict[str, Any], running: RunningAccount) -> None:
    with trip(local_connection(running.details), existing=EXISTING) as project:
        write(project, deployment(**spec))
        plan = project.apply()
        assert plan.empty, told(plan)


@over_the_wire
@given(spec=workspaces)
def test_any_workspace_closes_its_round_trip(spec: dict[str, Any], running: RunningAccount) -> None:
    body = {"computePool": "runs", "image": IMAGE, "stage": "models", **spec}
    with trip(local_connection(running.details), existing=EXISTING) as project:
        (project.folder / "one.ipynb").write_text("{}")
        project.write([{"kind": "Workspace", "metadata": {"name": "desk", "schema": "db.sch"}, "spec": body}])
        plan = project.apply()
        assert plan.empty, told(plan)


CHANGES = [
    ("ALTER FUNCTION DB.SCH.ASK(VARCHAR) SET MAX_BATCH_ROWS = 7", "maxBatchRows", "SET MAX_BATCH_ROWS = 50"),
    ("ALTER FUNCTION DB.SCH.ASK(VARCHAR) SET MAX_BATCH_RETRIES = 9", "maxBatchRetries", "UNSET MAX_BATCH_RETRIES"),
    ("ALTER FUNCTION DB.SCH.ASK(VARCHAR) SET ON_BATCH_FAILURE = RETURN_NULL", "onBatchFailure", "SET ON_BATCH_FAILURE = ABORT"),
    ("ALTER FUNCTION DB.SCH.ASK(VARCHAR) SET BATCH_TIMEOUT_SECS = 60", "batchTimeoutSeconds", "UNSET BATCH_TIMEOUT_SECS"),
    (
        "REVOKE USAGE ON FUNCTION DB.SCH.ASK(VARCHAR) FROM ROLE ANALYST",
        "usage",
        "GRANT USAGE ON FUNCTION DB.SCH.ASK(VARCHAR) TO ROLE ANALYST",
    ),
    (
        "REVOKE SERVICE ROLE DB.SCH.LLAMA!ALL_ENDPOINTS_USAGE FROM ROLE ANALYST",
        "usage",
        "GRANT SERVICE ROLE DB.SCH.LLAMA!ALL_ENDPOINTS_USAGE",
    ),
]


def test_functions_changed_by_hand_are_put_back(made: Trip) -> None:
    write(made, deployment(usage=["analyst"]))
    assert made.apply().empty
    for by_hand, path, mended in CHANGES:
        made.by_hand(by_hand)
        assert path in made.drift("Function"), by_hand
        plan = made.apply()
        assert plan.empty, told(plan)
        assert any(mended in text for text in made.sent), made.sent
        assert not any("CREATE" in text for text in made.sent), "what can be altered is not replaced"
    (row,) = [row for row in made.by_hand("SHOW USER FUNCTIONS IN SCHEMA DB.SCH") if row["name"] == "ASK"]
    mark = str(row["description"]).replace("'", "''")
    made.by_hand(
        "CREATE OR REPLACE FUNCTION DB.SCH.ASK(prompt VARCHAR) RETURNS VARCHAR SERVICE = DB.SCH.LLAMA ENDPOINT = api "
        f"COMMENT = '{mark}' MAX_BATCH_ROWS = 50 AS '/other'"
    )
    assert {"path", "usage"} <= made.drift("Function").keys()
    plan = made.apply()
    assert plan.empty, told(plan)
    made.by_hand("DROP FUNCTION DB.SCH.ASK(VARCHAR)", "DROP SERVICE DB.SCH.LLAMA")
    plan = made.apply()
    assert plan.empty, told(plan)
