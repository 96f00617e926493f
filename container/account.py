"""Reach the account from inside one of its containers, as SPCS offers it: by environment and a token file.

The token is short-lived and rewritten by the platform, so it is read anew for every connection.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import snowflake.connector
from snowflake.connector.errors import DatabaseError, ProgrammingError

from container import paths
from training.config import Data
from training.errors import BadInputError

IDENTIFIER = r'(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)'
TABLE_NAME = re.compile(rf"{IDENTIFIER}(?:\.{IDENTIFIER}){{0,2}}")
OBJECT_MISSING = 2003
NO_WAREHOUSE = 606
FETCH_ROWS = 1000


def connect() -> Any:
    """A connection as the service's own user. Raises BadInputError outside of a container."""
    missing = [name for name in ("SNOWFLAKE_HOST", "SNOWFLAKE_ACCOUNT") if not os.environ.get(name)]
    token = paths.real(paths.SESSION_TOKEN)
    if missing or not token.is_file():
        lacking = ", ".join(missing) or str(token)
        raise BadInputError(f"not inside a service of an account: {lacking} is missing")
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
        token=token.read_text(encoding="utf-8").strip(),
        **{name: value for name, value in optional.items() if value},
    )


def select_statement(data: Data) -> str:
    """The SELECT that reads the rows of `data.table` or `data.query`."""
    if data.query is not None:
        return data.query
    table = data.table or ""
    if not TABLE_NAME.fullmatch(table):
        raise BadInputError(f"data.table {table!r} is not a table name: database.schema.table is needed")
    split = data.columns.split
    column = split if re.fullmatch(IDENTIFIER, split) else '"' + split.replace('"', '""') + '"'
    # the test split is left for the world outside: neither training nor its evaluation may see it
    return f"SELECT * FROM {table} WHERE {column} IN (%s, %s)"  # noqa: S608 - both names were checked above


def read_rows(connection: Any, data: Data) -> Iterator[dict[str, Any]]:
    """The rows as dicts. Raises BadInputError when the table is missing or nothing may compute the query."""
    statement = select_statement(data)
    parameters = None if data.query is not None else (data.split.train, data.split.eval)
    cursor = connection.cursor(snowflake.connector.DictCursor)
    try:
        cursor.execute(statement, parameters)
    except ProgrammingError as error:
        raise BadInputError(_advice(error, data)) from error
    while batch := cursor.fetchmany(FETCH_ROWS):
        yield from batch


def _advice(error: DatabaseError, data: Data) -> str:
    if error.errno == OBJECT_MISSING:
        return f"cannot read {data.table or 'the query'}: it does not exist, or the service's role may not SELECT from it"
    if error.errno == NO_WAREHOUSE:
        return "no warehouse to read the rows with: set the project's `warehouse`, and grant USAGE on it to its role"
    return f"cannot read {data.table or 'the query'}: {error.errno} {error.sqlstate} {error.raw_msg or error.msg}"
