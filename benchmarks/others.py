"""The same plan by others: snowcap and SnowDDL, each from an environment of its own, against the same account with the same latency.

What is planned is what all know: databases, schemas and warehouses, none of which is there yet (compute pools only where a tool has them).
Neither tool takes a host, a port or a protocol among its options, so a `sitecustomize.py` in front of them adds the three to every login;
nothing else is touched. Where a tool stops, its exit code and last words stand in the results.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from account import CONNECTION, ROOT, Account

from controller.account.connections import local_connection
from controller.account.session import open_session

TOOLS = {"snowcap": "1.0.33", "snowddl": "0.70.1"}
CACHE = ROOT / ".cache"
TIMEOUT = 600.0  # seconds for one plan
_ROLE = "cmp_worker"
_LAST_WORDS = 400  # characters
_LOGIN = """\
import os, functools, snowflake.connector.connection as c
old = c.SnowflakeConnection.__init__
more = {"host": os.environ["BENCH_HOST"], "port": int(os.environ["BENCH_PORT"]), "protocol": "http"}
c.SnowflakeConnection.__init__ = functools.wraps(old)(lambda self, *a, **k: old(self, *a, **{**k, **more}))
"""


@dataclass(frozen=True)
class Small:
    """So many databases, schemas and warehouses, and pools for those that have them."""

    size: int

    @property
    def databases(self) -> list[str]:
        return [f"cmp_db_{n}" for n in range(max(1, self.size // 100))]

    @property
    def schemas(self) -> list[tuple[str, str]]:
        return [(self.databases[n % len(self.databases)], f"s_{n}") for n in range(int(self.size * 0.4))]

    @property
    def warehouses(self) -> list[str]:
        return [f"cmp_wh_{n}" for n in range(self.size - len(self.databases) - len(self.schemas))]


def install() -> None:
    """Each tool, at its pinned version, into an environment of its own."""
    for tool, version in TOOLS.items():
        folder = CACHE / tool
        if not (folder / "bin" / tool).exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", f"{tool}=={version}"], check=True)


def compare(account: Account, home: Path, latency: float, sizes: Sequence[int]) -> dict[str, Any]:
    """Seconds and statements of each tool's plan at each size; an account that has nothing of it."""
    install()
    _make_role(account)
    account.latency(latency)
    home.mkdir(parents=True, exist_ok=True)
    (home / "sitecustomize.py").write_text(_LOGIN)
    results: dict[str, Any] = {"tools": TOOLS, "sizes": {}}
    for size in sizes:
        small, folder = Small(size), home / str(size)
        found = {
            "snowcat": _timed(account, _snowcat(small, folder), home, snowcat=True),
            "snowcap": _timed(account, _snowcap(small, folder), home),
            "snowddl": _timed(account, _snowddl(small, folder, account), home),
        }
        for name, figures in found.items():
            print(f"  {size} objects, {name}: {figures}", file=sys.stderr)
        results["sizes"][str(size)] = found
    return results


def _make_role(account: Account) -> None:
    """The role that our project works as: what an administrator does once."""
    session = open_session(local_connection(account.details), role="ACCOUNTADMIN")
    for statement in (f"CREATE ROLE IF NOT EXISTS {_ROLE}", f"GRANT ROLE {_ROLE} TO USER {account.details['user']}"):
        session.execute(statement)
    session.close()


def _timed(account: Account, command: list[str], home: Path, *, snowcat: bool = False) -> dict[str, Any]:
    details = account.details
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("SNOWFLAKE_", "SNOWCAT_", "PYTHONPATH"))},
        "PYTHONPATH": str(ROOT if snowcat else home),
        "SNOWFLAKE_HOME": str(home / "snowflake"),
        "XDG_STATE_HOME": str(home / "state"),
        "BENCH_HOST": details["host"],
        "BENCH_PORT": str(details["port"]),
        "SNOWFLAKE_ACCOUNT": details["account"],
        "SNOWFLAKE_USER": details["user"],
        "SNOWFLAKE_PASSWORD": details["password"],
        "SNOWFLAKE_ROLE": "ACCOUNTADMIN",
    }
    before, started = account.last(), time.perf_counter()
    try:
        done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=TIMEOUT)
        code, said = done.returncode, (done.stderr or done.stdout)
    except subprocess.TimeoutExpired:
        code, said = -1, f"not done within {TIMEOUT:g} seconds"
    seconds, sent = time.perf_counter() - started, len(account.sent(before))
    figures: dict[str, Any] = {"seconds": round(seconds, 1), "statements": sent, "exitCode": code}
    if code:
        figures["stoppedWith"] = said.strip().replace(details["password"], "********")[-_LAST_WORDS:]
    return figures


# ---- the same project for each -----------------------------------------------------------------------------------------------------------


def _snowcat(small: Small, folder: Path) -> list[str]:
    target = folder / "snowcat"
    target.mkdir(parents=True)
    head = {"apiVersion": "snowcat/v1"}
    (target / "snowcat.yaml").write_text(json.dumps({**head, "kind": "Project", "project": "cmp", "role": _ROLE}))
    documents = [{**head, "kind": "Database", "metadata": {"name": name}} for name in small.databases]
    documents += [{**head, "kind": "Schema", "metadata": {"name": name, "database": db}} for db, name in small.schemas]
    documents += [{**head, "kind": "Warehouse", "metadata": {"name": name}, "spec": {"autoSuspend": 60}} for name in small.warehouses]
    (target / "objects.yaml").write_text("\n---\n".join(json.dumps(document) for document in documents))
    return [sys.executable, "-m", "controller.cli.main", "plan", str(target), "-c", CONNECTION]


def _snowcap(small: Small, folder: Path) -> list[str]:
    target = folder / "snowcap"
    target.mkdir(parents=True)
    config = {
        "databases": [{"name": name} for name in small.databases],
        "schemas": [{"name": name, "database": db} for db, name in small.schemas],
        "warehouses": [{"name": name, "warehouse_size": "XSMALL", "auto_suspend": 60} for name in small.warehouses],
    }
    (target / "config.yml").write_text(json.dumps(config))
    return [str(CACHE / "snowcap" / "bin" / "snowcap"), "plan", "--config", str(target / "config.yml")]


def _snowddl(small: Small, folder: Path, account: Account) -> list[str]:
    target = folder / "snowddl"
    for db in small.databases:
        (target / db).mkdir(parents=True)
        (target / db / "params.yaml").write_text("{}\n")
    for db, name in small.schemas:
        (target / db / name).mkdir()
        (target / db / name / "params.yaml").write_text("{}\n")
    warehouses = {name: {"size": "XSMALL", "auto_suspend": 60} for name in small.warehouses}
    (target / "warehouse.yaml").write_text(json.dumps(warehouses))
    tool = [str(CACHE / "snowddl" / "bin" / "snowddl"), "-c", str(target), "-a", str(account.details["account"])]
    only = ["--include-object-types", "warehouse,database,schema"]  # else it lists users, roles and grants of the whole account too
    return [*tool, "-u", str(account.details["user"]), "-r", "ACCOUNTADMIN", *only, "plan"]
