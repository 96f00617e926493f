"""Rows of a data file, one at a time: JSON lines, CSV and Parquet, each bad line named by its number.

A row is a dict from column name, as Snowflake stores it, to a JSON value. Missing and NULL are the same: absent.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from controller.api.names import Identifier, NameProblem

Row = dict[str, Any]
ROW_ID, SPLIT = "_ROW_ID", "_SPLIT"
FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_BATCH = 1024  # rows of a Parquet file held at once
_LARGEST_NUMBER = 10**38


class RowsError(ValueError):
    """The file cannot be read as rows. The message names file and line."""


def read_rows(path: Path) -> Iterator[Row]:
    """All rows of a file; its suffix says the format, `.gz` after it that it is compressed.

    Raises:
        RowsError: missing file, unknown format, or a bad line.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    form = (suffixes[-2:-1] if packed else suffixes[-1:]) or [""]
    if form[0] not in FORMATS:
        raise RowsError(f"{path}: unknown format {form[0] or path.name!r}; expected {', '.join(FORMATS)}, or one of them with .gz")
    try:
        if form[0] == ".parquet":
            yield from _parquet(path)
            return
        with gzip.open(path, "rb") if packed else path.open("rb") as raw:
            if form[0] in (".csv", ".tsv"):
                yield from _csv(path, raw, "\t" if form[0] == ".tsv" else ",")
            elif form[0] == ".json":
                yield from _json_array(path, raw)
            else:
                yield from _json_lines(path, raw)
    except FileNotFoundError:
        raise RowsError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise RowsError(f"{path}: is a folder, expected a data file") from None
    except (OSError, EOFError) as error:
        raise RowsError(f"{path}: cannot be read: {error}") from None


def _json_lines(path: Path, raw: Iterable[bytes]) -> Iterator[Row]:
    for number, line in enumerate(raw, 1):
        where = f"{path}:{number}"
        text = _decode(line, where, first=number == 1).strip()
        if text:
            yield _row(_parse(text, where), where)


def _json_array(path: Path, raw: Any) -> Iterator[Row]:
    document = _parse(_decode(raw.read(), str(path), first=True), str(path))
    if not isinstance(document, list):
        raise RowsError(f"{path}: expected a list of objects; for one object a line name the file .jsonl")
    for number, value in enumerate(document, 1):
        yield _row(value, f"{path}: row {number}")


def _parse(text: str, where: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise RowsError(f"{where}: {constant} is no JSON value; leave the field out or use null")

    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, where), parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise RowsError(
            f"{where}: not JSON: {error.msg} at column {error.colno}: {text[max(error.pos - 20, 0) : error.pos + 20]!r}"
        ) from None
    except RecursionError:
        raise RowsError(f"{where}: nested too deeply") from None


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise RowsError(f"{where}: the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return found


def _csv(path: Path, raw: Any, delimiter: str) -> Iterator[Row]:
    """All values are text; an empty field is NULL. The first line names the columns."""
    text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for fields in reader:
            where = f"{path}:{reader.line_num}"
            if not fields:
                continue
            if header is None:
                header = fields
                if len({name.upper() for name in header}) < len(header):
                    raise RowsError(f"{where}: two columns have the same name: {', '.join(header)}")
                continue
            if len(fields) != len(header):
                raise RowsError(f"{where}: {len(fields)} fields, but the header names {len(header)} columns")
            yield _row({name: value or None for name, value in zip(header, fields, strict=True)}, where)
    except (csv.Error, UnicodeDecodeError) as error:
        raise RowsError(f"{path}:{reader.line_num + 1}: not CSV in UTF-8: {error}") from None


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise RowsError(f"{path}: reading Parquet needs pyarrow; install it with `pip install pyarrow`, or use JSON lines") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH):
                for value in batch.to_pylist():
                    number += 1
                    yield _row(value, f"{path}: row {number}")
    except pyarrow.ArrowException as error:
        raise RowsError(f"{path}: not a Parquet file: {error}") from None


def _decode(line: bytes, where: str, *, first: bool) -> str:
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise RowsError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def _row(value: Any, where: str) -> Row:
    """Check one row and name its columns as Snowflake does."""
    if not isinstance(value, dict):
        raise RowsError(f"{where}: expected an object with columns, found {type(value).__name__} {str(value)[:40]!r}")
    row: Row = {}
    seen: set[str] = set()
    for written, item in value.items():
        name = column_name(written, where)
        if name in seen:
            raise RowsError(f"{where}: two columns are called {name} (case does not count)")
        seen.add(name)
        if name in (ROW_ID, SPLIT):
            raise RowsError(f"{where}: the column {name} is made by the dataset itself; rename the one in the file")
        if item is not None:
            row[name] = _plain(item, f"{where}: column {name}")
    return row


def column_name(written: str, where: str) -> str:
    """A column's name as stored: a bare one in upper case, any other as it is."""
    try:
        return Identifier.parse(written).text
    except NameProblem:
        if not written or len(written) > 255 or "\0" in written:
            raise RowsError(f"{where}: {written[:20]!r} cannot be the name of a column") from None
        return written


def _plain(value: Any, where: str) -> Any:
    """The value in JSON's terms: time stamps as ISO text, decimals as numbers."""
    if isinstance(value, str | bool | int | float | None):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item, where) for key, item in value.items()}
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    raise RowsError(f"{where}: values of type {type(value).__name__} are not supported")


# ---- columns, row ids and splits -----------------------------------------------------------------------------------------------------


def sql_type(value: Any) -> str:
    """The column type that one value asks for."""
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "NUMBER" if abs(value) < _LARGEST_NUMBER else "VARIANT"
    if isinstance(value, float):
        return "FLOAT"
    if isinstance(value, list):
        return "ARRAY"
    return "OBJECT" if isinstance(value, dict) else "VARCHAR"


def wider(one: str | None, other: str) -> str:
    """A type that holds both."""
    if one is None or one == other:
        return other
    return "FLOAT" if {one, other} == {"NUMBER", "FLOAT"} else "VARIANT"


def content_id(row: Mapping[str, Any]) -> str:
    """16 hex digits over the row's values. Order of columns and the case of their names do not count."""
    return hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class SplitRule:
    """Shares of the rows that go to train, eval and test; they add up to 1. Equal shares within each value of `stratify_by`."""

    train: float = 0.8
    eval: float = 0.1
    test: float = 0.1
    stratify_by: str | None = None
    seed: int = 0


@dataclass
class Survey:
    """What one pass over the rows tells: columns with their types, an id for each row in order, and the split of each."""

    columns: dict[str, str] = field(default_factory=dict)
    row_ids: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        return {name: self.splits.count(name) for name in ("train", "eval", "test")}

    @property
    def fingerprint(self) -> str:
        """sha256 over columns, row ids and splits; the order of the rows does not count."""
        lines = sorted(f"{row_id} {split}" for row_id, split in zip(self.row_ids, self.splits, strict=True))
        return hashlib.sha256("\n".join([json.dumps(self.columns, sort_keys=True), *lines]).encode()).hexdigest()


def survey(rows: Iterable[Row], rule: SplitRule) -> Survey:
    """Look at every row once.

    Raises:
        RowsError: no rows, or `stratify_by` names no column.
    """
    found = Survey()
    times: dict[str, int] = {}
    strata: dict[str, list[int]] = {}
    wanted = column_name(rule.stratify_by, "split.stratifyBy") if rule.stratify_by else None
    for number, row in enumerate(rows):
        for name, value in row.items():
            found.columns[name] = wider(found.columns.get(name), sql_type(value))
        row_id = content_id(row)
        times[row_id] = times.get(row_id, 0) + 1
        found.row_ids.append(row_id if times[row_id] == 1 else f"{row_id}-{times[row_id]}")
        strata.setdefault(json.dumps(row.get(wanted)) if wanted else "", []).append(number)
    if not found.row_ids:
        raise RowsError("the file holds no rows")
    if wanted and wanted not in found.columns:
        raise RowsError(f"split.stratifyBy: there is no column {wanted}; columns: {', '.join(found.columns)}")
    found.splits = [""] * len(found.row_ids)
    for members in strata.values():
        _assign(found, members, rule)
    return found


def _assign(found: Survey, members: list[int], rule: SplitRule) -> None:
    """Split one stratum by the rank of a hash: the shares are exact, and a new row moves at most one other row over each border."""

    def rank(number: int) -> str:
        return hashlib.sha256(f"{rule.seed}:{found.row_ids[number]}".encode()).hexdigest()

    ordered = sorted(members, key=rank)
    train_end, eval_end = round(len(ordered) * rule.train), round(len(ordered) * (rule.train + rule.eval))
    for place, number in enumerate(ordered):
        found.splits[number] = "train" if place < train_end else "eval" if place < eval_end else "test"
