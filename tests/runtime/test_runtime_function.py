"""Service functions: batches over HTTP from SQL, with retries, failures and types as Snowflake has them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from runtime_support import Sql, spec
from snowflake.connector import ProgrammingError

_API = json.dumps(
    {
        "endpoints": [{"name": "api", "port": 8000}],
        "container.readinessProbe": {"port": 8000, "path": "/healthz"},
    }
)


@pytest.fixture(scope="module")
def served(sql: Sql) -> Iterator[Sql]:
    sql("USE WAREHOUSE wh")
    sql(f"CREATE SERVICE functions IN COMPUTE POOL pool FROM SPECIFICATION $${spec('server:1', extra=_API)}$$")
    sql("CREATE TABLE numbers (n NUMBER)")
    sql("INSERT INTO numbers VALUES (1), (2), (3), (4), (5)")
    yield sql
    sql("DROP SERVICE functions")


def _function(sql: Sql, signature: str, path: str, options: str = "") -> None:
    sql(f"CREATE OR REPLACE FUNCTION {signature} SERVICE = functions ENDPOINT = api {options} AS '{path}'")


def test_call_waits_for_the_service_and_answers(served: Sql) -> None:
    _function(served, "hello(who VARCHAR) RETURNS VARCHAR", "/text")
    assert served.value("SELECT hello('world')") == "<world>"
    assert served.value("SELECT db.s.hello('x') || '!'") == "<x>!"


def test_rows_go_in_batches(served: Sql) -> None:
    _function(served, "batch(n NUMBER) RETURNS NUMBER", "/count", "MAX_BATCH_ROWS = 2")
    sizes = [row["B"] for row in served("SELECT batch(n) AS b FROM numbers")]
    assert sorted(sizes) == [1, 2, 2, 2, 2]


_TYPES = [
    ("VARCHAR", "'tëxt'", "tëxt"),
    ("NUMBER", "42", 42),
    ("FLOAT", "1.5::FLOAT", 1.5),
    ("BOOLEAN", "TRUE", True),
    ("VARCHAR", "NULL", None),
]


@pytest.mark.parametrize(("kind", "literal", "expected"), _TYPES, ids=[f"{row[0]}-{row[1]}" for row in _TYPES])
def test_values_come_back_as_their_type(served: Sql, kind: str, literal: str, expected: object) -> None:
    _function(served, f"echo(v {kind}) RETURNS {kind}", "/echo")
    assert served.value(f"SELECT echo({literal})") == expected


def test_objects_and_arrays(served: Sql) -> None:
    _function(served, "echo_object(v OBJECT) RETURNS OBJECT", "/echo")
    assert json.loads(served.value("SELECT echo_object(OBJECT_CONSTRUCT('a', 1))")) == {"a": 1}
    assert served.value("SELECT echo_object(OBJECT_CONSTRUCT('a', 'x')):a::VARCHAR") == "x"


def test_headers_of_the_request(served: Sql) -> None:
    _function(served, "headers(v VARCHAR) RETURNS VARIANT", "/headers", "CONTEXT_HEADERS = (current_user)")
    headers = json.loads(served.value("SELECT headers('x')"))
    assert headers["sf-external-function-format"] == "json"
    assert headers["sf-external-function-format-version"] == "1.0"
    assert headers["sf-external-function-name"] == "HEADERS"
    assert headers["sf-external-function-signature"] == "(V VARCHAR)"
    assert headers["sf-external-function-return-type"] == "VARIANT"
    assert headers["sf-context-current-user"] == "ADMIN"
    assert headers["sf-external-function-query-batch-id"]


def test_later_is_asked_again_and_a_wrong_request_is_not(served: Sql) -> None:
    _function(served, "flaky(v VARCHAR) RETURNS VARCHAR", "/flaky")
    assert [served.value("SELECT flaky('x')") for _ in range(2)] == ["<x>", "<x>"]
    _function(served, "broken(v VARCHAR) RETURNS VARCHAR", "/broken")
    with pytest.raises(ProgrammingError) as failed:
        served("SELECT broken('x')")
    assert "HTTP status 400" in str(failed.value.msg)
    served("ALTER FUNCTION broken(VARCHAR) SET ON_BATCH_FAILURE = RETURN_NULL")
    assert served.value("SELECT broken('x')") is None


def test_call_wakes_a_suspended_service(served: Sql) -> None:
    _function(served, "hello(who VARCHAR) RETURNS VARCHAR", "/text")
    served("ALTER SERVICE functions SUSPEND")
    served.wait("functions", "SUSPENDED")
    assert served.value("SELECT hello('again')") == "<again>"
    assert served.service("functions")["status"] == "RUNNING"


def test_shown_described_and_dropped(served: Sql) -> None:
    _function(served, "shown(a VARCHAR(10), b INT) RETURNS VARCHAR", "/text", "MAX_BATCH_ROWS = 7 COMMENT = 'mine'")
    row = served.one("SHOW USER FUNCTIONS LIKE 'shown' IN SCHEMA db.s")
    assert (row["arguments"], row["description"], row["language"]) == ("SHOWN(VARCHAR, NUMBER) RETURN VARCHAR", "mine", "EXTERNAL")
    described = {r["property"]: r["value"] for r in served("DESCRIBE FUNCTION shown(VARCHAR, NUMBER)")}
    assert (described["service"], described["endpoint"], described["body"]) == ("DB.S.FUNCTIONS", "api", "/text")
    assert described["max_batch_rows"] == "7"
    served("DROP FUNCTION shown(VARCHAR, INT)")
    assert served("SHOW FUNCTIONS LIKE 'shown' IN SCHEMA db.s") == []


def test_functions_need_an_endpoint_that_exists(served: Sql) -> None:
    cases = [
        ("SERVICE = functions ENDPOINT = other AS '/x'", 2003, "no such endpoint"),
        ("SERVICE = nothing ENDPOINT = api AS '/x'", 2003, "no such service"),
        ("SERVICE = functions AS '/x'", 2029, "no endpoint"),
        ("SERVICE = functions ENDPOINT = api MAX_BATCH_ROWS = 0 AS '/x'", 1422, "batch size"),
    ]
    for clause, errno, reason in cases:
        with pytest.raises(ProgrammingError) as refused:
            served(f"CREATE FUNCTION wrong(v VARCHAR) RETURNS VARCHAR {clause}")
        assert refused.value.errno == errno, reason


def test_sql_function(served: Sql) -> None:
    served("CREATE OR REPLACE FUNCTION twice(n NUMBER) RETURNS NUMBER AS 'n * 2'")
    assert served.value("SELECT twice(21)") == 42
