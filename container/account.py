"""Reach the account from inside one of its containers, as SPCS offers it: by environment and a token file.

The token is short-lived and rewritten by the platform, so it is read anew for every connection.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import snowflake.connector
from snowflake.connector.errors import DatabaseError, Error

from container import paths
from training.errors import BadInputError, TrainingError

IDENTIFIER = r'(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)'
TABLE_NAME = re.compile(rf"{IDENTIFIER}(?:\.{IDENTIFIER}){{0,2}}")
TOKEN_REFUSED = (390303, 390318)  # invalid, expired
TOKEN_TRIES = 4
TOKEN_PAUSE = 5.0  # seconds, more with each try


class AccessError(TrainingError):
    """The account does not let this job in just now; it may be tried again."""


def connect() -> Any:
    """A connection as the service's own user. The platform renews the token every few minutes, so an old one is read again.

    Raises BadInputError outside of a container, and AccessError when the account refuses the token all the time.
    """
    missing = [name for name in ("SNOWFLAKE_HOST", "SNOWFLAKE_ACCOUNT") if not os.environ.get(name)]
    token = paths.real(paths.SESSION_TOKEN)
    if missing or not token.is_file():
        lacking = ", ".join(missing) or str(token)
        raise BadInputError(f"not inside a service of an account: {lacking} is missing")
    refused = ""
    for attempt in range(TOKEN_TRIES):
        time.sleep(attempt * TOKEN_PAUSE)
        try:
            return _log_in(token.read_text(encoding="utf-8").strip())
        except DatabaseError as error:
            if "OAuth access token" not in (error.msg or "") and error.errno not in TOKEN_REFUSED:
                raise
            refused = str(error.raw_msg or error.msg)
    raise AccessError(f"the account refuses the service's token, also when it is read again: {refused}")


@contextmanager
def session(doing: str) -> Iterator[Any]:
    """A connection for one piece of work, `doing` in words.

    Raises what `connect` does, and AccessError where the account ends the session meanwhile or is not reached.
    """
    try:
        with connect() as connection:
            yield connection
    except DatabaseError as error:
        if not session_ended(error):
            raise
        raise AccessError(f"the session ended while {doing}: {error.errno} {error.raw_msg or error.msg}") from error


def session_ended(error: Error) -> bool:
    """Whether the account has ended the session or was not reached, by the class of its SQLSTATE: another session may do better."""
    return (error.sqlstate or "").startswith("08")


def _log_in(token: str) -> Any:
    optional = {
        "database": os.environ.get("SNOWFLAKE_DATABASE"),
        "schema": os.environ.get("SNOWFLAKE_SCHEMA"),
        "warehouse": os.environ.get("SNOWFLAKE_WAREHOUSE"),
    }
    return snowflake.connector.connect(
        host=os.environ["SNOWFLAKE_HOST"],
        port=int(os.environ.get("SNOWFLAKE_PORT") or 443),
        protocol=os.environ.get("SNOWFLAKE_PROTOCOL") or "https",
        account=os.environ["SNOWFLAKE_ACCOUNT"],
        authenticator="oauth",
        token=token,
        **{name: value for name, value in optional.items() if value},
    )
