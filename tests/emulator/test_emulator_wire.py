"""The wire protocol through the real driver: logins, tokens, binds, asynchronous statements, cancelling, restarts."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import snowflake.connector
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from embedded_account import RunningAccount, run_account
from snowflake.connector.errors import Error

Connection = snowflake.connector.SnowflakeConnection
Connect = Callable[..., Connection]


def _one(connection: Connection, statement: str) -> Any:
    return connection.cursor().execute(statement).fetchone()[0]


def _post(account: RunningAccount, path: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    headers = {"Authorization": f'Snowflake Token="{token}"'} if token else {}
    reply = httpx.post(f"http://127.0.0.1:{account.details['port']}{path}", json=body, headers=headers)
    assert reply.status_code == 200, "an error is never an HTTP error: drivers would send the statement again"
    found: dict[str, Any] = reply.json()
    return found


def test_a_wrong_password_is_refused(account: RunningAccount) -> None:
    with pytest.raises(Error, match="Incorrect username or password"):
        snowflake.connector.connect(**{k: account.details[k] for k in ("host", "port", "protocol", "account", "user")}, password="wrong")


def test_key_pair_and_programmatic_token_log_in(account: RunningAccount, connect: Connect) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = base64.b64encode(
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    admin = connect()
    admin.cursor().execute(f"CREATE OR REPLACE USER robot TYPE = SERVICE RSA_PUBLIC_KEY = '{public}' DEFAULT_ROLE = SYSADMIN")
    admin.cursor().execute("GRANT ROLE SYSADMIN TO USER robot")
    details = {k: account.details[k] for k in ("host", "port", "protocol", "account")}
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with snowflake.connector.connect(**details, user="robot", private_key=der) as robot:
        assert _one(robot, "SELECT CURRENT_USER() || '/' || CURRENT_ROLE()") == "ROBOT/SYSADMIN"
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    wrong = other.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with pytest.raises(Error, match="JWT token is invalid"):
        snowflake.connector.connect(**details, user="robot", private_key=wrong)
    statement = "ALTER USER robot ADD PROGRAMMATIC ACCESS TOKEN ci ROLE_RESTRICTION = 'SYSADMIN'"
    secret = admin.cursor().execute(statement).fetchone()[1]
    token = {"authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "token": secret}
    with snowflake.connector.connect(**details, user="robot", **token) as robot:
        assert _one(robot, "SELECT CURRENT_ROLE()") == "SYSADMIN"
    admin.cursor().execute("ALTER USER robot REMOVE PROGRAMMATIC ACCESS TOKEN ci")
    with pytest.raises(Error):
        snowflake.connector.connect(**details, user="robot", **token)


def test_a_repeated_request_runs_once(account: RunningAccount, session: Connection) -> None:
    session.cursor().execute("CREATE TABLE once (a INT)")
    database = _one(session, "SELECT CURRENT_DATABASE()")
    login = _post(
        account,
        f"/session/v1/login-request?databaseName={database}&schemaName=PUBLIC&warehouse=TEST_WH",
        {"data": {"LOGIN_NAME": account.details["user"], "PASSWORD": account.details["password"]}},
    )
    token = login["data"]["token"]
    path = f"/queries/v1/query-request?requestId={uuid.uuid4()}"
    replies = [_post(account, path, {"sqlText": "INSERT INTO once VALUES (1)"}, token) for _ in range(2)]
    assert replies[0]["data"]["queryId"] == replies[1]["data"]["queryId"]
    assert _one(session, "SELECT COUNT(*) FROM once") == 1
    assert _post(account, "/queries/v1/query-request", {"sqlText": "SELECT 1"}, "wrong")["code"] == "390112"
    renewed = _post(account, "/session/token-request", {"requestType": "RENEW"}, login["data"]["masterToken"])
    assert _post(account, "/queries/v1/query-request", {"sqlText": "SELECT 1"}, renewed["data"]["sessionToken"])["success"]
    failed = _post(account, "/queries/v1/query-request", {"sqlText": "SELECT * FROM nope"}, renewed["data"]["sessionToken"])
    assert (failed["success"], failed["code"], failed["data"]["sqlState"]) == (False, "002003", "42S02")


def test_binds(connect: Connect, session: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snowflake.connector, "paramstyle", "qmark")
    bound = connect(database=_one(session, "SELECT CURRENT_DATABASE()"), schema="PUBLIC", warehouse="TEST_WH")
    cursor = bound.cursor()
    assert cursor.execute("SELECT ?, ?, ?, ?", (1, "it's \\ odd", None, True)).fetchall() == [(1, "it's \\ odd", None, True)]
    cursor.execute("CREATE TABLE b (a INT, t VARCHAR)")
    cursor.executemany("INSERT INTO b VALUES (?, ?)", [(i, f"row {i}") for i in range(300)])
    assert cursor.rowcount == 300
    assert cursor.execute("SELECT COUNT(*), MAX(a) FROM IDENTIFIER(?)", ("b",)).fetchone() == (300, 299)
    cursor.execute("SHOW TABLES LIKE ?", ("B",))
    assert [row[1] for row in cursor.fetchall()] == ["B"]


def test_several_statements_and_asynchronous_ones(session: Connection) -> None:
    cursor = session.cursor()
    cursor.execute("SELECT 1; SHOW WAREHOUSES LIKE 'TEST_WH'; SELECT 3", num_statements=3)
    found = [cursor.fetchall()]
    while cursor.nextset():
        found.append(cursor.fetchall())
    assert (found[0], found[1][0][0], found[2]) == ([(1,)], "TEST_WH", [(3,)])
    cursor.execute_async("SELECT 5")
    query_id = cursor.sfqid
    while session.is_still_running(session.get_query_status(query_id)):
        time.sleep(0.02)
    cursor.get_results_from_sfqid(query_id)
    assert cursor.fetchall() == [(5,)]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CALL SYSTEM$WAIT(600)", "a wait is woken"),
        ("SELECT COUNT(*) FROM many a, many b, many c, many d, many e WHERE a.x + b.x + c.x + d.x + e.x < 0", "a query is interrupted"),
    ],
)
def test_an_abort_ends_the_statement(session: Connection, statement: str, reason: str) -> None:
    values = ", ".join(f"({i})" for i in range(400))
    session.cursor().execute(f"CREATE TABLE many AS SELECT column1 AS x FROM VALUES {values}")
    cursor = session.cursor()
    cursor.execute_async(statement)
    query_id = cursor.sfqid
    session.cursor().abort_query(query_id)
    while session.is_still_running(session.get_query_status(query_id)):
        time.sleep(0.02)
    with pytest.raises(Error) as caught:
        session.get_query_status_throw_if_error(query_id)
    assert "canceled" in str(caught.value), reason


def test_a_statement_times_out(session: Connection) -> None:
    session.cursor().execute("ALTER SESSION SET STATEMENT_TIMEOUT_IN_SECONDS = 1")
    with pytest.raises(Error) as caught:
        session.cursor().execute("CALL SYSTEM$WAIT(600)")
    assert (caught.value.errno, caught.value.sqlstate) == (630, "57014")


def test_an_aborted_session_is_gone(connect: Connect) -> None:
    other, admin = connect(), connect()
    assert _one(admin, f"SELECT SYSTEM$ABORT_SESSION('{other.session_id}')") == f"session [{other.session_id}] terminated."
    with pytest.raises(Error):
        other.cursor().execute("SELECT 1")


def test_an_abort_returns_when_what_the_session_ran_has_ended(connect: Connect) -> None:
    other, admin = connect(), connect()
    answers: list[Error] = []

    def work() -> None:
        try:
            other.cursor().execute("CALL SYSTEM$WAIT(600)")
        except Error as error:
            answers.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    log = "SELECT execution_status FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY())"
    running = f"{log} WHERE session_id = {other.session_id} AND query_text LIKE '%WAIT(600)%'"
    while not admin.cursor().execute(running).fetchall():
        pass
    _one(admin, f"SELECT SYSTEM$ABORT_SESSION({other.session_id})")
    assert _one(admin, running) == "FAILED_WITH_ERROR"
    thread.join()
    assert answers


def test_the_log_of_statements_hides_secrets(session: Connection) -> None:
    session.cursor().execute("CREATE SECRET hidden TYPE = GENERIC_STRING SECRET_STRING = 'hunter2' COMMENT = 'shown'")
    statement = "SELECT query_text, used_warehouse FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY(RESULT_LIMIT => 5))"
    found = session.cursor().execute(statement).fetchall()
    texts = [text for text, _ in found]
    assert any("CREATE SECRET hidden" in text and "'***'" in text for text in texts)
    assert not any("hunter2" in text for text in texts)


def test_a_killed_account_comes_back_with_everything(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = run_account(state)
    running = next(first)
    client = running.connect()
    cursor = client.cursor()
    cursor.execute("CREATE WAREHOUSE w")
    cursor.execute("CREATE DATABASE d COMMENT = 'kept'")
    cursor.execute("CREATE TABLE t AS SELECT 7 AS a")
    cursor.execute("CREATE STAGE s")
    second = subprocess.run([sys.executable, "-m", "emulator", "--state", str(state)], capture_output=True, text=True, timeout=60)
    assert second.returncode == 1 and "already running" in second.stderr and "Traceback" not in second.stderr
    os.kill(running.details["pid"], signal.SIGKILL)
    first.close()
    (state / "account.json").unlink()
    again = run_account(state)
    assert next(again).details["port"] == running.details["port"], "clients find it at the same port"
    assert cursor.execute("SELECT a FROM t").fetchall() == [(7,)], "the same session goes on"
    assert cursor.execute("SHOW STAGES").fetchall()[0][1] == "S"
    client.close()
    again.close()
    assert not (state / "account.json").exists()
