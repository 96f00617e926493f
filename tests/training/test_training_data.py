"""Which rows are used, how they are shared out, and what is said about rows that cannot be used."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from training_tiny import select_rows, tiny_rows, tiny_table, tiny_tokenizer

from training.config import Data, Prompt
from training.config.rows import Shares
from training.data.encoded import TrainingSet
from training.data.examples import Encoding, choose_rows, render
from training.data.prompts import example
from training.data.rows import KEY, as_text, open_rows, read_file, text_batch, write_rows
from training.data.tokens import Tokens
from training.errors import BadInputError

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


def test_rows_with_one_id_are_all_kept_and_ordered_by_content() -> None:
    rows = tiny_rows()
    for row in rows:
        row["_ROW_ID"] = "same"
    chosen = select_rows(rows, DATA, Prompt(), 9).train
    assert len(chosen) == 18
    assert chosen == select_rows(rows[::-1], DATA, Prompt(), 9).train


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "dataset T has no rows"),
        ([{"input": "x", "_SPLIT": "train"}], "lacks the columns instruction, output; it has input, _split"),
        ([{**row, "_SPLIT": "eval"} for row in tiny_rows()], r"no rows in its 'train' split \(eval: 24\)"),
        ([{**tiny_rows()[1], "_SPLIT": None}], r"no rows in its 'eval' split \(train: 1\)"),
        ([{**row, "OUTPUT": None if i else "x"} for i, row in enumerate(tiny_rows())], "18 of 18 rows of T cannot be used; first row row"),
        ([{**row, "OUTPUT": " "} for row in tiny_rows()], "the answer is empty"),
    ],
    ids=["no rows", "missing columns", "no train split", "one row", "NULL", "empty answers"],
)
def test_unusable_rows(rows: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        select_rows(rows, DATA, Prompt(), 4)


# ---- sharing out ---------------------------------------------------------------------------------------------------------------------


def unsplit(count: int) -> list[dict[str, Any]]:
    return [{"instruction": "do", "input": f"call {i}", "output": "x", "lang": "de" if i % 10 == 0 else "en"} for i in range(count)]


def shares(**rule: Any) -> Data:
    return Data.model_validate({"table": "T", "shares": {"train": 0.7, "eval": 0.2, "test": 0.1, **rule}})


def parts(rows: list[dict[str, Any]], data: Data) -> dict[str, str]:
    table = tiny_table(rows, data)
    chosen = choose_rows(table, data, 10**6)
    found = {table["input"][int(i)].as_py(): "train" for i in chosen.train}
    return found | {table["input"][int(i)].as_py(): "eval" for i in chosen.eval}


def test_rows_without_a_split_are_shared_out_exactly_and_by_content_alone() -> None:
    rows = unsplit(200)
    found = parts(rows, shares())
    assert Counter(found.values()) == {"train": 140, "eval": 40}
    assert parts(rows[::-1], shares()) == found


def test_every_stratum_is_shared_out_alike() -> None:
    rows = unsplit(200)
    found = parts(rows, shares(stratifyBy="LANG"))
    assert Counter(found[row["input"]] for row in rows if row["lang"] == "de" and row["input"] in found) == {"train": 14, "eval": 4}


def test_a_row_that_occurs_twice_is_never_both_learned_and_scored() -> None:
    data = shares()
    table = tiny_table(unsplit(100) * 2, data)
    chosen = choose_rows(table, data, 1000)
    train, held_out = ({table[KEY][int(i)].as_py() for i in part} for part in (chosen.train, chosen.eval))
    assert not train & held_out


def test_more_rows_move_few_of_the_others() -> None:
    before, after = parts(unsplit(200), shares()), parts(unsplit(210), shares())
    moved = [name for name in before if name in after and before[name] != after[name]]
    assert len(moved) <= 6


def test_a_split_column_of_another_name_is_not_replaced_by_chance() -> None:
    data = Data.model_validate({"table": "T", "columns": {"split": "part"}})
    with pytest.raises(BadInputError, match="no values in the column part"):
        choose_rows(tiny_table(unsplit(10), data), data, 4)


# ---- sources -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_file_of_any_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    rows = [{"Input": 'a,\n"b" ü', "output": "1", "instruction": "do"}, {"Input": "c", "output": "2", "instruction": "do"}]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".csv":
        quoted = "\n".join(",".join('"' + row[name].replace('"', '""') + '"' for name in rows[0]) for row in rows)
        path.write_text("Input,output,instruction\n" + quoted, encoding="utf-8")
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert write_rows(read_file(path), DATA, Prompt(), tmp_path / "rows.arrow") == 2
    table = open_rows(tmp_path / "rows.arrow")
    assert table["input"].to_pylist() == ['a,\n"b" ü', "c"]
    assert table["output"].to_pylist() == ["1", "2"]
    assert table["_split"].null_count == 2
    assert len(set(table[KEY].to_pylist())) == 2, "rows without an id get one"


def test_lists_and_objects_become_json(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    path = tmp_path / "rows.parquet"
    pa.parquet.write_table(pa.Table.from_pylist([{"messages": turns}]), path)
    write_rows(read_file(path), DATA, Prompt(template="chat"), tmp_path / "rows.arrow")
    table = open_rows(tmp_path / "rows.arrow")
    [row] = render(table, np.array([0]), DATA, Prompt(template="chat"))
    assert row.example.answer == "ho"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a"', ":2: not JSON"),
        ("a.jsonl", b"[1]\n", ":1: a row must be"),
        ("a.jsonl", b"\xff\xfe\x00", "cannot read"),
        ("a.jsonl", b"[" * 100_000, ":1: n"),
        ("a.jsonl", b"", "has no rows"),
        ("a.csv", b"Hello,World,Hello\n1,2,3\n", "a header is needed"),
        ("a.csv", b"do this,the text,the answer\nmore,rows,here\n", "lacks the columns instruction, input, output; it has do this"),
        ("a.csv", b"instruction,input,output\n1,2\n", "cannot read"),
        ("a.parquet", b"PAR1 no", "cannot read"),
        ("a.xlsx", b"", "unknown format '.xlsx'"),
    ],
)
def test_a_file_that_holds_no_rows(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words):
        write_rows(read_file(path), Data(path=str(path)), Prompt(), tmp_path / "rows.arrow")
    with pytest.raises(BadInputError, match="there is no file"):
        list(read_file(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("half.jsonl", b'{"text": "ok"}\n{"text": "cut \\ud83d off"}\n', r"half.jsonl:2: a text holds half a character \('\\ud83d'\)"),
        ("key.jsonl", b'{"\\ud800": 1}\n', "key.jsonl:1: a text holds half a character"),
    ],
)
def test_half_a_character_in_a_file(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words):
        write_rows(read_file(path), Data(path=str(path)), Prompt(template="text"), tmp_path / "rows.arrow")


def test_half_a_character_that_was_written_out_in_a_column() -> None:
    row = {"messages": json.dumps([{"role": "user", "content": "\ud83d"}, {"role": "assistant", "content": "a"}])}
    with pytest.raises(BadInputError, match="half a character"):
        example(Prompt(template="chat"), Data(table="T").columns, row)


def test_a_date_that_python_does_not_know(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_pydict({"text": pa.array([-(10**17)], pa.timestamp("us"))})
    with pytest.raises(BadInputError, match="cannot be written as text"):
        write_rows([batch], Data(table="T"), Prompt(template="text"), tmp_path / "rows.arrow")


def test_a_column_of_strata_that_is_missing(tmp_path: Path) -> None:
    rule = Shares.model_validate({"stratifyBy": "langage"})
    with pytest.raises(BadInputError, match="lacks the column langage"):
        write_rows([text_batch([{"text": "a"}], ["text"])], Data(table="T", shares=rule), Prompt(template="text"), tmp_path / "rows.arrow")


def test_a_field_of_megabytes_in_a_csv_file(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("text\n" + "x" * 3_000_000 + "\n", encoding="utf-8")
    assert sum(batch.num_rows for batch in read_file(tmp_path / "r.csv")) == 1


# ---- memory --------------------------------------------------------------------------------------------------------------------------


def peak_of(rows: int, folder: Path) -> tuple[int, int]:
    """(largest memory of Python and Arrow in bytes, tokens) while so many rows are written, chosen and encoded."""
    import tracemalloc

    folder.mkdir()

    def batches() -> Any:
        for start in range(0, rows, 500):
            made = [{"text": as_text(f"row {i} " + "abcdefghij" * 20)} for i in range(start, start + 500)]
            yield text_batch(made, ["text"])

    data, prompt = Data(table="T"), Prompt(template="text")
    arrow = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        write_rows(batches(), data, prompt, folder / "rows.arrow")
        table = open_rows(folder / "rows.arrow")
        chosen = choose_rows(table, data, 4)
        encoding = Encoding(Tokens(tiny_tokenizer()), 4096)
        found = encoding.encode(render(table, chosen.train, data, prompt), folder / "encoded.arrow")
        return tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - arrow, int(found.lengths.sum())
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_tokens(tmp_path: Path) -> None:
    small, _ = peak_of(1000, tmp_path / "small")
    large, tokens = peak_of(4000, tmp_path / "large")
    assert tokens > 700_000
    assert large - small < tokens, "four times the rows cost less than a byte a token more"


def test_a_mapped_set_is_the_one_that_was_written(tmp_path: Path) -> None:
    tokens = Tokens(tiny_tokenizer())
    rows = select_rows(tiny_rows(), DATA, Prompt(), 4).train
    written = Encoding(tokens, 512).encode(rows, tmp_path / "encoded.arrow")
    opened, held = TrainingSet.open(tmp_path / "encoded.arrow"), Encoding(tokens, 512).encode(rows)
    for data in (written, opened, held):
        assert [data.ids[i] for i in range(len(data.rows))] == [row.id for row in rows]
        for row, made in zip(rows, data.rows, strict=True):
            again = tokens.example(row.example)
            assert again.ids.tolist() == made.ids.tolist()
            assert again.answer.tolist() == made.answer.tolist()
        assert data.lengths.tolist() == [len(row.ids) for row in data.rows]
        assert data.longest_answer == max(row.answer_tokens for row in data.rows)
    assert opened.counts.fingerprint == held.counts.fingerprint
