"""Rows on a local disk: one Arrow file of text columns, written in one pass and mapped into memory when it is read.

Whatever a row came from (a table, a query, JSON lines, CSV, Parquet), a prompt only ever reads text. So every needed
column becomes text on the way in, lists and objects as JSON, and nothing later needs to know the source. Neither the
writer nor a reader ever holds all rows as Python objects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from training.config import Data, Prompt
from training.data.prompts import half_a_character
from training.errors import BadInputError

KEY = "row key"  # a column of ours; the space keeps it apart from the columns of users
FORMATS = (".jsonl", ".ndjson", ".csv", ".parquet")
BATCH_ROWS = 1000
BLOCK_BYTES = 1 << 24  # of a CSV file; a row must fit into one


def needed_columns(data: Data, prompt: Prompt) -> list[str]:
    """The columns of the source that are read, each once, lower case."""
    rule = data.shares.stratify_by
    names = [*prompt.needed_columns(data.columns), data.columns.split, data.columns.row_id, *([rule] if rule else [])]
    return list(dict.fromkeys(name.lower() for name in names))


def write_rows(batches: Iterable[pa.RecordBatch], data: Data, prompt: Prompt, target: Path) -> int:
    """Write the needed columns of all batches as text, and a key for each row; returns the number of rows.

    Raises BadInputError for no rows, and for a column that is missing.
    """
    wanted = needed_columns(data, prompt)
    writer: pa.RecordBatchFileWriter | None = None
    rows = 0
    try:
        for batch in batches:
            texts = _texts(batch, wanted, data, prompt)
            writer = writer or pa.ipc.new_file(str(target), texts.schema)
            writer.write_batch(texts)
            rows += texts.num_rows
    finally:
        if writer is not None:
            writer.close()
    if rows == 0:
        raise BadInputError(f"the dataset {source_name(data)} has no rows")
    return rows


def open_rows(path: Path) -> pa.Table:
    """The rows that `write_rows` wrote, mapped: they take no memory that the system could not take back."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"cannot read the rows in {path}: {error}") from error


def read_file(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a .jsonl, .csv (with a header) or .parquet file, a bounded number at a time.

    Raises BadInputError that names the file, and the line where there is one.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise BadInputError(f"{path}: unknown format {suffix or path.name!r}; expected one of {', '.join(FORMATS)}")
    try:
        if suffix == ".parquet":
            with pa.parquet.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=BATCH_ROWS)
        elif suffix == ".csv":
            yield from _csv(path)
        else:
            yield from _json_lines(path)
    except FileNotFoundError as error:
        raise BadInputError(f"there is no file {path}") from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise BadInputError(f"cannot read {path}: {error}") from error


def source_name(data: Data) -> str:
    """What the rows are called in messages."""
    return data.table or data.path or "of the query"


def _csv(path: Path) -> Iterator[pa.RecordBatch]:
    """All values are text; an empty field without quotes is NULL."""
    with path.open("rb") as stream:
        names = [part.decode("utf-8-sig", "replace").strip().strip('"') for part in stream.readline().rstrip(b"\r\n").split(b",")]
    if len({name.lower() for name in names}) < len(names) or "" in names:
        raise BadInputError(f"{path}: the first line does not name the columns ({', '.join(names)[:80]}); a header is needed")
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
    )
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    read = pa.csv.ReadOptions(block_size=BLOCK_BYTES)
    with pa.csv.open_csv(str(path), read_options=read, parse_options=parse, convert_options=convert) as reader:
        yield from reader


def _json_lines(path: Path) -> Iterator[pa.RecordBatch]:
    # by hand: Arrow's reader wants one type per column, and a column of texts and objects is common in JSON lines
    rows: list[dict[str, str | None]] = []
    names: dict[str, None] = {}
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise BadInputError(f"{path}:{number}: not JSON: {error}") from error
            except RecursionError as error:
                raise BadInputError(f"{path}:{number}: nested too deeply") from error
            if not isinstance(row, dict):
                raise BadInputError(f"{path}:{number}: a row must be a JSON object")
            texts = {name: as_text(value) for name, value in row.items()}
            try:
                "".join([*texts, *filter(None, texts.values())]).encode()
            except UnicodeEncodeError as error:
                raise BadInputError(f"{path}:{number}: {half_a_character(error)}") from error
            rows.append(texts)
            names |= dict.fromkeys(row)
            if len(rows) == BATCH_ROWS:
                yield text_batch(rows, names)
                rows = []
    if rows:
        yield text_batch(rows, names)


def text_batch(rows: Sequence[Mapping[str, str | None]], names: Iterable[str]) -> pa.RecordBatch:
    """Rows as a batch of text columns; what a row lacks is NULL."""
    return pa.RecordBatch.from_pydict({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})


def as_text(value: Any) -> str | None:
    """A value as a prompt shows it: lists and objects as JSON, numbers and dates as people write them; None stays None."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict | bool) else str(value)


def _texts(batch: pa.RecordBatch, wanted: list[str], data: Data, prompt: Prompt) -> pa.RecordBatch:
    found: dict[str, pa.Array] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name.lower() in found:
            raise BadInputError(f"the dataset {source_name(data)} has two columns {name!r} (case does not count)")
        found[name.lower()] = column
    needed = [name.lower() for name in prompt.needed_columns(data.columns)]
    rule = data.shares.stratify_by
    strata = [rule.lower()] if rule is not None and data.columns.split.lower() not in found else []
    if missing := [name for name in dict.fromkeys([*needed, *strata]) if name not in found]:
        few = "s" if len(missing) > 1 else ""
        raise BadInputError(
            f"the dataset {source_name(data)} lacks the column{few} {', '.join(missing)}; it has {', '.join(found) or 'none'}; "
            "name the right ones in data.columns, or choose another prompt.template"
        )
    columns = {name: _as_texts(found[name]) if name in found else pa.nulls(batch.num_rows, pa.large_string()) for name in wanted}
    own = columns[data.columns.row_id.lower()]
    if own.null_count:
        keys = [given or _hashed([columns[name][i].as_py() for name in needed]) for i, given in enumerate(own.to_pylist())]
        own = pa.array(keys, pa.large_string())
    return pa.RecordBatch.from_pydict({KEY: own, **columns})


def _as_texts(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.large_string())
    try:
        return pa.array([as_text(value) for value in column.to_pylist()], pa.large_string())
    except (OverflowError, ValueError) as error:  # a date before the year 1 or after 9999
        raise BadInputError(
            f"a value of type {column.type} cannot be written as text ({error}); use a query that makes a text of it"
        ) from error


def _hashed(values: list[str | None]) -> str:
    return hashlib.sha256(json.dumps(values).encode("utf-8", "surrogatepass")).hexdigest()[:16]
