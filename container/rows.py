"""Rows of the account or of a mounted file, as they arrive: Arrow batches, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from snowflake.connector.errors import DatabaseError, NotSupportedError, ProgrammingError

from container import account, paths
from training.config import Data, Prompt, TrainingConfig
from training.data.rows import needed_columns, read_file, write_rows
from training.errors import BadInputError
from training.progress import Progress, report

OBJECT_MISSING = 2003
NO_WAREHOUSE = 606


def fetch(config: TrainingConfig, target: Path) -> int:
    """Write the run's rows to `target`, see `training.data.rows`; returns their number.

    Raises BadInputError, and AccessError when the account ends the session twice.
    """
    data = config.data
    if data.path is not None:
        return write_rows(read_file(paths.real(data.path)), data, config.prompt, target)
    try:
        return _fetch(config, target)
    except account.AccessError as error:
        report(Progress("data", message=f"{error}; reading them again"))
        return _fetch(config, target)


def _fetch(config: TrainingConfig, target: Path) -> int:
    with account.session("the rows were read") as connection:
        return write_rows(query_rows(connection, config.data, config.prompt), config.data, config.prompt, target)


def query_rows(connection: Any, data: Data, prompt: Prompt) -> Iterator[pa.RecordBatch]:
    """The needed columns of the table or the query.

    Raises BadInputError when there is none, or nothing may compute it, and the driver's error when the account ends the session.
    """
    cursor = connection.cursor()
    try:
        names = [column.name for column in cursor.describe(f"SELECT * FROM {_source(data)}")]  # noqa: S608 - checked in _source
        # first all names without rows: so a column that is missing is told of beside those that are there
        yield pa.RecordBatch.from_pydict({name: pa.array([], pa.string()) for name in names})
        cursor.execute(*select_statement(data, prompt, names))
        for table in cursor.fetch_arrow_batches() if cursor.rowcount != 0 else ():  # the driver stumbles over no batch at all
            yield from table.to_batches()
    except (ProgrammingError, NotSupportedError) as error:
        if account.session_ended(error):
            raise
        raise BadInputError(_advice(error, data)) from error


def select_statement(data: Data, prompt: Prompt, names: list[str]) -> tuple[str, tuple[str, str] | None]:
    """The SELECT that reads the needed ones of the columns `names`, and its parameters."""
    wanted = needed_columns(data, prompt)
    columns = ", ".join(_quoted(name) for name in names if name.lower() in wanted)
    statement = f"SELECT {columns} FROM {_source(data)}"  # noqa: S608 - names are quoted, the source was checked
    split = next((name for name in names if name.lower() == data.columns.split.lower()), None)
    if split is None:
        return statement, None
    # the test split is left for the world outside: neither training nor its evaluation may see it
    return f"{statement} WHERE {_quoted(split)} IN (%s, %s)", (data.split.train, data.split.eval)


def _source(data: Data) -> str:
    if data.query is not None:
        return f"(\n{data.query.strip().rstrip(';')}\n)"
    table = data.table or ""
    if not account.TABLE_NAME.fullmatch(table):
        raise BadInputError(f"data.table {table!r} is not a table name: database.schema.table is needed")
    return table


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _advice(error: DatabaseError, data: Data) -> str:
    what = data.table or "the query of data.query"
    if error.errno == OBJECT_MISSING:
        return f"cannot read {what}: it does not exist, or the service's role may not SELECT from it"
    if error.errno == NO_WAREHOUSE:
        return "no warehouse to read the rows with: set the project's `warehouse`, and grant USAGE on it to its role"
    return f"cannot read {what}: {error.errno} {error.sqlstate} {error.raw_msg or error.msg}"
