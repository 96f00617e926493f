"""How long the rows of a dataset are for a model, guessed from their characters: the controller has no tokenizer.

Text of the lab has 3.6 characters a token. Dense text (code, numbers, languages far from English) has fewer, so the longest row is taken
to have 3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from controller.kinds.base import Gatherer
from controller.kinds.dataset import DatasetFact
from controller.kinds.rows import RowsError, read_rows, survey
from training.config import Columns, Prompt
from training.planner import Rows

_CHARACTERS, _DENSE = 3.6, 3.0  # of a token
_TEMPLATE = 16  # tokens that the template itself adds


def row_lengths(data: DatasetFact, prompt: Prompt, columns: Columns, most: int | None, gatherer: Gatherer) -> Rows | None:
    """The rows of the train split; `most` as in maxRows. None where there are none. The file is read once for each state of it."""
    names = sorted({name.upper() for name in prompt.needed_columns(columns)})
    key = f"lengths:{data.fingerprint}:{','.join(names)}"
    known = gatherer.recall(key)
    if known is None:
        known = _measure(data, names)
        gatherer.remember(key, known)
    count, mean, longest = known
    if not count:
        return None
    fixed = len(prompt.instruction or "")
    return Rows(
        min(int(count), most or int(count)),
        _TEMPLATE + (mean + fixed) / _CHARACTERS,
        round(_TEMPLATE + (longest + fixed) / _DENSE),
    )


def _measure(data: DatasetFact, names: Iterable[str]) -> list[float]:
    """[rows, mean and largest number of characters]."""
    wanted = frozenset(names)
    try:
        splits = survey(_chosen(data), data.rule).splits
        sizes = [_size(row, wanted) for row, split in zip(_chosen(data), splits, strict=True) if split == "train"]
    except (RowsError, ValueError):  # the file changes at this moment; the next look reads it again
        return [0, 0.0, 0]
    return [len(sizes), sum(sizes) / len(sizes), max(sizes)] if sizes else [0, 0.0, 0]


def _chosen(data: DatasetFact) -> Iterable[dict[str, Any]]:
    columns = dict(data.columns)
    return ({name: value for name, value in row.items() if name in columns} for row in read_rows(data.file))


def _size(row: Mapping[str, Any], names: frozenset[str]) -> int:
    values = [value for name, value in row.items() if name.upper() in names and value is not None]
    return sum(len(value if isinstance(value, str) else json.dumps(value)) for value in values)
