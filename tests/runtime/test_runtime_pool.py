"""Compute pools: states with time, capacity as modelled, and what is refused."""

from __future__ import annotations

import json
import time

import pytest
from runtime_support import Sql, spec, until
from snowflake.connector import ProgrammingError

from emulator.runtime.pool import NODE_STOP_SECONDS, Pool

_SLEEP = ["python", "-c", "import time; time.sleep(600)"]


def _pool(sql: Sql, name: str) -> dict[str, object]:
    return sql.one(f"SHOW COMPUTE POOLS LIKE '{name}'")


def _resources(cpu: str, memory: str = "1Gi") -> str:
    values = {"cpu": cpu, "memory": memory}
    return json.dumps({"container.resources": {"requests": values, "limits": values}})


def test_states_from_starting_to_suspended(sql: Sql) -> None:
    sql("CREATE COMPUTE POOL states MIN_NODES = 2 MAX_NODES = 2 INSTANCE_FAMILY = cpu_x64_xs COMMENT = 'c'")
    row = sql.one("DESCRIBE COMPUTE POOL states")
    assert (row["state"], row["target_nodes"], row["active_nodes"], row["instance_family"]) == ("STARTING", 2, 0, "CPU_X64_XS")
    assert row["status_message"] == "Compute pool is starting for last 0 minutes"
    until(lambda: _pool(sql, "states")["state"] == "IDLE")
    assert _pool(sql, "states")["idle_nodes"] == 2
    assert len(sql("SHOW NODES IN COMPUTE POOL states")) == 2
    sql("ALTER COMPUTE POOL states SUSPEND")
    assert _pool(sql, "states")["state"] == "STOPPING"
    until(lambda: _pool(sql, "states")["state"] == "SUSPENDED")
    assert _pool(sql, "states")["target_nodes"] == 0
    sql("ALTER COMPUTE POOL states SET INSTANCE_FAMILY = CPU_X64_S")
    sql("ALTER COMPUTE POOL states RESUME")
    with pytest.raises(ProgrammingError, match="can only be changed while it is SUSPENDED"):
        sql("ALTER COMPUTE POOL states SET INSTANCE_FAMILY = CPU_X64_M")
    sql("DROP COMPUTE POOL states")


def test_pool_without_a_node_is_suspended_at_once() -> None:
    pool = Pool("P", time_scale=1.0)
    pool.configure("CPU_X64_XS", 1, 2, 3600, suspended=False)
    now = time.monotonic()
    pool.tick(now)
    assert (pool.state, pool.target) == ("STARTING", 1)
    pool.suspend()
    assert (pool.state, pool.target) == ("SUSPENDED", 0)
    pool.resume()
    pool.tick(now)
    pool.nodes[0].ready_at = now
    assert pool.state == "IDLE"
    pool.suspend()
    assert pool.state == "STOPPING", "a node that is there takes time to go"
    pool.tick(time.monotonic() + NODE_STOP_SECONDS)
    assert pool.state == "SUSPENDED"


STATES = ("ACTIVE", "IDLE", "RESIZING", "SUSPENDED")  # the last one where the tests before took longer than its nodes wait


def test_columns_and_texts(sql: Sql) -> None:
    columns = sql.columns("SHOW COMPUTE POOLS")
    assert columns == [
        "name",
        "state",
        "min_nodes",
        "max_nodes",
        "instance_family",
        "num_services",
        "num_jobs",
        "auto_suspend_secs",
        "auto_resume",
        "active_nodes",
        "idle_nodes",
        "target_nodes",
        "created_on",
        "resumed_on",
        "updated_on",
        "owner",
        "comment",
        "is_exclusive",
        "application",
        "placement_group",
        "backup_instance_families",
    ]
    row = sql.one("DESCRIBE COMPUTE POOL pool")
    assert (row["auto_resume"], row["comment"], row["error_code"], row["is_exclusive"]) == ("true", None, "", "false")
    assert sql.one("ALTER COMPUTE POOL pool SET MAX_NODES = 5 COMMENT = 'x'")["status"] == "Statement executed successfully."
    assert json.loads(sql.value("CALL SYSTEM$GET_COMPUTE_POOL_STATUS('pool')"))["status"] in STATES
    sql("ALTER COMPUTE POOL pool UNSET COMMENT, AUTO_SUSPEND_SECS")
    sql("ALTER COMPUTE POOL pool SET MAX_NODES = 4")
    assert _pool(sql, "pool")["comment"] is None
    names = {r["name"] for r in sql("SHOW COMPUTE POOLS")}
    assert {"SYSTEM_COMPUTE_POOL_CPU", "SYSTEM_COMPUTE_POOL_GPU"} <= names
    families = {r["name"]: r for r in sql("SHOW COMPUTE POOL INSTANCE FAMILIES")}
    assert (families["GPU_NV_S"]["gpu"], families["GPU_NV_S"]["gpu_count"], families["CPU_X64_S"]["gpu"]) == ("A10G", 1, "")


_REFUSED = [
    ("MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = GPU_7", 1422, "old preview family"),
    ("MIN_NODES = 2 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_S", 1422, "min over max"),
    ("MIN_NODES = 0 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_S", 1422, "no node"),
    ("MIN_NODES = 1 INSTANCE_FAMILY = CPU_X64_S", 2029, "missing option"),
    ("MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_S SIZE = 3", 1420, "unknown option"),
    ("MIN_NODES = 1 MAX_NODES = 800 INSTANCE_FAMILY = CPU_X64_S", 392512, "node limit"),
]


@pytest.mark.parametrize(("options", "errno", "reason"), _REFUSED, ids=[row[2] for row in _REFUSED])
def test_refused_pools(sql: Sql, options: str, errno: int, reason: str) -> None:
    with pytest.raises(ProgrammingError) as refused:
        sql(f"CREATE COMPUTE POOL refused {options}")
    assert refused.value.errno == errno, reason


def test_what_does_not_fit_waits_and_says_why(sql: Sql) -> None:
    sql("CREATE COMPUTE POOL small MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_S")
    text = spec("tool:1", command=_SLEEP, extra=_resources("2"))
    sql(f"CREATE SERVICE fills IN COMPUTE POOL small FROM SPECIFICATION $${text}$$")
    sql.wait("fills", "RUNNING")
    sql(f"CREATE SERVICE waits IN COMPUTE POOL small FROM SPECIFICATION $${text}$$")
    until(lambda: "insufficient cpu" in (sql.one("SHOW SERVICE CONTAINERS IN SERVICE waits")["message"] or ""))
    row = sql.one("DESCRIBE COMPUTE POOL small")
    assert row["error_code"] == "392508"
    assert "reached the maximum node limit" in row["status_message"]
    assert (row["num_services"], row["state"]) == (2, "ACTIVE")
    sql("ALTER COMPUTE POOL small SET MAX_NODES = 2")
    sql.wait("waits", "RUNNING")
    assert _pool(sql, "small")["target_nodes"] == 2
    with pytest.raises(ProgrammingError) as full:
        sql("DROP COMPUTE POOL small")
    assert full.value.errno == 392511
    sql("ALTER COMPUTE POOL small STOP ALL")
    assert sql("SHOW SERVICES IN COMPUTE POOL small") == []
    sql("DROP COMPUTE POOL small")


def test_suspended_pool_wakes_for_a_service_unless_told_not_to(sql: Sql) -> None:
    sql("CREATE COMPUTE POOL sleepy MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_S INITIALLY_SUSPENDED = TRUE AUTO_RESUME = FALSE")
    text = spec("tool:1", command=_SLEEP)
    with pytest.raises(ProgrammingError) as refused:
        sql(f"CREATE SERVICE early IN COMPUTE POOL sleepy FROM SPECIFICATION $${text}$$")
    assert refused.value.errno == 392509
    sql("ALTER COMPUTE POOL sleepy SET AUTO_RESUME = TRUE")
    sql(f"CREATE SERVICE early IN COMPUTE POOL sleepy FROM SPECIFICATION $${text}$$")
    sql.wait("early", "RUNNING")
    sql("ALTER COMPUTE POOL sleepy SUSPEND")
    sql.wait("early", "SUSPENDED")
    until(lambda: _pool(sql, "sleepy")["state"] == "SUSPENDED")
    sql("ALTER COMPUTE POOL sleepy STOP ALL")
    sql("DROP COMPUTE POOL sleepy")


def test_idle_pool_suspends_itself(sql: Sql) -> None:
    sql("CREATE COMPUTE POOL idle MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_S AUTO_SUSPEND_SECS = 30")
    until(lambda: _pool(sql, "idle")["state"] == "SUSPENDED")
    sql("DROP COMPUTE POOL idle")


def _gpu(count: int) -> str:
    part = {"nvidia.com/gpu": count}
    return json.dumps({"container.resources": {"requests": part, "limits": part}})


@pytest.mark.parametrize(
    ("wants", "lacks"),
    [(_gpu(1), "nvidia.com/gpu"), (_resources("5"), "cpu"), (_resources("1", "20Gi"), "memory")],
    ids=["gpu", "cpu", "memory"],
)
def test_jobs_wait_for_what_a_service_holds(sql: Sql, wants: str, lacks: str) -> None:
    """One node with 6 CPUs, 28 GiB and one GPU, whose GPU, and most of the rest, a service holds."""
    held = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": 1}
    first = json.dumps({"container.resources": {"requests": held, "limits": held}})
    sql("CREATE COMPUTE POOL IF NOT EXISTS onegpu MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = GPU_NV_S")
    sql(f"CREATE SERVICE holder IN COMPUTE POOL onegpu FROM SPECIFICATION $${spec('tool:1', command=['sleep', '1000'], extra=first)}$$")
    sql.wait("holder", "RUNNING")
    text = spec("tool:1", command=["true"], extra=wants)
    sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL onegpu FROM SPECIFICATION $${text}$$ NAME = waiter ASYNC = TRUE")
    message = f"Unschedulable due to insufficient {lacks} resources."
    until(lambda: sql.one("SHOW SERVICE CONTAINERS IN SERVICE waiter")["message"] == message)
    assert sql.service("waiter")["status"] == "PENDING"
    sql("ALTER SERVICE holder SUSPEND")
    sql.wait("waiter", "DONE")
    for name in ("holder", "waiter"):
        sql(f"DROP SERVICE {name}")


def test_a_job_that_never_fits_is_refused(sql: Sql) -> None:
    sql("CREATE COMPUTE POOL IF NOT EXISTS onegpu MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = GPU_NV_S")
    text = spec("tool:1", command=["true"], extra=_gpu(2))
    with pytest.raises(ProgrammingError, match=r"requests 2 GPUs .*offers 1 GPUs, so it can never run in compute pool ONEGPU"):
        sql(f"EXECUTE JOB SERVICE IN COMPUTE POOL onegpu FROM SPECIFICATION $${text}$$ NAME = never ASYNC = TRUE")
