"""Which rows are used, and what is said about rows that cannot be."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from training_tiny import tiny_rows, tiny_tokenizer

from training.config import Data, Prompt
from training.data import encode_rows, read_json_lines, select_rows
from training.errors import BadInputError
from training.tokens import Tokens

DATA = Data(table="T")


def test_the_order_of_the_source_does_not_matter() -> None:
    rows = tiny_rows()
    shuffled = random.Random(3).sample(rows, len(rows))
    assert select_rows(rows, DATA, Prompt(), 4) == select_rows(shuffled, DATA, Prompt(), 4)


def test_max_rows_takes_a_part_that_depends_on_the_seed() -> None:
    whole = {row.id for row in select_rows(tiny_rows(), DATA, Prompt(), 4).train}
    parts = [[row.id for row in select_rows(tiny_rows(), Data(table="T", max_rows=6, seed=seed), Prompt(), 4).train] for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]
    assert len(parts[0]) == 6
    assert set(parts[0]) < whole


def test_rows_with_one_id_are_both_kept() -> None:
    rows = tiny_rows()
    for row in rows:
        row["_ROW_ID"] = "same"
    assert len({row.id for row in select_rows(rows, DATA, Prompt(), 9).train}) == 18


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "dataset T has no rows"),
        ([{"input": "x", "_SPLIT": "train"}], "lacks the columns instruction, output; it has input, _split"),
        ([{**row, "_SPLIT": "eval"} for row in tiny_rows()], r"no rows in its 'train' split \(eval: 24\)"),
        ([{**row, "OUTPUT": None} for row in tiny_rows()], "22 of 22 rows of T cannot be used; first row row"),
        ([{**row, "OUTPUT": " "} for row in tiny_rows()], "the answer is empty"),
    ],
    ids=["no rows", "missing columns", "no train split", "NULL", "empty answers"],
)
def test_unusable_rows(rows: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        select_rows(rows, DATA, Prompt(), 4)


def test_long_rows_are_left_out_and_counted() -> None:
    tokens = Tokens(tiny_tokenizer())
    rows = select_rows(tiny_rows(), DATA, Prompt(), 4).train
    lengths = sorted(len(tokens.example(row.example).ids) for row in rows)
    data = encode_rows(rows, tokens, lengths[8])
    assert data.too_long == sum(length > lengths[8] for length in lengths) > 0
    assert len(data.rows) + data.too_long == len(rows)
    with pytest.raises(BadInputError, match="all 18 training rows are longer than 5 tokens"):
        encode_rows(rows, tokens, 5)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b'{"a": 1}\n{"a"', ":2: not JSON"), (b"[1]\n", ":1: a row must be"), (b"\xff\xfe\x00", "cannot read")],
)
def test_a_file_that_is_no_json_lines(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words):
        list(read_json_lines(path))
