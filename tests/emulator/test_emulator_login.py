"""Who gets in: passwords, roles, disabled users, tokens of containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from emulator.account import Account, Options
from emulator.commands.context import CommandContext
from emulator.execute import run_statement
from emulator.session import Session
from emulator.wire.login import LoginError, log_in


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    made = Account(tmp_path_factory.mktemp("login"), Options())
    context = CommandContext(made, Session(1, "ADMIN", "ACCOUNTADMIN"))
    for statement in (
        "CREATE ROLE worker",
        "CREATE USER joe PASSWORD = 'right' DEFAULT_ROLE = worker",
        "GRANT ROLE worker TO USER joe",
        "CREATE USER gone PASSWORD = 'right' DISABLED = TRUE",
    ):
        run_statement(context, statement)
    yield made
    made.stop()


_JOE = {"LOGIN_NAME": "joe", "PASSWORD": "right"}
REFUSED: list[tuple[dict[str, Any], dict[str, str], int, str]] = [
    ({"LOGIN_NAME": "joe", "PASSWORD": "wrong"}, {}, 390100, "a wrong password"),
    ({"LOGIN_NAME": "nobody", "PASSWORD": "right"}, {}, 390100, "an unknown user: the same answer as for a wrong password"),
    ({}, {}, 390100, "nothing at all"),
    ({"LOGIN_NAME": "gone", "PASSWORD": "right"}, {}, 390101, "a disabled user"),
    ({"LOGIN_NAME": "gone", "PASSWORD": "wrong"}, {}, 390100, "a disabled user with a wrong password learns nothing"),
    (_JOE, {"roleName": "NOPE"}, 390189, "a role that does not exist"),
    (_JOE, {"roleName": "ACCOUNTADMIN"}, 390189, "a role that the user does not have"),
    ({"AUTHENTICATOR": "OAUTH", "TOKEN": "made up"}, {}, 390303, "a made-up token"),
    ({"AUTHENTICATOR": "SNOWFLAKE_JWT", "TOKEN": "a.b.c"}, {}, 390144, "a key-pair token that is none"),
    ({"AUTHENTICATOR": "PROGRAMMATIC_ACCESS_TOKEN", "TOKEN": "pat:x"}, {}, 394400, "an unknown access token"),
    ({"AUTHENTICATOR": "KERBEROS", **_JOE}, {}, 390190, "an authenticator that is not offered"),
]


@pytest.mark.parametrize(("data", "query", "code", "reason"), REFUSED, ids=[row[3] for row in REFUSED])
def test_refused(account: Account, data: dict[str, Any], query: dict[str, str], code: int, reason: str) -> None:
    with pytest.raises(LoginError) as caught:
        log_in(account, data, query)
    assert caught.value.code == code, reason


def test_a_user_starts_with_the_default_role_and_may_choose(account: Account) -> None:
    assert log_in(account, _JOE, {}).role == "WORKER"
    assert log_in(account, _JOE, {"roleName": "public"}).role == "PUBLIC"


def test_a_container_token_is_its_service_owner_and_nobody_else(account: Account) -> None:
    token = account.tokens.issue_container_token("WORKER", "DB.S.SERVICE")
    login = {"AUTHENTICATOR": "OAUTH", "TOKEN": token}
    session = log_in(account, login, {})
    assert (session.user, session.role, session.fixed_role) == ("DB.S.SERVICE", "WORKER", "WORKER")
    with pytest.raises(LoginError) as caught:
        log_in(account, login, {"roleName": "ACCOUNTADMIN"})
    assert caught.value.code == 390189
    account.tokens.revoke("container", "DB.S.SERVICE")
    with pytest.raises(LoginError) as caught:
        log_in(account, login, {})
    assert caught.value.code == 390303, "the service was dropped"


def test_an_expired_token_says_so(account: Account) -> None:
    token = account.tokens.issue("DB.S.SERVICE", "WORKER", "container", "DB.S.SERVICE", -1.0)
    with pytest.raises(LoginError) as caught:
        log_in(account, {"AUTHENTICATOR": "OAUTH", "TOKEN": token}, {})
    assert caught.value.code == 390318
