"""Encoded rows without a tokenizer: random tokens, the last few of each row are its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

VOCABULARY = 300
LENGTHS = (90, 41, 130, 64, 77, 52, 110, 35, 99, 120, 60, 83)


@dataclass(frozen=True)
class Row:
    """What the loop asks of an encoded row."""

    ids: Any
    answer_start: int

    def learned(self, loss: str) -> Any:
        return np.arange(self.answer_start if loss == "answer" else 1, len(self.ids))


@dataclass(frozen=True)
class Pack:
    """What the loop asks of a training set."""

    rows: tuple[Row, ...]

    @property
    def ids(self) -> list[str]:
        return [f"row{number}" for number in range(len(self.rows))]

    @property
    def lengths(self) -> list[int]:
        return [len(row.ids) for row in self.rows]


def pack(lengths: Sequence[int] = LENGTHS, *, vocabulary: int = VOCABULARY, answer: int = 20, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    rows = [Row(random.integers(3, vocabulary, length, dtype=np.int32), max(1, length - answer)) for length in lengths]
    return Pack(tuple(rows))
