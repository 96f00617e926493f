"""COPY: files read into checked rows, and the memory of what was loaded.

All files of a statement are read and converted before the first row is stored, so that a bad one leaves nothing behind, within a
transaction of the session too. Which files a table has seen is kept beside the rows, in the same transaction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from emulator import errors
from emulator.engine import faults
from emulator.engine.prepared import prepare_file
from emulator.stages.lookup import file_label

if TYPE_CHECKING:
    from emulator.catalogue.store import CatalogueObject
    from emulator.commands.context import CommandContext
    from emulator.stages.files import StageFile
    from emulator.stages.reader import ReadOptions

SCHEMA = "account"
SETUP = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    f"CREATE TABLE IF NOT EXISTS {SCHEMA}.loads (table_id BIGINT, file VARCHAR, md5 VARCHAR)",
)
_ROW = "METADATA$FILE_ROW_NUMBER"
_RECORD = re.compile(r"in record/value (\d+)")  # of the record after the broken one
_HINT = (
    "  If you would like to continue loading when an error is encountered, use other values such as 'SKIP_FILE' or 'CONTINUE' for "
    "the ON_ERROR option."
)


def loaded_files(duck: duckdb.DuckDBPyConnection, table: CatalogueObject) -> dict[str, str]:
    """MD5 by `stage id/path` of the files that the table has loaded."""
    return dict(duck.execute(f"SELECT file, md5 FROM {SCHEMA}.loads WHERE table_id = ?", [table.id]).fetchall())


def remember(duck: duckdb.DuckDBPyConnection, table: CatalogueObject, file: str, md5: str) -> None:
    duck.execute(f"INSERT INTO {SCHEMA}.loads VALUES (?, ?, ?)", [table.id, file, md5])


def forget(duck: duckdb.DuckDBPyConnection, table: CatalogueObject) -> None:
    """The table was dropped or truncated: its files may be loaded again."""
    duck.execute(f"DELETE FROM {SCHEMA}.loads WHERE table_id = ?", [table.id])


@dataclass
class FileRows:
    """What one file gave. `error` is the first failure, `first_line` its row in the file (counted from 1) where that is known."""

    file: StageFile
    label: str
    columns: list[str]
    rows: list[pa.Table] = field(default_factory=list)
    parsed: int = 0
    errors_seen: int = 0
    error: errors.SqlError | None = None
    first_line: int | None = None

    @property
    def count(self) -> int:
        return sum(part.num_rows for part in self.rows)

    def failure(self) -> errors.SqlError:
        """The error of ABORT_STATEMENT: what, in which file, in which row."""
        assert self.error is not None
        place = f"  File '{self.label}'" + (f", row {self.first_line}" if self.first_line is not None else "")
        return errors.SqlError(self.error.errno, self.error.sqlstate, f"{self.error.message}\n{place}\n{_HINT}")

    def shown(self) -> tuple[Any, ...]:
        """The file's row in the answer of COPY."""
        status = "LOADED" if self.error is None else "PARTIALLY_LOADED" if self.count else "LOAD_FAILED"
        message = self.error.message if self.error is not None else None
        limit = 1 if self.error is None else max(1, self.parsed)
        return (self.label, status, self.parsed, self.count, limit, self.errors_seen, message, self.first_line, None, None)


def read_file(
    ctx: CommandContext,
    stage: CatalogueObject,
    file: StageFile,
    options: ReadOptions,
    query: exp.Expr,
    targets: list[dict[str, Any]],
    *,
    keep_good_rows: bool,
) -> FileRows:
    """Reads and converts one file. `query` gives a value per target column. A failure is kept in the result, not raised."""
    found = FileRows(file, file_label(stage, file.path), [col["name"] for col in targets])
    duck = ctx.account.engine.cursor()
    ctx.on_cancel.append(duck.interrupt)
    try:
        prepared = prepare_file(ctx, query, duck, stage, file, options)
    except errors.SqlError:
        raise
    except (OSError, ValueError, duckdb.Error) as error:
        found.error, found.errors_seen = _translated(error), 1
        return found
    finally:
        ctx.on_cancel.remove(duck.interrupt)
    ctx.on_cancel.append(duck.interrupt)
    try:
        prepared.tree.append("expressions", exp.to_identifier(_ROW, quoted=True))
        names = [f"c{i}" for i in range(len(targets))]
        inner = f"({prepared.tree.sql('duckdb')}) AS source({', '.join([*names, 'line'])})"
        casts = ", ".join(_cast(name, col) for name, col in zip(names, targets, strict=True))
        _convert(ctx, duck, f"SELECT {casts} FROM {inner}", inner, found, targets, keep_good_rows)
    finally:
        ctx.on_cancel.remove(duck.interrupt)
        prepared.release()
    return found


def _convert(
    ctx: CommandContext,
    duck: duckdb.DuckDBPyConnection,
    select: str,
    source: str,
    found: FileRows,
    targets: list[dict[str, Any]],
    keep_good_rows: bool,
) -> None:
    try:
        row = duck.execute(f"SELECT count(*), min(line), max(line) FROM {source}").fetchone()
    except duckdb.Error as error:
        ctx.check_cancelled()
        record = _RECORD.search(str(error))
        found.error, found.errors_seen = _translated(error), 1
        found.first_line = int(record[1]) - 1 if record else None
        return
    assert row is not None
    found.parsed = int(row[0])
    ranges = [(int(row[1]), int(row[2]))] if found.parsed else []
    while ranges:
        ctx.check_cancelled()
        low, high = ranges.pop()
        try:
            rows = duck.execute(f"{select} WHERE line BETWEEN {low} AND {high}").to_arrow_table()
            _refuse_nulls(rows, targets)
        except (duckdb.Error, errors.SqlError) as error:
            ctx.check_cancelled()
            if low < high:
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]
                continue
            found.errors_seen += 1
            if found.error is None:
                found.error, found.first_line = _translated(error), low
            if not keep_good_rows:
                found.rows.clear()
                return
        else:
            found.rows.append(rows)


def _cast(name: str, target: dict[str, Any]) -> str:
    value = f"sf_text({name})" if target["stored"] == "VARCHAR" else name
    return f"CAST({value} AS {target['stored']}) AS {name}"


def _refuse_nulls(rows: pa.Table, targets: list[dict[str, Any]]) -> None:
    for column, target in zip(rows.columns, targets, strict=True):
        if not target.get("nullable", True) and column.null_count:
            raise errors.SqlError(100072, "22000", f"NULL result in a non-nullable column '{target['name']}'")


def _translated(error: Exception) -> errors.SqlError:
    if isinstance(error, errors.SqlError):
        return error
    if isinstance(error, duckdb.Error):
        return faults.translate(error)
    return errors.execution(f"The file cannot be read: {error}")
