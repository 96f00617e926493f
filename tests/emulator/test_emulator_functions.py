"""Statements over service functions: who is sent how many rows, who waits for whom, and how they end."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from snowflake.connector.errors import Error

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from runtime_support import AccountProcess, Sql, spec, until

SERVER = """
import http.server, json, os, threading

COUNT = [0]
LOCK = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({})

    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"]
        if self.path == "/sent":
            return self.answer({"data": [[row[0], COUNT[0]] for row in rows]})
        with LOCK:
            COUNT[0] += len(rows)
        if self.path == "/never":
            threading.Event().wait()
        self.answer({"data": [[row[0], f"<{row[1]}>"] for row in rows]})

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("SNOWCAT_PORT", "8000"))), Handler).serve_forever()
"""
SETUP = (
    "CREATE WAREHOUSE wh",
    "CREATE DATABASE db",
    "CREATE SCHEMA db.s",
    "CREATE IMAGE REPOSITORY repo",
    "CREATE COMPUTE POOL pool MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_M",
    "CREATE TABLE t AS SELECT seq4() AS n, 100 - seq4() AS m FROM TABLE(GENERATOR(ROWCOUNT => 100))",
)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountProcess]:
    running = AccountProcess(tmp_path_factory.mktemp("functions") / "state")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def sql(process: AccountProcess) -> Iterator[Sql]:
    run = Sql(process.connect())
    for statement in SETUP:
        run(statement)
    process.push("db/s/repo", "server:1", {"app/serve.py": SERVER}, Entrypoint=["python", "serve.py"], WorkingDir="/app")
    api = {"endpoints": [{"name": "api", "port": 8000}], "container.readinessProbe": {"port": 8000, "path": "/"}}
    run(f"CREATE SERVICE service IN COMPUTE POOL pool FROM SPECIFICATION $${spec('server:1', extra=json.dumps(api))}$$")
    for name in ("f", "never", "sent"):
        returns = "NUMBER" if name == "sent" else "VARCHAR"
        run(f"CREATE FUNCTION {name}(v VARCHAR) RETURNS {returns} SERVICE = service ENDPOINT = api AS '/{name}'")
    run.wait("service", "RUNNING")
    yield run
    run.connection.close()


LIMITED: list[tuple[str, list[Any], int, str]] = [
    ("SELECT f(n) FROM t LIMIT 2", [("<0>",), ("<1>",)], 2, "the first rows only"),
    ("SELECT f(n) FROM t ORDER BY m LIMIT 2", [("<99>",), ("<98>",)], 2, "sorted by a column that is not shown"),
    ("SELECT n AS k, f(n) AS a, m FROM t ORDER BY k DESC LIMIT 1 OFFSET 1", [(98, "<98>", 2)], 1, "sorted by an alias, with an offset"),
    ("SELECT TOP 1 m + 1, f(m + n) || f('x') FROM t ORDER BY 1", [(2, "<100><x>")], 2, "sorted by a position, two calls"),
    ("SELECT *, f(t.n) AS a FROM t WHERE n > 5 ORDER BY n LIMIT 1", [(6, 94, "<6>")], 1, "beside a star"),
    ("WITH q AS (SELECT n FROM t) SELECT f(q.n) FROM q ORDER BY q.n DESC LIMIT 1", [("<99>",)], 1, "over a WITH query"),
    ("SELECT f(a.n) FROM t a JOIN t b ON a.n = b.m ORDER BY b.n LIMIT 1", [("<99>",)], 1, "over a join"),
    ("SELECT f(n) FROM (SELECT n FROM t LIMIT 3) LIMIT 2", [("<0>",), ("<1>",)], 2, "over a limited subquery"),
    ("SELECT n, f(n) AS a FROM t ORDER BY a LIMIT 1", [(0, "<0>")], 100, "sorted by the answer: all rows are asked"),
    ("SELECT DISTINCT LEFT(f(n), 2) AS a FROM t ORDER BY 1 LIMIT 1", [("<0",)], 100, "distinct answers: all rows are asked"),
    ("SELECT MAX(f(n)) FROM t LIMIT 1", [("<9>",)], 100, "an aggregate: all rows are asked"),
]


@pytest.mark.parametrize(("statement", "answer", "calls", "reason"), LIMITED, ids=[row[3] for row in LIMITED])
def test_only_rows_that_are_shown_are_sent(sql: Sql, statement: str, answer: list[Any], calls: int, reason: str) -> None:
    before = sql.value("SELECT sent('')")
    assert sql.connection.cursor().execute(statement).fetchall() == answer
    assert sql.value("SELECT sent('')") - before == calls, reason


def _start(sql: Sql) -> Any:
    """A statement that never ends by itself, when its rows have arrived at the service."""
    before = sql.value("SELECT sent('')")
    cursor = sql.connection.cursor()
    cursor.execute_async("SELECT never(n) FROM t")
    until(lambda: sql.value("SELECT sent('')") > before)
    return cursor


def test_others_go_on_while_a_service_works_and_an_abort_ends_it(sql: Sql, process: AccountProcess) -> None:
    waiting = _start(sql)
    other = Sql(process.connect(database="DB", schema="S", warehouse="WH"))
    assert len(other("SHOW SERVICES")) == 1
    assert other.value("SELECT COUNT(*) FROM t") == 100
    other("CREATE TABLE u AS SELECT f(n) AS a FROM t LIMIT 1")
    other("UPDATE t SET m = m WHERE n = 1")
    other("DROP TABLE u")
    assert sql.connection.is_still_running(sql.connection.get_query_status(waiting.sfqid))
    waiting.abort_query(waiting.sfqid)
    until(lambda: not sql.connection.is_still_running(sql.connection.get_query_status(waiting.sfqid)))
    with pytest.raises(Error, match="canceled"):
        sql.connection.get_query_status_throw_if_error(waiting.sfqid)
    other.connection.close()


def test_a_timeout_of_the_driver_ends_the_statement(sql: Sql) -> None:
    with pytest.raises(Error) as caught:
        sql.connection.cursor().execute("SELECT never(n) FROM t", timeout=1)
    assert caught.value.errno == 604
    assert _running(sql) == []


def test_a_closed_session_ends_its_statements(sql: Sql, process: AccountProcess) -> None:
    other = Sql(process.connect(database="DB", schema="S", warehouse="WH"))
    _start(other)
    other.connection._all_async_queries_finished = lambda: True  # the driver keeps a session open while something runs in it
    other.connection.close()
    until(lambda: _running(sql) == [])


def test_a_statement_whose_client_is_gone_is_aborted_on_demand(sql: Sql, process: AccountProcess) -> None:
    info = process.info
    base = f"http://{process.host}"
    data = {"LOGIN_NAME": info["user"], "PASSWORD": info["password"], "SESSION_PARAMETERS": {"ABORT_DETACHED_QUERY": True}}
    path = "/session/v1/login-request?databaseName=DB&schemaName=S&warehouse=WH&roleName=ACCOUNTADMIN"
    token = httpx.post(base + path, json={"data": data}).json()["data"]["token"]
    header = {"Authorization": f'Snowflake Token="{token}"'}
    with pytest.raises(httpx.ReadTimeout):
        body = {"sqlText": "SELECT never(n) FROM t"}
        httpx.post(f"{base}/queries/v1/query-request?requestId={uuid.uuid4()}", json=body, headers=header, timeout=0.5)
    until(lambda: _running(sql) == [])


def _running(sql: Sql) -> list[Any]:
    history = "SELECT query_text FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY()) WHERE execution_status = 'RUNNING'"
    return [row for row in sql(history) if "never" in row["QUERY_TEXT"] and "HISTORY" not in row["QUERY_TEXT"]]


def test_a_clean_stop_waits_for_no_statement(sql: Sql, process: AccountProcess) -> None:
    _start(sql)
    process.stop()
    process.start()
    again = Sql(process.connect(database="DB", schema="S", warehouse="WH"))
    assert _running(again) == []
    assert again.value("SELECT f('x')") == "<x>"
    again.connection.close()
