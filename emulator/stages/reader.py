"""Reading staged files as rows: JSON, CSV and Parquet, as `$1`, `$2` … with METADATA$ columns."""

from __future__ import annotations

import csv
import gzip
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from emulator import errors
from emulator.sql.parser import Cursor

if TYPE_CHECKING:
    from sqlglot import exp

    from emulator.catalogue.store import CatalogueObject
    from emulator.commands.context import CommandContext


@dataclass
class ReadOptions:
    """A file format's options (upper-case keys) and the pattern and names that choose files."""

    options: dict[str, Any] = field(default_factory=dict)
    pattern: str | None = None
    files: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.options.get("TYPE") or "CSV").upper()

    def accepts(self, path: str) -> bool:
        if self.files and not any(path == f or path.endswith("/" + f) for f in self.files):
            return False
        return self.pattern is None or re.fullmatch(self.pattern, path) is not None

    @classmethod
    def from_table(cls, ctx: CommandContext, table: exp.Table, stage: CatalogueObject) -> ReadOptions:
        """From `FROM @stage (FILE_FORMAT => 'name', PATTERN => 're')`; the stage's own format is the default."""
        form, pattern = table.args.get("format"), table.args.get("pattern")
        if form is None:
            options = file_format(ctx, stage.props.get("file_format"))
        else:
            text = form.name if form.is_string else form.sql("snowflake").replace('"', "")
            options = file_format(ctx, Cursor(text).value() if text.startswith("(") else {"FORMAT_NAME": text})
        return cls(options, pattern.name if pattern is not None else None)


def file_format(ctx: CommandContext, given: Any) -> dict[str, Any]:
    """Options of FILE_FORMAT = (TYPE = …) or (FORMAT_NAME = x). Raises 2003 for an unknown named format."""
    if not given:
        return {}
    if isinstance(given, str):
        given = {"FORMAT_NAME": given}
    name = given.get("FORMAT_NAME")
    if name is None:
        return dict(given)
    form = ctx.get("FILE FORMAT", Cursor(str(name)).name(), "USAGE")
    return {**form.props["options"], **{k: v for k, v in given.items() if k != "FORMAT_NAME"}}


def duck_source(kind: str, files: list[Path]) -> str:
    """A DuckDB table function that reads whole files of the kind with inferred columns."""
    listed = "[" + ", ".join(_quoted(path) for path in files) + "]"
    reader = {"PARQUET": "read_parquet", "JSON": "read_json_auto"}.get(kind, "read_csv_auto")
    return f"{reader}({listed})"


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def stage_query(duck: duckdb.DuckDBPyConnection, files: list[tuple[Path, str]], options: ReadOptions) -> tuple[str, pa.Table | None]:
    """A query over the files (path on disk, name as METADATA$FILENAME shows it), and a table to be registered as `$rows`."""
    if options.kind == "PARQUET":
        parts = [
            f'SELECT sf_row(p) AS "$1", {_text(name)} AS "METADATA$FILENAME", row_number() OVER () AS "METADATA$FILE_ROW_NUMBER"'
            f" FROM read_parquet({_quoted(path)}) AS p"
            for path, name in files
        ]
        return " UNION ALL ".join(parts), None
    if options.kind == "JSON":
        return _json_query(files, options), None
    if options.kind != "CSV":
        raise errors.unsupported(f"FILE_FORMAT TYPE = {options.kind}")
    return 'SELECT * FROM "$rows"', _csv_table(files, options)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _json_query(files: list[tuple[Path, str]], options: ReadOptions) -> str:
    strip = str(options.options.get("STRIP_OUTER_ARRAY", "")).upper() == "TRUE"
    shape = "auto" if strip else "unstructured"
    parts = []
    for path, name in files:
        compression = "gzip" if path.read_bytes()[:2] == b"\x1f\x8b" else "uncompressed"
        parts.append(
            f'SELECT json AS "$1", {_text(name)} AS "METADATA$FILENAME", row_number() OVER () AS "METADATA$FILE_ROW_NUMBER"'
            f" FROM read_json_objects({_quoted(path)}, format = '{shape}', compression = '{compression}',"
            " maximum_object_size = 268435456)"
        )
    return " UNION ALL ".join(parts)


def _csv_table(files: list[tuple[Path, str]], options: ReadOptions) -> pa.Table:
    """All rows as text columns `$1` …; short rows are filled with NULL."""
    given = options.options
    delimiter = _unescape(str(given.get("FIELD_DELIMITER") or ","))
    quote = given.get("FIELD_OPTIONALLY_ENCLOSED_BY")
    quote = None if quote in (None, "NONE", "") else str(quote)
    skip = int(given.get("SKIP_HEADER") or 0)
    nulls = given.get("NULL_IF", ["\\N"])
    nulls = set(nulls if isinstance(nulls, list) else [nulls])
    rows: list[list[str | None]] = []
    for path, name in files:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=delimiter,
            quotechar=quote or '"',
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        )
        for index, fields in enumerate(reader):
            if index < skip or not fields:
                continue
            rows.append([name, str(index + 1 - skip), *(None if f in nulls or f == "" else f for f in fields)])
    width = max((len(row) for row in rows), default=3)
    columns: dict[str, list[str | None]] = {f"${i - 1}": [row[i] if i < len(row) else None for row in rows] for i in range(2, width)}
    table = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    table["METADATA$FILENAME"] = pa.array([row[0] for row in rows], pa.string())
    table["METADATA$FILE_ROW_NUMBER"] = pa.array([int(row[1] or 0) for row in rows], pa.int64())
    return pa.table(table)


def _unescape(text: str) -> str:
    return {"\\t": "\t", "\\n": "\n"}.get(text, text)
