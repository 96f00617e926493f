"""Sessions over the wire, with the unmodified driver: rows, errors by class, logins that fail, files, warehouses."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat
from embedded_account import run_account

from controller.account import connections
from controller.account.connections import Connection, find_connection
from controller.account.counters import StatementClass
from controller.account.driver import DatabaseError
from controller.account.driver_errors import from_driver
from controller.account.errors import AccountError, AlreadyExists, Denied, LoginFailed, NotFound, NoWarehouse, Rejected, Transient
from controller.account.pool import SessionPool
from controller.account.reader import current_role, read
from controller.account.session import Session, open_session
from controller.account.snapshot import Describe, Missing, Show
from controller.api.names import QualifiedName
from controller.kinds.base import Sql


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The account.json of a running embedded account."""
    for running in run_account(tmp_path_factory.mktemp("account") / "state", "--time-scale", "0.01"):
        yield running.state / "account.json"


@pytest.fixture
def connection(address: Path) -> Connection:
    """By way of a file, as a person's own account would be: account.json has the keys of a connection."""
    return find_connection(str(address), environ={})


@pytest.fixture
def session(connection: Connection) -> Iterator[Session]:
    opened = open_session(connection, role="ACCOUNTADMIN")
    yield opened
    opened.close()


def test_rows_by_lower_case_names(session: Session) -> None:
    result = session.execute("SHOW ROLES")
    assert {"name", "owner", "comment"} <= set(result.columns)
    assert "ACCOUNTADMIN" in {row["name"] for row in result.rows}
    assert result.query_id


def test_rows_share_the_names_of_their_columns(session: Session) -> None:
    """A listing of thousands has each of them once in memory, and so have all listings."""
    rows = [*session.execute("SHOW ROLES").rows, *session.execute("SHOW ROLES").rows]
    names = [name for row in rows for name in row if name == "comment"]
    assert len(names) == len(rows) > 2 and len({id(name) for name in names}) == 1


def test_the_session_s_role_and_tag(session: Session) -> None:
    assert session.role == "ACCOUNTADMIN"
    assert session.execute("SELECT CURRENT_ROLE()").scalar == "ACCOUNTADMIN"


ERRORS = [
    ("DESCRIBE STAGE NO_DB.NO_SCHEMA.S", NotFound),
    ("SHOW STAGES IN SCHEMA NO_DB.NO_SCHEMA", NotFound),
    ("CREATE ROLE SYSADMIN", AlreadyExists),
    ("CREATE CUBE X", Rejected),
    ("SELECT COUNT(*) FROM ERRORS_DB.PUBLIC.T", NoWarehouse),
]


@pytest.mark.parametrize(("statement", "expected"), ERRORS)
def test_errors_have_a_class(statement: str, expected: type[AccountError], session: Session) -> None:
    session.execute("CREATE DATABASE IF NOT EXISTS ERRORS_DB")
    session.execute("CREATE TABLE IF NOT EXISTS ERRORS_DB.PUBLIC.T (A INT)")
    with pytest.raises(AccountError) as caught:
        session.execute(statement)
    assert type(caught.value) is expected, caught.value
    assert (caught.value.statement, caught.value.errno is not None) == (statement, True)


def test_a_privilege_that_is_missing(connection: Connection) -> None:
    session = open_session(connection, role="PUBLIC")
    with pytest.raises(Denied):
        session.execute("CREATE DATABASE NOT_FOR_PUBLIC")
    session.close()


def test_what_is_tolerated_is_no_error(session: Session) -> None:
    result = session.execute(Sql("CREATE ROLE SYSADMIN", tolerate=frozenset({2002})))
    assert (result.tolerated, result.rows) == (2002, ())


def test_a_failing_statement_shows_its_display_text(session: Session) -> None:
    with pytest.raises(AccountError) as caught:
        session.execute(Sql("CREATE SECRET NO_DB.S.X TYPE = GENERIC_STRING SECRET_STRING = 'the-hidden-one'", display="CREATE SECRET …"))
    assert caught.value.statement == "CREATE SECRET …"
    assert "the-hidden-one" not in str(caught.value) + repr(caught.value)


def test_a_wrong_password(connection: Connection) -> None:
    wrong = replace(connection, parameters={**connection.parameters, "password": "not-the-password"})
    with pytest.raises(LoginFailed, match=r"password of connection") as caught:
        open_session(wrong)
    assert "not-the-password" not in str(caught.value)
    assert "'ADMIN'" in str(caught.value), "names what to check"


def test_an_unknown_role(connection: Connection) -> None:
    with pytest.raises(LoginFailed, match="role 'no_such_role'"):
        open_session(connection, role="no_such_role")


def with_login(connection: Connection, **login: str) -> Connection:
    """The same account, signed in to by other means than the password."""
    where = {key: connection.parameters[key] for key in ("account", "host", "port", "protocol")}
    return replace(connection, parameters={**where, **login})


def test_a_key_pair_with_a_passphrase(connection: Connection, session: Session, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = tmp_path / "key.p8"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open-sesame")))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    session.execute(f"ALTER USER ADMIN SET RSA_PUBLIC_KEY = '{''.join(public.splitlines()[1:-1])}'")
    login = {"user": "ADMIN", "authenticator": "SNOWFLAKE_JWT", "private_key_file": str(path)}
    opened = open_session(with_login(connection, **login, private_key_file_pwd="open-sesame"), role="PUBLIC")
    assert opened.execute("SELECT CURRENT_USER()").scalar == "ADMIN"
    opened.close()
    with pytest.raises(LoginFailed, match="private key of connection") as caught:
        open_session(with_login(connection, **login, private_key_file_pwd="wrong-phrase"))
    assert "wrong-phrase" not in str(caught.value)


def test_a_programmatic_access_token(connection: Connection, session: Session) -> None:
    row = session.execute("ALTER USER ADMIN ADD PROGRAMMATIC ACCESS TOKEN FOR_TESTS").rows[0]
    login = {"user": "ADMIN", "authenticator": "PROGRAMMATIC_ACCESS_TOKEN"}
    opened = open_session(with_login(connection, **login, token=row["token_secret"]))
    assert opened.execute("SELECT CURRENT_USER()").scalar == "ADMIN"
    opened.close()
    with pytest.raises(LoginFailed, match="token of connection"):
        open_session(with_login(connection, **login, token="pat:no-such-token"))


def test_an_oauth_token_in_a_file(connection: Connection, session: Session, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(json.loads(session.registry_password())["token"] + "\n")
    opened = open_session(with_login(connection, authenticator="OAUTH", token_file_path=str(path)))
    assert opened.role == "ACCOUNTADMIN"
    opened.close()


def test_an_account_that_does_not_answer(connection: Connection) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    away = replace(connection, parameters={**connection.parameters, "port": port, "login_timeout": 1})
    with pytest.raises(Transient, match=f"127.0.0.1:{port} did not answer"):
        open_session(away)


def test_files_of_a_stage(session: Session, tmp_path: Path) -> None:
    session.execute("CREATE DATABASE IF NOT EXISTS FILES_DB")
    session.execute('CREATE STAGE IF NOT EXISTS FILES_DB.PUBLIC."odd stage"')
    stage = QualifiedName.parse('files_db.public."odd stage"')
    local = tmp_path / "a b.bin"
    local.write_bytes(bytes(range(256)))
    session.put_file(local, stage, "deep/folder")
    assert session.get_file(stage, "deep/folder/a b.bin") == bytes(range(256))
    local.write_bytes(b"second")
    session.put_file(local, stage, "deep/folder")
    assert session.get_file(stage, "/deep/folder/a b.bin") == b"second"
    assert session.get_file(stage, "deep/folder/a") is None, "a prefix is not the file"
    assert session.get_file(QualifiedName.parse("files_db.public.none"), "x") is None
    with pytest.raises(FileNotFoundError):
        session.put_file(tmp_path / "none", stage)


def test_a_warehouse_only_where_it_is_asked_for(session: Session) -> None:
    session.execute("CREATE DATABASE IF NOT EXISTS WH_DB")
    session.execute("CREATE OR REPLACE TABLE WH_DB.PUBLIC.T (A INT)")
    session.execute("CREATE WAREHOUSE IF NOT EXISTS WH WAREHOUSE_SIZE = XSMALL")
    session.execute("SHOW WAREHOUSES")
    assert session.counters.in_warehouse == 0
    with session.warehouse("wh"):
        assert session.execute("SELECT COUNT(*) FROM WH_DB.PUBLIC.T").scalar == 0
    assert session.counters.in_warehouse == 1
    assert session.counters.by_class[StatementClass.SELECT] == 1


def test_reads_side_by_side(connection: Connection) -> None:
    pool = SessionPool(connection, 3, role="ACCOUNTADMIN")
    roles, stages, pool_row = Show("ROLES"), Show("STAGES", "SCHEMA NO_DB.S"), Describe("COMPUTE POOL", "NO_POOL")
    answers = read(pool, [roles, stages, roles, pool_row])
    assert list(answers) == [roles, stages, pool_row], "each is asked once"
    assert isinstance(answers[stages], Missing) and isinstance(answers[pool_row], Missing)
    assert {row["name"] for row in answers[roles]} >= {"PUBLIC"}  # type: ignore[union-attr]
    assert pool.counters.by_class[StatementClass.SHOW] == 2
    assert current_role(pool) == "ACCOUNTADMIN"
    pool.close()
    with pytest.raises(Transient, match="closed"):
        current_role(pool)


def test_an_account_that_is_away_is_not_asked_every_question(connection: Connection) -> None:
    """Each question to it takes as long as the driver's patience."""
    tries = 0

    def refuse(*_: object, **__: object) -> Session:
        nonlocal tries
        tries += 1
        time.sleep(0.01)
        raise Transient("away")

    with pytest.raises(Transient):
        read(SessionPool(connection, 1, opener=refuse), [Show("STAGES", f"SCHEMA D.S{number}") for number in range(50)])
    assert tries < 25


def test_a_broken_statement_stops_a_read(connection: Connection) -> None:
    pool = SessionPool(connection, 1, role="ACCOUNTADMIN")
    with pytest.raises(Rejected):
        read(pool, [Show("NONSENSE", "SOMEWHERE")])
    pool.close()


def test_a_session_that_is_gone_is_replaced(connection: Connection) -> None:
    pool = SessionPool(connection, 1)
    with pool.session() as first:
        first.alive = False
    with pool.session() as second:
        assert second is not first
        assert second.execute("SELECT 1").scalar == 1
    pool.close()


def test_a_pool_lends_no_more_than_it_has(connection: Connection) -> None:
    pool = SessionPool(connection, 1)
    order: list[str] = []
    entered = threading.Event()

    def other() -> None:
        entered.set()
        with pool.session():
            order.append("second")

    with pool.session():
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(5)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    pool.close()


def test_a_pool_whose_sessions_somebody_else_ended_lets_go_of_who_waits_and_opens_new_ones(connection: Connection) -> None:
    pool = SessionPool(connection, 1, role="ACCOUNTADMIN")
    with pool.session() as session:
        before = session.id
        threading.Timer(0.3, pool.expire).start()
        started = time.monotonic()
        with pytest.raises(Transient, match="broken off"):
            session.execute("CALL SYSTEM$WAIT(30)")
        assert time.monotonic() - started < 10
    with pool.session() as session:
        assert session.id != before and session.execute("SELECT 1").scalar == 1
    pool.close()


def test_a_password_for_the_registry_leaves_the_session_as_it_is(session: Session) -> None:
    answer = json.loads(session.registry_password())
    assert set(answer) == {"token", "expires_in"} and answer["token"]
    assert session.execute("SELECT 1").scalar == 1


@pytest.mark.skipif(not connections.DRIVER_RETRIES, reason="the 5.x line has waits of its own")
def test_requests_are_tried_again_soon_then_later_and_not_all_in_step() -> None:
    policy = Connection("c", "here", {"account": "a", "user": "u", "password": "p"}).driver_arguments()["backoff_policy"]
    drawn = [list(itertools.islice(policy(), 6)) for _ in range(20)]
    for waits in drawn:
        assert all(0.7 * most <= wait <= most for wait, most in zip(waits, [0.5, 1, 2, 4, 4, 4], strict=True))
    assert len({waits[0] for waits in drawn}) > 1


@pytest.mark.parametrize(("sqlstate", "kind"), [("XX000", Transient), ("42000", Rejected)])
def test_an_error_within_the_account_is_tried_again(sqlstate: str, kind: type[AccountError]) -> None:
    error = DatabaseError(msg="Processing aborted by error 300010", errno=300010, sqlstate=sqlstate)
    assert type(from_driver(error, "SHOW ROLES")) is kind


@pytest.mark.skipif(not connections.DRIVER_RETRIES, reason="the 5.x line gives up by itself, after two minutes")
def test_an_account_that_goes_away_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0)
    accounts = run_account(tmp_path / "state", "--time-scale", "0.01")
    record = next(accounts).state / "account.json"
    session = open_session(find_connection(str(record), environ={}))
    for _ in accounts:
        raise AssertionError("stopping the account yields nothing")
    with pytest.raises(Transient, match="did not answer"):
        session.execute("SHOW ROLES")
