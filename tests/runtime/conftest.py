"""One account per test session and isolation mode, with a pool, a repository and two images in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from runtime_support import SERVER, AccountProcess, Sql


def prepare(account: AccountProcess) -> Sql:
    sql = Sql(account.connect())
    sql("CREATE WAREHOUSE wh")
    sql("CREATE DATABASE db")
    sql("CREATE SCHEMA db.s")
    sql("CREATE STAGE st")
    sql("CREATE IMAGE REPOSITORY repo")
    sql("CREATE COMPUTE POOL pool MIN_NODES = 1 MAX_NODES = 4 INSTANCE_FAMILY = CPU_X64_M")
    account.push(
        "db/s/repo",
        "server:1",
        {"app/serve.py": SERVER},
        Entrypoint=["python", "serve.py"],
        WorkingDir="/app",
        Env=["VERSION=image", "PYTHONPATH=/app"],
    )
    account.push("db/s/repo", "tool:1", {"app/readme.txt": "tool"}, Cmd=["python", "-c", "print('default command')"], WorkingDir="/app")
    return sql


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountProcess]:
    process = AccountProcess(tmp_path_factory.mktemp("account"))
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def sql(account: AccountProcess) -> Iterator[Sql]:
    prepared = prepare(account)
    yield prepared
    prepared.connection.close()
