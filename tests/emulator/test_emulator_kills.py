"""Kills at random moments: what was acknowledged is there afterwards, what was not is there whole or not at all."""

from __future__ import annotations

import copy
import random
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from runtime_support import AccountProcess

ROUNDS = 5
SEED = 20261122


class Client:
    """A client without the driver's retries, which would run a statement again after the restart. Keeps what should be there."""

    def __init__(self, process: AccountProcess, name: str, seed: int) -> None:
        self.process, self.name = process, name
        self.random = random.Random(seed)
        self.count = 0
        self.tables: dict[str, tuple[list[str], list[Any]]] = {}
        self.files: set[str] = set()
        self.attempted: tuple[Any, Any] = ({}, set())
        self.log_in()
        self.run(f"CREATE SCHEMA db.{name}")
        self.run(f"USE SCHEMA db.{name}")
        self.run("CREATE STAGE s")

    def log_in(self) -> None:
        info = self.process.info
        self.http = httpx.Client(base_url=f"http://{self.process.host}", timeout=60, trust_env=False)
        data = {"data": {"LOGIN_NAME": info["user"], "PASSWORD": info["password"]}}
        path = "/session/v1/login-request?roleName=ACCOUNTADMIN&warehouse=WH&databaseName=DB"
        answer = self.http.post(f"{path}&schemaName={self.name}", json=data).json()
        self.header = {"Authorization": f'Snowflake Token="{answer["data"]["token"]}"'}

    def run(self, statement: str) -> dict[str, Any]:
        path = f"/queries/v1/query-request?requestId={uuid.uuid4()}"
        body = {"sqlText": statement, "parameters": {"QUERY_RESULT_FORMAT": "json"}}
        answer: dict[str, Any] = self.http.post(path, json=body, headers=self.header).json()
        assert answer["success"], (statement, answer["message"])
        found: dict[str, Any] = answer["data"]
        return found

    def step(self) -> None:
        """One random change: first noted as attempted, then sent, then noted as done."""
        self.count += 1
        number = self.count
        tables, files = copy.deepcopy(self.tables), set(self.files)
        known = sorted(set(tables) - {"COPIED"})
        chosen = self.random.choice(known) if known else ""
        kind = self.random.choice(["make", "replace", "insert", "delete", "rename", "add", "column", "drop", "put", "copy", "swap"])
        if kind in ("insert", "delete", "rename", "add", "column", "drop") and not chosen:
            kind = "make"
        if kind == "swap" and len(known) < 2:
            kind = "make"
        statements: list[str] = []
        if kind == "make":
            tables[f"T{number}"] = (["A"], [[number] for _ in range(3)])
            statements = [f"CREATE TABLE t{number} AS SELECT {number} AS a FROM TABLE(GENERATOR(ROWCOUNT => 3))"]
        elif kind == "replace":
            tables["R"] = (["A"], [[number]])
            statements = [f"CREATE OR REPLACE TABLE r AS SELECT {number} AS a"]
        elif kind == "insert":
            columns, values = tables[chosen]
            values.append([number] + [None] * (len(columns) - 1))
            statements = [f'INSERT INTO "{chosen}" ("{columns[0]}") VALUES ({number})']
        elif kind == "delete":
            tables[chosen][1].clear()
            statements = [f'DELETE FROM "{chosen}"']
        elif kind == "rename":
            tables[f"N{number}"] = tables.pop(chosen)
            statements = [f'ALTER TABLE "{chosen}" RENAME TO n{number}']
        elif kind == "add":
            columns, values = tables[chosen]
            columns.append(f"C{number}")
            for value in values:
                value.append(None)
            statements = [f'ALTER TABLE "{chosen}" ADD COLUMN c{number} INT']
        elif kind == "column":
            columns = tables[chosen][0]
            old, columns[0] = columns[0], f"B{number}"
            statements = [f'ALTER TABLE "{chosen}" RENAME COLUMN "{old}" TO b{number}']
        elif kind == "drop":
            tables.pop(chosen)
            statements = [f'DROP TABLE "{chosen}"']
        elif kind == "swap":
            other = next(name for name in known if name != chosen)
            tables[chosen], tables[other] = tables[other], tables[chosen]
            statements = [f'ALTER TABLE "{chosen}" SWAP WITH "{other}"']
        elif kind == "copy":
            if "COPIED" not in tables:
                tables["COPIED"] = (["A"], [])
                statements = ["CREATE TABLE copied (a INT)"]
            elif files:
                seen = {row[0] for row in tables["COPIED"][1]}
                tables["COPIED"][1].extend([int(name[1:-4])] for name in sorted(files) if int(name[1:-4]) not in seen)
                statements = ["COPY INTO copied (a) FROM @s FILE_FORMAT = (TYPE = CSV)"]
        elif kind == "put":
            files.add(f"f{number}.csv")
        self.attempted = (tables, files)
        for statement in statements:
            self.run(statement)
        if kind == "put":
            address = self.run(f"PUT file:///tmp/f{number}.csv @s AUTO_COMPRESS = FALSE")["stageInfo"]["presignedUrl"]
            self.http.put(address, content=f"{number}\n".encode()).raise_for_status()
        self.tables, self.files = tables, files

    def actual(self) -> tuple[dict[str, Any], set[str]]:
        """What the account has in this client's schema."""
        connection = self.process.connect(database="DB", schema=self.name, warehouse="WH")
        cursor = connection.cursor()
        found = {}
        for row in cursor.execute(f"SHOW TABLES IN SCHEMA db.{self.name}").fetchall():
            cursor.execute(f'SELECT * FROM "{row[1]}"')
            columns = [column.name for column in cursor.description]
            values = [list(value) for value in cursor.fetchall()]
            described = [line[0] for line in cursor.execute(f'DESCRIBE TABLE "{row[1]}"').fetchall()]
            assert described == columns, "the catalogue and the rows agree on the columns"
            found[row[1]] = (columns, values)
        files = {row[0].removeprefix("s/") for row in cursor.execute("LIST @s").fetchall()}
        connection.close()
        return found, files


@pytest.fixture
def process(tmp_path: Path) -> Iterator[AccountProcess]:
    running = AccountProcess(tmp_path / "state")
    running.start()
    yield running
    running.stop()


def _plain(state: tuple[dict[str, Any], set[str]]) -> tuple[Any, Any]:
    """Comparable: rows in no order."""
    return {name: (columns, sorted(rows, key=repr)) for name, (columns, rows) in state[0].items()}, state[1]


def test_random_kills(process: AccountProcess, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    admin = process.connect()
    for statement in ("CREATE WAREHOUSE wh", "CREATE DATABASE db"):
        admin.cursor().execute(statement)
    admin.close()
    clients = [Client(process, f"S{i}", SEED + i) for i in (1, 2)]
    for _ in range(ROUNDS):
        _work_until_killed(process, clients, chance)
        process.start()
        for client in clients:
            client.log_in()
            found = _plain(client.actual())
            done, attempted = _plain((client.tables, client.files)), _plain(client.attempted)
            assert found in (done, attempted), f"neither before nor after the statement that the kill met, seed {SEED}"
            if found == attempted:
                client.tables, client.files = client.attempted
    _nothing_is_left_over(process, tmp_path / "state", clients)


def _work_until_killed(process: AccountProcess, clients: list[Client], chance: random.Random) -> None:
    goal = sum(client.count for client in clients) + chance.randint(10, 60)
    failures: list[BaseException] = []

    def work(client: Client) -> None:
        try:
            while True:
                client.step()
        except httpx.HTTPError:
            return  # the account was killed
        except Exception as error:  # noqa: BLE001 - told by the test itself, not lost in a thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    while sum(client.count for client in clients) < goal and not failures:
        time.sleep(0.001)
    time.sleep(chance.random() * 0.02)
    process.kill()
    for thread in threads:
        thread.join()
    assert failures == []


def _nothing_is_left_over(process: AccountProcess, state: Path, clients: list[Client]) -> None:
    process.stop()
    with duckdb.connect(str(state / "tables.duckdb"), read_only=True) as rows:
        stored = rows.execute("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'stored'").fetchone()
    assert stored == (sum(len(client.tables) for client in clients),), "no table without an entry"
    incoming = list((state / "stages").rglob(".incoming-*"))
    assert incoming == [], "no half upload"
