"""What a person sees when the account is the problem: an exit code, a message that says what and where, no traceback, nothing lost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded_account import ROOT, RunningAccount, run_account

PROJECT = (
    "apiVersion: snowcat/v1\nkind: Project\nproject: shop\nrole: ROLE\nhome: null\nwarehouse: WAREHOUSE\nexisting: [Schema/shop_db.s]\n"
)
POOL = "apiVersion: snowcat/v1\nkind: ComputePool\nmetadata: {name: shop_pool}\nspec: {instanceFamily: CPU_X64_XS}\n"
STAGE = "apiVersion: snowcat/v1\nkind: Stage\nmetadata: {name: files, schema: shop_db.s}\nspec: {files: [{from: big.txt}]}\n"  # 20 kB
DATASET = "apiVersion: snowcat/v1\nkind: Dataset\nmetadata: {name: rows, schema: shop_db.s}\nspec: {file: rows.csv}\n"


@pytest.fixture(scope="module")
def small_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    """An account whose stages hold 10 kB, with a role that may do everything and one that may do nothing."""
    for running in run_account(tmp_path_factory.mktemp("account") / "state", "--time-scale", "0.01", "--stage-quota", "10000"):
        with running.connect(role="ACCOUNTADMIN") as connection:
            for statement in (
                "CREATE DATABASE shop_db", "CREATE SCHEMA shop_db.s", "CREATE ROLE worker", "CREATE ROLE guest",
                "GRANT ROLE worker TO USER admin", "GRANT ROLE guest TO USER admin",
                "GRANT CREATE COMPUTE POOL ON ACCOUNT TO ROLE worker", "GRANT CREATE WAREHOUSE ON ACCOUNT TO ROLE worker",
                "GRANT OWNERSHIP ON DATABASE shop_db TO ROLE worker", "GRANT OWNERSHIP ON SCHEMA shop_db.s TO ROLE worker",
                "CREATE WAREHOUSE tired_wh AUTO_RESUME = FALSE INITIALLY_SUSPENDED = TRUE",
                "GRANT USAGE ON WAREHOUSE tired_wh TO ROLE worker",
            ):  # fmt: skip
                connection.cursor().execute(statement)
        yield running


class Shop:
    """A small project in a folder, and the command run on it."""

    def __init__(
        self, folder: Path, connection: dict[str, Any], manifest: str, *, role: str = "worker", warehouse: str = "nobodys_wh"
    ) -> None:
        self.folder = folder
        (folder / "snowcat.yaml").write_text(PROJECT.replace("ROLE", role).replace("WAREHOUSE", warehouse))
        (folder / "object.yaml").write_text(manifest)
        (folder / "big.txt").write_text("x" * 20_000)
        (folder / "rows.csv").write_text("a,b\n1,2\n3,4\n")
        home = folder / "home"
        home.mkdir()
        (home / "connections.toml").write_text(
            "\n".join(["[test]", *(f"{key} = {json.dumps(value)}" for key, value in connection.items())])
        )
        (home / "connections.toml").chmod(0o600)

    def snowcat(self, *words: str) -> subprocess.CompletedProcess[str]:
        home = str(self.folder / "home")
        return subprocess.run(
            [sys.executable, "-m", "controller.cli.main", *words],
            cwd=ROOT,
            env={**os.environ, "SNOWFLAKE_HOME": home, "XDG_STATE_HOME": home, "NO_COLOR": "1", "COLUMNS": "300"},
            capture_output=True,
            text=True,
            timeout=200,
        )

    def told(self, *words: str, code: int) -> str:
        """All that a command prints; it must end with this code, and never with a traceback."""
        done = self.snowcat(*words)
        text = done.stdout + done.stderr
        assert done.returncode == code, text
        assert "Traceback" not in text and "This is a fault of snowcat" not in text, text
        return text


def login(account: RunningAccount, **other: Any) -> dict[str, Any]:
    return {**{key: account.details[key] for key in ("host", "port", "protocol", "account", "user", "password")}, **other}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_account_unreachable(tmp_path: Path) -> None:
    port = closed_port()
    nowhere = {"host": "127.0.0.1", "port": port, "protocol": "http", "account": "nowhere", "user": "me", "password": "hunter2hunter2"}
    text = Shop(tmp_path, nowhere, POOL).told("plan", "-c", "test", str(tmp_path), code=1)
    assert f"127.0.0.1:{port} did not answer" in text
    assert "hunter2" not in text


def test_wrong_password(small_account: RunningAccount, tmp_path: Path) -> None:
    shop = Shop(tmp_path, login(small_account, password="hunter2hunter2"), POOL)
    text = shop.told("plan", "-c", "test", str(tmp_path), code=1)
    assert "refused the login" in text and "'ADMIN'" in text and "password" in text
    assert "hunter2" not in text


def test_missing_privilege(small_account: RunningAccount, tmp_path: Path) -> None:
    shop = Shop(tmp_path, login(small_account), POOL, role="guest")
    text = shop.told("apply", "-c", "test", "--timeout", "60", str(tmp_path), code=1)
    assert "ComputePool/shop_pool" in text
    assert "CREATE COMPUTE POOL" in text or "Insufficient privileges" in text
    assert "'snowcat bootstrap' prints what an administrator must grant" in text
    told = shop.told("why", "ComputePool/shop_pool", "-c", "test", str(tmp_path), code=0).splitlines()
    (advice,) = (line for line in told if line.startswith("What to do:"))
    assert "'snowcat bootstrap'" in advice and "'snowcat reconcile ComputePool/shop_pool'" in advice


def test_what_stood_in_a_file_that_is_broken_now_is_not_made(small_account: RunningAccount, tmp_path: Path) -> None:
    """Its creation had failed, and its manifest was taken out of the file since."""
    where = ("-c", "test", str(tmp_path))
    shop = Shop(tmp_path, login(small_account), POOL.replace("shop_pool", "late_pool"), role="guest")
    shop.told("apply", *where, code=1)
    (tmp_path / "snowcat.yaml").write_text((tmp_path / "snowcat.yaml").read_text().replace("guest", "worker"))
    assert "create   ComputePool/late_pool" in shop.told("plan", *where, code=0), "the other role may"
    (tmp_path / "object.yaml").write_text("x: [\n")
    for command in ("plan", "apply"):
        text = shop.told(command, *where, code=2)
        assert "object.yaml:2 is wrong; ComputePool/late_pool stood in that file before, and is not made until the file is mended" in text
        assert text.count("object.yaml: until it is mended its last good text of ") == 1
    assert text.splitlines()[-1] == "0 ready; 1 problem in files, none of its objects is made or dropped"
    with small_account.connect(role="ACCOUNTADMIN") as connection:
        assert connection.cursor().execute("SHOW COMPUTE POOLS LIKE 'late_pool'").fetchall() == []


@pytest.mark.parametrize(
    ("warehouse", "says"),
    [("nobodys_wh", "nobodys_wh"), ("tired_wh", "tired_wh")],
    ids=["warehouse missing", "warehouse suspended for good"],
)
def test_no_warehouse_to_load_with(small_account: RunningAccount, tmp_path: Path, warehouse: str, says: str) -> None:
    shop = Shop(tmp_path, login(small_account), DATASET, warehouse=warehouse)
    text = shop.told("apply", "-c", "test", "--timeout", "60", str(tmp_path), code=1)
    assert "Dataset/rows" in text
    assert says in text.lower()


def test_stage_full(small_account: RunningAccount, tmp_path: Path) -> None:
    shop = Shop(tmp_path, login(small_account), STAGE)
    text = shop.told("apply", "-c", "test", "--timeout", "60", str(tmp_path), code=1)
    assert "Stage/files" in text and "big.txt" in text


def test_port_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        shop = Shop(tmp_path, {}, POOL)
        text = shop.told("local", "start", "--state", str(tmp_path / "state"), "--port", str(port), code=1)
    assert str(port) in text and "--port" in text
