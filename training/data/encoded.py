"""Token ids of rows, in a file that is mapped into memory: five bytes a token, whatever the number of ranks.

One rank of a node writes it, row by row; all of them map the same pages. A row is looked at by its number and costs
nothing until then.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from training.data.tokens import Encoded, Ids, Mask

SCHEMA = pa.schema([("key", pa.large_string()), ("ids", pa.large_list(pa.int32())), ("answer", pa.large_list(pa.uint8()))])
BATCH_TOKENS = 1 << 17  # of a part of the file: what the writer holds at once


@dataclass
class Counts:
    """Rows longer than `max_length` tokens and what became of them, and the longest answer that was kept."""

    max_length: int
    too_long: int = 0
    dropped: int = 0
    truncated: int = 0
    split: int = 0
    pieces: int = 0
    longest_answer: int = 0
    fingerprint: str = ""

    def __str__(self) -> str:
        """What became of the long rows, in words; empty when there were none."""
        parts = [(self.dropped, "left out"), (self.truncated, "cut"), (self.split, f"split into {self.pieces}")]
        told = ", ".join(f"{number} {what}" for number, what in parts if number)
        return f"{self.too_long} rows longer than {self.max_length} tokens: {told}" if told else ""


class TrainingSet:
    """Encoded rows by number, and what is counted about them."""

    def __init__(self, table: pa.Table, counts: Counts) -> None:
        self.counts = counts
        self._keys = table["key"]
        self._parts = [_Part.of(batch) for batch in table.to_batches() if batch.num_rows]
        self.lengths = np.concatenate([np.diff(part.starts) for part in self._parts] or [np.zeros(0, np.int64)]).astype(np.int32)
        self._first = np.cumsum([0, *(len(part.starts) - 1 for part in self._parts)])

    @classmethod
    def open(cls, path: Path) -> TrainingSet:
        """What a `Writer` left."""
        counts = Counts(**json.loads(_counts_file(path).read_text(encoding="utf-8")))
        return cls(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), counts)

    @property
    def rows(self) -> Sequence[Encoded]:
        """The rows, made when they are asked for."""
        return _Rows(self)

    @property
    def ids(self) -> Sequence[str]:
        """The rows' keys."""
        return _Keys(self._keys)

    def row(self, number: int) -> Encoded:
        """One row; its arrays are views of the file."""
        which = int(np.searchsorted(self._first, number, side="right")) - 1
        part, place = self._parts[which], number - int(self._first[which])
        span = slice(int(part.starts[place]), int(part.starts[place + 1]))
        return Encoded(part.ids[span], part.answer[span])

    @property
    def mean_length(self) -> float:
        """Tokens of an average row."""
        return float(self.lengths.mean())

    @property
    def longest_answer(self) -> int:
        """Tokens of the longest answer, its end token included."""
        return self.counts.longest_answer

    @property
    def too_long(self) -> int:
        """Rows that were longer than the limit, whatever became of them."""
        return self.counts.too_long

    @property
    def max_length(self) -> int:
        """The limit, in tokens."""
        return self.counts.max_length


@dataclass
class Writer:
    """Writes encoded rows one at a time, to a file or (without one) to memory. Counts are written last."""

    counts: Counts
    target: Path | None = None
    _keys: list[str] = field(default_factory=list)
    _rows: list[Encoded] = field(default_factory=list)
    _held: int = 0

    def __enter__(self) -> Writer:
        self._sink: Any = pa.BufferOutputStream() if self.target is None else pa.OSFile(str(self.target), "wb")
        self._file = pa.ipc.new_file(self._sink, SCHEMA)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._flush()
        self._file.close()
        if self.target is not None:
            self._sink.close()
            if error is None:
                _counts_file(self.target).write_text(json.dumps(asdict(self.counts)), encoding="utf-8")

    def add(self, key: str, row: Encoded) -> None:
        """Append one row."""
        self.counts.longest_answer = max(self.counts.longest_answer, row.answer_tokens)
        self._keys.append(key)
        self._rows.append(row)
        self._held += len(row.ids)
        if self._held >= BATCH_TOKENS:
            self._flush()

    def result(self) -> TrainingSet:
        """All rows, after the writer was closed."""
        if self.target is not None:
            return TrainingSet.open(self.target)
        return TrainingSet(pa.ipc.open_file(self._sink.getvalue()).read_all(), self.counts)

    def _flush(self) -> None:
        if not self._rows:
            return
        starts = pa.array(np.cumsum([0, *(len(row.ids) for row in self._rows)]), pa.int64())
        ids = pa.array(np.concatenate([row.ids for row in self._rows]), pa.int32())
        answer = pa.array(np.concatenate([row.answer for row in self._rows]), pa.uint8())
        columns = [
            pa.array(self._keys, pa.large_string()),
            pa.LargeListArray.from_arrays(starts, ids),
            pa.LargeListArray.from_arrays(starts, answer),
        ]
        self._file.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
        self._keys, self._rows, self._held = [], [], 0


@dataclass(frozen=True, eq=False)
class _Part:
    """One batch of the file, without copies."""

    starts: npt.NDArray[np.int64]
    ids: Ids
    answer: Mask

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> _Part:
        ids, answer = batch.column(1), batch.column(2)
        return cls(ids.offsets.to_numpy(), ids.values.to_numpy(), answer.values.to_numpy())


class _Rows(Sequence[Encoded]):
    def __init__(self, data: TrainingSet) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data.lengths)

    @overload
    def __getitem__(self, number: int) -> Encoded: ...
    @overload
    def __getitem__(self, number: slice) -> list[Encoded]: ...
    def __getitem__(self, number: int | slice) -> Encoded | list[Encoded]:
        if isinstance(number, slice):
            return [self._data.row(place) for place in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        return self._data.row(number % len(self))


class _Keys(Sequence[str]):
    def __init__(self, keys: pa.ChunkedArray) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [str(key) for key in self._keys[number].to_pylist()]
        return str(self._keys[number].as_py())


def _counts_file(path: Path) -> Path:
    return path.with_suffix(".json")
