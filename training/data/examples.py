"""Which rows are used, and their way to training examples: chosen, rendered, encoded, counted.

Rows are chosen by their keys and a seed only, never by the order in which a warehouse returned them. They pass through
here one at a time: what is kept of them is token ids in a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from training.config import SPLIT_COLUMN, Data, Prompt, Shares, TooLong
from training.data.encoded import Counts, TrainingSet, Writer
from training.data.fitting import fitted
from training.data.prompts import Example, example
from training.data.rows import BATCH_ROWS, KEY, source_name
from training.data.tokens import Encoded, Tokens
from training.errors import BadInputError

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One usable row."""

    id: str
    example: Example


@dataclass(frozen=True, eq=False)
class Chosen:
    """Numbers of the rows that train and that are scored, in the order in which they are used, and the size of each split."""

    train: Numbers
    eval: Numbers
    splits: dict[str, int]


def choose_rows(table: pa.Table, data: Data, eval_rows: int) -> Chosen:
    """Share the rows out and take `data.max_rows` of the train split and `eval_rows` of the eval split, by a hash of seed and key.

    Raises BadInputError for a split without rows.
    """
    keys = table[KEY]
    names = _splits(table, data)
    found, counts = np.unique(names, return_counts=True)
    splits = {str(name): int(count) for name, count in zip(found, counts, strict=True)}
    for wanted in (data.split.train, data.split.eval):
        if wanted not in splits:
            told = ", ".join(f"{name}: {count}" for name, count in splits.items())
            raise BadInputError(
                f"the dataset {source_name(data)} has no rows in its {wanted!r} split ({told}); "
                "training needs rows to learn from and others to be scored on: add rows, or change how they are split"
            )
    order = _ordered(table, _hashes(keys, str(data.seed)))
    train, held_out = (order[names[order] == name] for name in (data.split.train, data.split.eval))
    return Chosen(train[: data.max_rows], held_out[:eval_rows], splits)


def render(table: pa.Table, numbers: Numbers, data: Data, prompt: Prompt) -> Iterator[Row]:
    """The rows of these numbers as examples, in order, a bounded number of them in memory.

    Raises BadInputError at the end when rows cannot be used: how many, and why the first of them.
    """
    problems, first = 0, ""
    for start in range(0, len(numbers), BATCH_ROWS):
        for row in table.take(pa.array(numbers[start : start + BATCH_ROWS])).to_pylist():
            try:
                made = example(prompt, data.columns, row)
                if not made.answer.strip():
                    raise BadInputError("the text is empty" if prompt.template == "text" else "the answer is empty")
            except BadInputError as error:
                problems, first = problems + 1, first or f"row {row[KEY]}: {error}"
                continue
            yield Row(str(row[KEY]), made)
    if problems:
        raise BadInputError(
            f"{problems} of {len(numbers)} rows of {source_name(data)} cannot be used; first {first}; "
            "correct them, or leave them out with a query"
        )


@dataclass(frozen=True)
class Encoding:
    """How rows become token ids."""

    tokens: Tokens
    max_length: int
    loss: str = "answer"
    too_long: TooLong = "drop"

    def encode(self, rows: Iterable[Row], target: Path | None = None) -> TrainingSet:
        """Encode the rows into a file, or into memory. Raises BadInputError when none is left."""
        counts, digest, kept = Counts(self.max_length), hashlib.sha256(), 0
        with Writer(counts, target) as writer:
            for row in rows:
                digest.update(repr((row.id, row.example)).encode("utf-8", "surrogatepass"))
                for piece in fitted(self._encoded(row), self.too_long, self.loss, counts):
                    writer.add(row.id, piece)
                    kept += 1
            counts.fingerprint = digest.hexdigest()
        if not kept:
            ways = "raise training.maxLength, set data.tooLong: truncate or split, or shorten the texts"
            raise BadInputError(f"all {counts.too_long} rows are longer than {self.max_length} tokens, and nothing of them is left; {ways}")
        return writer.result()

    def _encoded(self, row: Row) -> Encoded:
        try:
            return self.tokens.example(row.example, self.loss)
        except BadInputError as error:
            raise BadInputError(f"row {row.id}: {error}") from error


def _splits(table: pa.Table, data: Data) -> npt.NDArray[np.object_]:
    """The split of each row: by its column, or shared out where there is no such column."""
    column = table[data.columns.split.lower()]
    if column.null_count < len(column):
        return np.array([name if name is not None else "NULL" for name in column.to_pylist()], dtype=object)
    if data.columns.split != SPLIT_COLUMN:
        raise BadInputError(
            f"the dataset {source_name(data)} has no values in the column {data.columns.split}; leave data.columns.split out"
        )
    rule = data.shares
    strata = [""] * len(table)
    if rule.stratify_by is not None:
        strata = [str(value) for value in table[rule.stratify_by.lower()].to_pylist()]
    return _shared_out(
        _hashes(table[KEY], "split"), np.array(strata, dtype=object), rule, [data.split.train, data.split.eval, data.split.test]
    )


def _shared_out(
    hashes: npt.NDArray[np.uint64], strata: npt.NDArray[np.object_], rule: Shares, names: Sequence[str]
) -> npt.NDArray[np.object_]:
    """Exact shares of the different rows within each stratum. Rows with one key go together, so that none is both learned and scored."""
    parts = np.empty(len(hashes), dtype=object)
    for stratum in dict.fromkeys(strata):
        members = np.flatnonzero(strata == stratum)
        different, which = np.unique(hashes[members], return_inverse=True)
        ends = [round(len(different) * rule.train), round(len(different) * (rule.train + rule.eval)), len(different)]
        parts[members] = np.array(names, dtype=object)[np.searchsorted(ends, which, side="right")]
    return parts


def _hashes(keys: pa.ChunkedArray, seed: str) -> npt.NDArray[np.uint64]:
    """Eight bytes of a hash for each key."""
    found = np.empty(len(keys), np.uint64)
    place = 0
    for chunk in keys.chunks:
        for start in range(0, len(chunk), BATCH_ROWS):
            for key in chunk[start : start + BATCH_ROWS].to_pylist():
                found[place] = int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogatepass")).digest()[:8], "big")
                place += 1
    return found


def _ordered(table: pa.Table, hashes: npt.NDArray[np.uint64]) -> Numbers:
    """Row numbers by hash; rows with the same key by their content."""
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if not len(same):
        return order
    twice = np.unique(np.concatenate([same, same + 1]))
    rows = order[twice]
    content = {int(number): repr(list(row.values())) for number, row in zip(rows, table.take(pa.array(rows)).to_pylist(), strict=True)}
    order[twice] = sorted(rows, key=lambda number: (hashes[number], content[int(number)]))
    return order
