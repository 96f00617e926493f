"""Connections are found where the `snow` command line finds them, and never show a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.account import connections
from controller.account.connections import Connection, find_connection, inside_a_service, local_connection
from controller.account.errors import LoginFailed

PASSWORD = "correct-horse-battery"
TOML = f"""
[prod]
account = "org-acct"
user = "anna"
password = "{PASSWORD}"
role = "worker"
database = "db"
warehouse = "wh"
some_other_tool = "its own"

[keys]
account = "org-acct"
username = "anna"
authenticator = "SNOWFLAKE_JWT"
private_key_path = "key.p8"
private_key_passphrase = "open-sesame"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for ~/.snowflake, with nothing of this machine around it."""
    folder = tmp_path / "snowflake"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def env(home: Path, **more: str) -> dict[str, str]:
    return {"SNOWFLAKE_HOME": str(home), **more}


def test_a_named_section_of_connections_toml(home: Path) -> None:
    write(home / "connections.toml", TOML)
    found = find_connection("prod", environ=env(home))
    arguments = found.driver_arguments()
    assert (found.account, found.user, found.role, found.warehouse) == ("org-acct", "anna", "worker", "wh")
    assert arguments["password"] == PASSWORD
    assert not {"warehouse", "database", "some_other_tool"} & arguments.keys(), "no warehouse and no scope come with the login"
    assert arguments["login_timeout"] <= 30
    assert arguments["client_session_keep_alive"] is False
    assert found.warnings == ()


def test_a_section_of_config_toml(home: Path) -> None:
    write(home / "config.toml", '[connections.dev]\naccount = "a-b"\nuser = "u"\npassword = "secret-word"\n')
    assert find_connection("dev", environ=env(home)).account == "a-b"


def test_connections_toml_hides_those_of_config_toml(home: Path) -> None:
    write(home / "config.toml", 'default_connection_name = "prod"\n[connections.dev]\naccount = "a-b"\n')
    write(home / "connections.toml", TOML)
    assert find_connection(environ=env(home)).name == "prod", "the default's name still comes from config.toml"
    with pytest.raises(LoginFailed, match=r"no connection 'dev'.*known: keys, prod"):
        find_connection("dev", environ=env(home))


DEFAULTS = [
    ("a section called default", '[default]\naccount = "d-d"\n', {}, "d-d"),
    ("the variable names it", TOML, {"SNOWFLAKE_DEFAULT_CONNECTION_NAME": "prod"}, "org-acct"),
    ("the file names it", 'default_connection_name = "prod"\n' + TOML, {}, "org-acct"),
]


@pytest.mark.parametrize(("reason", "text", "variables", "account"), DEFAULTS)
def test_the_default_connection(reason: str, text: str, variables: dict[str, str], account: str, home: Path) -> None:
    write(home / "connections.toml", text)
    assert find_connection(environ=env(home, **variables)).account == account, reason


PRECEDENCE = [
    ("the file over the general variable", {"SNOWFLAKE_USER": "general"}, "anna"),
    ("the named variable over the file", {"SNOWFLAKE_CONNECTIONS_PROD_USER": "named", "SNOWFLAKE_USER": "general"}, "named"),
]


@pytest.mark.parametrize(("reason", "variables", "user"), PRECEDENCE)
def test_which_of_two_values_wins(reason: str, variables: dict[str, str], user: str, home: Path) -> None:
    write(home / "connections.toml", TOML)
    assert find_connection("prod", environ=env(home, **variables)).user == user, reason


def test_a_general_variable_fills_what_the_file_leaves_out(home: Path) -> None:
    write(home / "connections.toml", '[bare]\naccount = "a-b"\n')
    found = find_connection("bare", environ=env(home, SNOWFLAKE_USER="u", SNOWFLAKE_PASSWORD="general-word"))
    assert found.driver_arguments()["password"] == "general-word"


def test_a_general_password_is_not_for_a_key_pair(home: Path) -> None:
    write(home / "key.p8", "key")
    write(home / "connections.toml", TOML.replace("key.p8", str(home / "key.p8")))
    arguments = find_connection("keys", environ=env(home, SNOWFLAKE_PASSWORD="general-word")).driver_arguments()
    assert "password" not in arguments
    assert (arguments["private_key_file"], arguments["private_key_file_pwd"]) == (str(home / "key.p8"), "open-sesame")


def test_variables_alone(home: Path) -> None:
    variables = {"SNOWFLAKE_ACCOUNT": "a-b", "SNOWFLAKE_USER": "u", "SNOWFLAKE_PASSWORD": "word-word", "SNOWFLAKE_PORT": "8443"}
    found = find_connection(environ=env(home, **variables))
    assert (found.name, found.account, found.driver_arguments()["port"]) == ("environment", "a-b", 8443)


def test_a_connection_of_named_variables_only(home: Path) -> None:
    variables = {
        "SNOWFLAKE_CONNECTIONS_CI_ACCOUNT": "a-b",
        "SNOWFLAKE_CONNECTIONS_CI_USER": "u",
        "SNOWFLAKE_CONNECTIONS_CI_PASSWORD": "w0rd",
    }
    assert find_connection("ci", environ=env(home, **variables)).user == "u"


def test_nothing_at_all_says_what_to_do(home: Path) -> None:
    with pytest.raises(LoginFailed, match="--local"):
        find_connection(environ=env(home))


def test_a_file_that_others_can_read_is_warned_of(home: Path) -> None:
    write(home / "connections.toml", TOML, 0o644)
    (warning,) = find_connection("prod", environ=env(home)).warnings
    assert "chmod 0600" in warning
    assert find_connection("prod", environ=env(home, SNOWFLAKE_RUNNING_INSIDE_SPCS="true")).warnings == ()


def test_a_broken_file_names_its_line_and_nothing_of_its_text(home: Path) -> None:
    write(home / "connections.toml", f'[prod]\npassword = "{PASSWORD}\n')
    with pytest.raises(LoginFailed, match="line 2") as caught:
        find_connection("prod", environ=env(home))
    assert PASSWORD not in str(caught.value)


def test_the_lab_s_file_works_with_a_warning(home: Path) -> None:
    path = write(
        home / "connection.json",
        '{"account": "loc", "user": "venks", "password": "pa55word", "role": "VENKSADMIN", "warehouse": "W", "database": "D", '
        '"schema": "S", "compute_pool": "P", "huggingface_token": "hf_abc"}',
    )
    found = find_connection(str(path), environ=env(home))
    assert (found.account, found.user, found.role) == ("loc", "venks", "VENKSADMIN")
    assert [word in " ".join(found.warnings) for word in ("connections.toml", "HF_TOKEN", "compute_pool", "-c NAME")] == [True] * 4
    assert "hf_abc" not in repr(found) + str(found.warnings)


def test_a_stray_connection_json_is_the_last_resort(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "connection.json", '{"account": "loc", "user": "venks", "password": "pa55word"}')
    assert find_connection(environ=env(home)).account == "loc"
    write(home / "connections.toml", '[default]\naccount = "d-d"\n')
    assert find_connection(environ=env(home)).account == "d-d"


@pytest.mark.parametrize("text", ["[1, 2]", '{"password": "pa55word"', ""])
def test_a_connection_json_that_is_none(text: str, home: Path) -> None:
    path = write(home / "connection.json", text)
    with pytest.raises(LoginFailed) as caught:
        find_connection(str(path), environ=env(home))
    assert str(path) in str(caught.value)
    assert "pa55word" not in str(caught.value)


INCOMPLETE = [
    ({"user": "u", "password": "word-word"}, "names no account"),
    ({"account": "a", "password": "word-word"}, "names no user"),
    ({"account": "a", "user": "u"}, "SNOWFLAKE_CONNECTIONS_X_PASSWORD"),
    ({"account": "a", "user": "u", "private_key_file": "/no/such.p8"}, "does not exist"),
    ({"account": "a", "user": "u", "authenticator": "SNOWFLAKE_JWT"}, "needs private_key_file"),
    ({"account": "a", "user": "u", "authenticator": "PROGRAMMATIC_ACCESS_TOKEN"}, "needs token"),
    ({"account": "a", "authenticator": "oauth", "token_file_path": "/no/such"}, "cannot be read"),
    ({"account": ["a"], "user": "u", "password": "word-word"}, "`account` must be a text in quotes"),
    ({"account": "a", "user": 3, "password": "word-word"}, "`user` must be a text in quotes"),
    ({"account": "a", "user": "u", "password": "word-word", "port": "abc"}, "`port` must be a whole number"),
]


@pytest.mark.parametrize(("parameters", "message"), INCOMPLETE)
def test_an_incomplete_connection_says_what_is_missing(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(LoginFailed, match=message):
        Connection("x", "a test", parameters).driver_arguments()


def test_a_token_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = write(tmp_path / "token", "first-token\n")
    connection = Connection(
        "x", "a test", {"account": "a", "authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "user": "u", "token_file_path": str(path)}
    )
    assert connection.driver_arguments()["token"] == "first-token"
    write(path, "second-token\n")
    assert connection.driver_arguments()["token"] == "second-token"


def test_inside_a_service_the_session_token_is_used(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = write(tmp_path / "session-token", "spcs-token")
    monkeypatch.setattr(connections, "SESSION_TOKEN", token)
    variables = env(home, SNOWFLAKE_HOST="internal", SNOWFLAKE_ACCOUNT="loc", SNOWFLAKE_PORT="8085", SNOWFLAKE_PROTOCOL="http")
    assert find_connection(environ=variables).name == "service"
    arguments = inside_a_service(variables, token).driver_arguments()
    assert (arguments["authenticator"], arguments["token"], arguments["host"], arguments["port"]) == (
        "OAUTH",
        "spcs-token",
        "internal",
        8085,
    )
    write(home / "connections.toml", TOML)
    assert find_connection("prod", environ=variables).name == "prod", "a name goes first"


def test_external_browser_needs_no_secret() -> None:
    arguments = Connection("x", "a test", {"account": "a", "user": "u", "authenticator": "externalbrowser"}).driver_arguments()
    assert arguments["authenticator"] == "externalbrowser"


def test_no_secret_in_any_text(home: Path) -> None:
    write(home / "connections.toml", TOML)
    found = find_connection("prod", environ=env(home))
    assert PASSWORD not in repr(found) + str(found)
    error = found.explain(RuntimeError(f"the driver said {PASSWORD}"))
    assert PASSWORD not in str(error) + repr(error)
    assert "anna" in str(error) and "[prod]" in str(error), "says what to check, and where"


def test_the_embedded_account() -> None:
    details = {
        "pid": 1,
        "host": "127.0.0.1",
        "port": 1234,
        "account": "LOCAL",
        "user": "ADMIN",
        "password": "made-up-once",
        "protocol": "http",
    }
    arguments = local_connection(details).driver_arguments()
    assert (arguments["host"], arguments["port"], arguments["protocol"]) == ("127.0.0.1", 1234, "http")
    assert "pid" not in arguments
