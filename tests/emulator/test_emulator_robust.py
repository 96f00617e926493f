"""Whatever comes in: the lexer and parser raise SqlError only, the routes never answer 5xx, memory is bounded."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
from embedded_account import RunningAccount
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator import errors
from emulator.results import ResultSet
from emulator.session import Session
from emulator.sql.bind import substitute
from emulator.sql.lexer import split_statements, tokenize
from emulator.sql.parser import Cursor
from emulator.wire import statements as statements_module
from emulator.wire.statements import Statement, Statements

_PIECES = [
    *"'\"$@%~().,;:=?!*/-+<>[]{}\\ \n\t",
    *("$$", "--", "//", "/*", "*/", "::", "=>", "->>", "''", '""', "\\u12", "file://", "é", "\u2028", "\0"),
    *("SELECT", "FROM", "CREATE", "OR", "REPLACE", "TABLE", "STAGE", "SERVICE", "COMPUTE", "POOL", "SHOW", "LIKE", "IN", "IDENTIFIER"),
    *("DROP", "ALTER", "SET", "GRANT", "ON", "TO", "ROLE", "COPY", "INTO", "PUT", "x", "1", "1.5e3", "NULL", "FLATTEN", "LATERAL", "LIMIT"),
]
_SOME = st.lists(st.sampled_from(_PIECES), max_size=20)
TEXTS = st.one_of(st.text(max_size=60), _SOME.map("".join), _SOME.map(" ".join))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
_LIGHT = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@given(TEXTS)
@_LIGHT
def test_the_lexer_refuses_politely(text: str) -> None:
    for read in (tokenize, split_statements, lambda t: substitute(t, {"1": {"type": "TEXT", "value": "'"}}, {"X": 1})):
        try:
            read(text)
        except errors.SqlError:
            continue


@given(TEXTS, st.sampled_from(["name", "value", "string", "integer", "boolean", "stage_ref", "identifier", "names"]))
@_LIGHT
def test_the_parser_refuses_politely(text: str, what: str) -> None:
    try:
        cursor = Cursor(text)
        getattr(cursor, what)()
        cursor.properties({"SET": "any", "ROLE": "name", "X": "list", "TABLE": "word"})
        cursor.end()
    except errors.SqlError:
        return


_STARTS = ["CREATE TABLE", "CREATE STAGE", "SELECT", "SHOW", "ALTER", "COPY INTO", "CREATE SERVICE", "GRANT", "PUT file://", "USE", "DESC"]
_STATEMENTS = st.one_of(
    TEXTS,
    st.tuples(
        st.sampled_from(_STARTS),
        TEXTS,
    ).map(" ".join),
)


@given(statement=_STATEMENTS)
@_LIGHT
def test_any_statement_gets_an_answer(connected: tuple[httpx.Client, dict[str, str]], statement: str) -> None:
    http, header = connected
    answer = http.post("/queries/v1/query-request", json={"sqlText": statement}, headers=header)
    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] or len(body["code"]) == 6
    assert body.get("code") != "300010", f"an internal error is a mistake of the account: {body['message']}"


_REQUESTS = st.fixed_dictionaries({"sqlText": JSON, "bindings": JSON, "parameters": JSON})
_BODIES = st.one_of(st.binary(max_size=40), JSON, st.fixed_dictionaries({"data": JSON}), _REQUESTS)
_PATHS = [
    "/session/v1/login-request",
    "/session/token-request",
    "/session/heartbeat",
    "/session?delete=maybe",
    "/queries/v1/query-request",
    "/queries/v1/abort-request",
    "/queries/x/result",
    "/monitoring/queries/x",
    "/telemetry/send",
    "/_stage/1/x",
    "/_stage/x/../../etc",
    "/v2/",
    "/v2/a/b/c/d/manifests/x",
    "/v2/a/b/c/d/blobs/uploads/",
    "/nothing",
]


@given(
    path=st.sampled_from(_PATHS),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    body=_BODIES,
    known=st.booleans(),
    zipped=st.booleans(),
)
@_LIGHT
def test_no_request_breaks_a_route(
    connected: tuple[httpx.Client, dict[str, str]], path: str, method: str, body: Any, known: bool, zipped: bool
) -> None:
    http, header = connected
    if path.startswith("/session?"):
        known = False  # it would end the session that the other examples use
    headers = {**(header if known else {}), **({"Content-Encoding": "gzip"} if zipped else {})}
    sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
    assert http.request(method, path, headers=headers, **sent).status_code < 500


@pytest.fixture(scope="module")
def connected(account: RunningAccount) -> tuple[httpx.Client, dict[str, str]]:
    http = httpx.Client(base_url=f"http://127.0.0.1:{account.details['port']}", trust_env=False, timeout=60)
    login = {"data": {"LOGIN_NAME": account.details["user"], "PASSWORD": account.details["password"]}}
    token = http.post("/session/v1/login-request", json=login).json()["data"]["token"]
    return http, {"Authorization": f'Snowflake Token="{token}"'}


def test_results_and_history_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements_module, "KEEP_RESULTS", 10)
    monkeypatch.setattr(statements_module, "KEEP_HISTORY", 50)
    store, session = Statements(), Session(1, "U", "R")

    def run(statement: Statement) -> None:
        statement.result = ResultSet.status("x")
        statement.response = {"data": "x"}

    begun = [store.start(session, "SELECT 1", str(i), run) for i in range(200)]
    for statement in begun:
        if statement.future is not None:
            statement.future.result()
    store.start(session, "SELECT 1", "last", run)
    kept = [statement for statement in begun if statement.result is not None]
    assert len(kept) <= 10 + statements_module.WORKERS
    assert len(store.history()) == 50
    assert store.by_request("0") is None and store.get(begun[0].query_id) is None
    store.stop()


def test_a_big_result_is_forgotten_before_small_ones_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements_module, "KEEP_BYTES", 1000)
    store, session = Statements(), Session(1, "U", "R")
    ended = threading.Event()

    def run(statement: Statement) -> None:
        statement.result, statement.bytes = ResultSet.status("x"), 900
        ended.set()

    first = store.start(session, "SELECT 1", "1", run)
    assert first.future is not None
    first.future.result()
    for number in range(3):
        later = store.start(session, "SELECT 1", f"later {number}", run)
        if later.future is not None:
            later.future.result()
    assert first.result is None
    store.stop()
