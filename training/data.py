"""Rows to training examples: rendered, masked, counted.

Rows come in as an iterator of dicts, so this module does not know whether they were read over SQL or from a file.
Which rows are used depends on their ids and a seed only, never on the order in which a warehouse returned them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.config import Data, Prompt
from training.errors import BadInputError
from training.prompts import Example, example
from training.tokens import Encoded, Tokens


@dataclass(frozen=True)
class Row:
    """One usable row."""

    id: str
    example: Example


@dataclass(frozen=True)
class Rows:
    """The rows of a job, in the order in which they are used."""

    train: tuple[Row, ...]
    eval: tuple[Row, ...]
    splits: Mapping[str, int]


@dataclass(frozen=True)
class TrainingSet:
    """Encoded training rows with the counts that the model card reports."""

    ids: tuple[str, ...]
    rows: tuple[Encoded, ...]
    too_long: int
    max_length: int

    @property
    def mean_length(self) -> float:
        """Tokens of an average row."""
        return sum(len(row.ids) for row in self.rows) / len(self.rows)

    @property
    def longest_answer(self) -> int:
        """Tokens of the longest answer, its end token included."""
        return max(row.answer_tokens for row in self.rows)


def read_json_lines(path: Path) -> Iterator[dict[str, object]]:
    """The rows of a JSON-lines file. Raises BadInputError with the line number."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise BadInputError(f"{path}:{number}: not JSON: {error}") from error
                if not isinstance(row, dict):
                    raise BadInputError(f"{path}:{number}: a row must be a JSON object")
                yield row
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"cannot read {path}: {error}") from error


def select_rows(source: Iterable[Mapping[str, object]], data: Data, prompt: Prompt, eval_rows: int) -> Rows:
    """Check and render the rows of the train and eval splits.

    The train rows are cut to `data.max_rows`, the eval rows to `eval_rows`, both by a hash of seed and row id.
    Raises BadInputError for no rows, a missing column, NULLs, or an empty split.
    """
    raw = [{str(name).lower(): value for name, value in row.items()} for row in source]
    if not raw:
        raise BadInputError(f"the dataset {_source(data)} has no rows")
    _check_columns(raw[0], data, prompt)
    keyed = sorted((_rank(data.seed, key), key, row) for key, row in _with_keys(raw, data))
    parts: dict[str, list[tuple[str, dict[str, object]]]] = {}
    for _, key, row in keyed:
        parts.setdefault(str(row[data.columns.split.lower()]), []).append((key, row))
    splits = {name: len(rows) for name, rows in sorted(parts.items())}
    for split in (data.split.train, data.split.eval):
        if split not in parts:
            found = ", ".join(f"{name}: {count}" for name, count in splits.items())
            raise BadInputError(f"the dataset {_source(data)} has no rows in its {split!r} split ({found}); change the Dataset's split")
    train = parts[data.split.train][: data.max_rows]
    held_out = parts[data.split.eval][:eval_rows]
    rendered = _render([*train, *held_out], data, prompt)
    return Rows(tuple(rendered[: len(train)]), tuple(rendered[len(train) :]), splits)


def encode_rows(rows: Iterable[Row], tokens: Tokens, max_length: int) -> TrainingSet:
    """Tokenise the training rows; rows longer than `max_length` tokens are left out and counted."""
    ids: list[str] = []
    kept: list[Encoded] = []
    too_long = 0
    for row in rows:
        encoded = tokens.example(row.example)
        if len(encoded.ids) > max_length:
            too_long += 1
        else:
            ids.append(row.id)
            kept.append(encoded)
    if not kept:
        raise BadInputError(
            f"all {too_long} training rows are longer than {max_length} tokens; raise training.maxLength or shorten the texts"
        )
    return TrainingSet(tuple(ids), tuple(kept), too_long, max_length)


def fingerprint(rows: Rows) -> str:
    """Hash over ids and texts of the rows that are used."""
    digest = hashlib.sha256()
    for row in (*rows.train, *rows.eval):
        digest.update(repr((row.id, row.example)).encode())
    return digest.hexdigest()


def _check_columns(row: Mapping[str, object], data: Data, prompt: Prompt) -> None:
    wanted = [*prompt.needed_columns(data.columns), data.columns.split]
    missing = [name for name in wanted if name.lower() not in row]
    if missing:
        raise BadInputError(
            f"the dataset {_source(data)} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has {', '.join(row)}"
        )


def _with_keys(rows: list[dict[str, object]], data: Data) -> Iterator[tuple[str, dict[str, object]]]:
    name = data.columns.row_id.lower()
    seen: dict[str, int] = {}
    for row in rows:
        content = json.dumps(row, sort_keys=True, default=str).encode()
        key = str(row[name]) if row.get(name) is not None else hashlib.sha256(content).hexdigest()[:16]
        seen[key] = seen.get(key, 0) + 1
        yield (key if seen[key] == 1 else f"{key}-{seen[key]}"), row


def _rank(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def _render(keyed: list[tuple[str, dict[str, object]]], data: Data, prompt: Prompt) -> list[Row]:
    rows: list[Row] = []
    problems: list[str] = []
    for key, row in keyed:
        try:
            made = example(prompt, data.columns, row)
        except BadInputError as error:
            problems.append(f"row {key}: {error}")
            continue
        if not made.answer:
            problems.append(f"row {key}: the answer is empty")
        rows.append(Row(key, made))
    if problems:
        raise BadInputError(
            f"{len(problems)} of {len(keyed)} rows of {_source(data)} cannot be used; first {problems[0]}; "
            "correct them, or leave them out in the Dataset's query"
        )
    return rows


def _source(data: Data) -> str:
    return data.table or data.path or "of the query"
