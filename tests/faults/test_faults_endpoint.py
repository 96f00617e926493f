"""The endpoint itself, faults of requests that carry no statement, and the end of the account."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import snowflake.connector
from embedded_account import RunningAccount, run_account
from fault_client import Faults
from snowflake.connector.errors import Error

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from runtime_support import AccountProcess, push_image

Connection = snowflake.connector.SnowflakeConnection


def test_without_the_option_there_is_no_endpoint(tmp_path: Path) -> None:
    for account in run_account(tmp_path / "state"):
        assert "faults" not in account.details
        for path in ("", "/statements", "/release"):
            answer = httpx.get(f"http://{account.details['host']}:{account.details['port']}/_faults{path}")
            assert answer.status_code == 404


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": 'Snowflake Token="x"'}])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PUT", ""), ("POST", "/release"), ("POST", "/node"), ("GET", "/statements")])
def test_it_wants_its_token(account: RunningAccount, method: str, path: str, header: dict[str, str]) -> None:
    answer = httpx.request(method, account.details["faults"]["url"] + path, headers=header)
    assert answer.status_code == 401 and "account.json" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("PUT", "", '{"rules": [{"name": "x", "http": 503, "drop": "before"}]}', 400, "x: a rule has exactly one fault"),
        ("PUT", "", '{"rules": {}}', 400, "rules: not a list"),
        ("PUT", "", '{"seed": "a"}', 400, "seed: 'a' is not a whole number"),
        ("POST", "", '{"rule": []}', 400, "unknown key 'rule'; did you mean rules?"),
        ("PUT", "", "{", 400, "the body is not JSON"),
        ("PUT", "", "[]", 400, "the body is not an object"),
        ("POST", "/release", '{"id": 99999}', 404, "nothing with the id 99999 is held"),
        ("POST", "/node", '{"pool": "NO_POOL"}', 404, "no compute pool 'NO_POOL'"),
        ("GET", "/statements?since=x", "", 400, "since: 'x' is not a number"),
    ],
)
def test_what_it_does_not_understand(account: RunningAccount, method: str, path: str, body: str, status: int, message: str) -> None:
    endpoint = account.details["faults"]
    headers = {"Authorization": f"Bearer {endpoint['token']}"}
    answer = httpx.request(method, endpoint["url"] + path, content=body, headers=headers)
    assert answer.status_code == status and message in answer.json()["error"]


def test_rules_are_told_with_what_they_met(faults: Faults, connect: Callable[..., Connection]) -> None:
    faults.put({"match": "SELECT", "every": 2, "latency": {"min": 0, "max": 0.01}}, seed=5)
    faults.add({"name": "named", "match": "no such text", "http": 500})
    cursor = connect().cursor()
    for _ in range(4):
        cursor.execute("SELECT 1")
    first, second = faults.rules()
    assert first == {"match": "SELECT", "every": 2, "latency": {"min": 0, "max": 0.01}, "name": "rule 1", "matched": 4, "fired": 2}
    assert second == {"match": "no such text", "http": 500, "name": "named", "matched": 0, "fired": 0}


@pytest.mark.parametrize("fault", [{"drop": "before"}, {"drop": "after"}, {"http": 503}, {"latency": 0.05}])
def test_a_login_that_fails_once(faults: Faults, connect: Callable[..., Connection], fault: dict[str, Any]) -> None:
    faults.put({"path": "login-request", "client": "^unlucky$", "times": 1, **fault})
    assert connect("lucky").cursor().execute("SELECT 1").fetchall() == [(1,)]
    assert faults.fired() == 0, "another client"
    assert connect("unlucky").cursor().execute("SELECT 1").fetchall() == [(1,)]
    assert faults.fired() == 1


def test_a_login_that_is_refused(faults: Faults, connect: Callable[..., Connection]) -> None:
    faults.put({"path": "login-request", "error": {"errno": 390100, "message": "not you"}})
    with pytest.raises(Error, match="not you"):
        connect()


def test_renewing_a_session_may_fail_as_well(faults: Faults, connect: Callable[..., Connection]) -> None:
    faults.put({"match": "SELECT 2", "times": 1, "expire": "session"}, {"path": "token-request", "times": 1, "http": 503})
    assert connect().cursor().execute("SELECT 2").fetchall() == [(2,)]
    assert faults.fired() == 2


def test_a_registry_that_is_away_for_a_moment(account: RunningAccount, faults: Faults, connect: Callable[..., Connection]) -> None:
    cursor = connect().cursor()
    cursor.execute("CREATE DATABASE IF NOT EXISTS WITH_IMAGES")
    cursor.execute("CREATE IMAGE REPOSITORY IF NOT EXISTS WITH_IMAGES.PUBLIC.REPO")
    faults.put({"path": "^/v2/.*/manifests/", "http": 502, "times": 1})
    url = f"http://{account.details['host']}:{account.details['port']}"
    push = ("with_images/public/repo", "tool:1", {"app/x.txt": "x"}, {"Cmd": ["true"]})
    with pytest.raises(httpx.HTTPStatusError, match="502"):
        push_image(url, ("ADMIN", account.details["password"]), *push)
    push_image(url, ("ADMIN", account.details["password"]), *push)
    assert faults.fired() == 1


@pytest.mark.parametrize("side", ["before", "after"])
def test_the_account_dies_and_comes_back(tmp_path: Path, side: str) -> None:
    """What had its effect is there afterwards, what had not is not; rules are gone with the process."""
    process = AccountProcess(tmp_path / "state", faults=True)
    process.start()
    faults = Faults(process.state)
    connection = process.connect()
    connection.cursor().execute("CREATE DATABASE SURE")
    faults.put({"match": "^CREATE DATABASE UNSURE", "exit": side})
    header = {"Authorization": f'Snowflake Token="{connection.rest.token}"'}
    with pytest.raises(httpx.TransportError):  # the driver would try again for long
        httpx.post(f"http://{process.host}/queries/v1/query-request", json={"sqlText": "CREATE DATABASE UNSURE"}, headers=header)
    assert process.process is not None and process.process.wait(10) == -9
    process.start()
    assert faults.rules() == [] and faults.statements() == []
    names = {row[1] for row in process.connect().cursor().execute("SHOW DATABASES").fetchall()}
    assert names & {"SURE", "UNSURE"} == ({"SURE"} if side == "before" else {"SURE", "UNSURE"})
    connection.close()
    process.stop()
