"""Nodes that die and nodes that do not come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from embedded_account import RunningAccount
from fault_client import Faults

from emulator.runtime.container import Container
from emulator.runtime.process import ContainerProcess
from emulator.runtime.spec import ContainerSpec

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from runtime_support import Sql, push_image, spec, until

SLEEP = ["python", "-c", "import time; time.sleep(600)"]


@pytest.fixture(scope="module")
def sql(account: RunningAccount) -> Iterator[Sql]:
    made = Sql(account.connect(role="ACCOUNTADMIN"))
    for statement in (
        "CREATE DATABASE DB",
        "CREATE SCHEMA DB.S",
        "CREATE IMAGE REPOSITORY REPO",
        "CREATE COMPUTE POOL pool MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_S",
    ):
        made(statement)
    url = f"http://{account.details['host']}:{account.details['port']}"
    push_image(url, ("ADMIN", account.details["password"]), "db/s/repo", "tool:1", {"app/x.txt": "x"}, {"Cmd": ["true"]})
    yield made
    made("ALTER COMPUTE POOL pool STOP ALL")
    made("DROP DATABASE DB")
    made("DROP COMPUTE POOL pool")
    made.connection.close()


def nodes(sql: Sql) -> set[str]:
    return {row["node_id"] for row in sql("SHOW NODES IN COMPUTE POOL pool")}


def test_a_node_dies_under_a_service_and_a_job(sql: Sql, faults: Faults) -> None:
    sql(f"CREATE SERVICE svc IN COMPUTE POOL pool FROM SPECIFICATION $${spec('tool:1', command=SLEEP)}$$")
    sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL pool NAME = job ASYNC = TRUE FROM SPECIFICATION $${spec('tool:1', command=SLEEP)}$$")
    sql.wait("svc", "RUNNING")
    sql.wait("job", "RUNNING")
    (before,) = nodes(sql)
    assert faults.kill_node("POOL") == before
    sql.wait("job", "FAILED")
    (row,) = sql("SHOW SERVICE CONTAINERS IN SERVICE job")
    assert row["instance_status"] == "FAILED"
    until(lambda: nodes(sql) and nodes(sql) != {before})
    sql.wait("svc", "RUNNING")
    sql("DROP SERVICE job")


def test_nodes_do_not_come_until_the_rule_goes(sql: Sql, faults: Faults) -> None:
    faults.put({"name": "sold out", "capacity": "^SCARCE$"})
    sql("CREATE COMPUTE POOL scarce MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_S")
    sql(f"CREATE SERVICE waiting IN COMPUTE POOL scarce FROM SPECIFICATION $${spec('tool:1', command=SLEEP)}$$")
    until(lambda: sql.one("DESCRIBE COMPUTE POOL scarce")["error_code"] == "392507")
    pool = sql.one("DESCRIBE COMPUTE POOL scarce")
    assert pool["state"] == "STARTING" and "CPU_X64_S" in pool["status_message"]
    assert sql.service("waiting")["status"] == "PENDING"
    assert faults.rules()[0]["fired"] == 1
    faults.clear()
    sql.wait("waiting", "RUNNING")
    assert sql.one("DESCRIBE COMPUTE POOL scarce")["error_code"] == ""
    sql("DROP SERVICE waiting")
    sql("DROP COMPUTE POOL scarce")


def test_a_node_that_dies_while_a_container_starts_kills_it(tmp_path: Path) -> None:
    """The first process of a container may ignore SIGTERM, as `sleep` does, and then never ends by itself."""
    around = SimpleNamespace(folder=tmp_path, platform=SimpleNamespace(time_scale=0.01))
    container = Container(
        cast(ContainerSpec, SimpleNamespace(name="main", readiness=None, liveness=None)), "sha256:0", cast(Any, around), cast(Any, None)
    )
    orders: list[str] = []
    process = SimpleNamespace(terminate=lambda: orders.append("terminate"), kill=lambda: orders.append("kill"), poll=lambda: None)
    container._starting = Future()
    container.kill()
    assert not container.over, "its start is under way"
    container._process = cast(ContainerProcess, process)
    container._starting.set_result(None)
    container.tick(0.0)
    assert orders == ["kill"]
