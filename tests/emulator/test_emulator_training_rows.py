"""How the trainer reads rows from an account: the needed columns, as Arrow, and a clear word on what it cannot read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from snowflake.connector import SnowflakeConnection as Connection

from container.rows import query_rows
from training.config import Data, Prompt
from training.data.examples import choose_rows, render
from training.data.rows import open_rows, write_rows
from training.errors import BadInputError


@pytest.fixture
def table(session: Connection) -> str:
    cursor = session.cursor()
    cursor.execute('CREATE TABLE CALLS (INSTRUCTION VARCHAR, "Input" VARCHAR, OUTPUT VARIANT, N NUMBER, _ROW_ID VARCHAR, _SPLIT VARCHAR)')
    cursor.execute(
        "INSERT INTO CALLS SELECT 'do', 'call ' || SEQ, PARSE_JSON('{\"city\": \"Köln\"}'), SEQ, 'id' || SEQ, "
        "CASE WHEN SEQ % 10 = 0 THEN 'test' WHEN SEQ % 5 = 0 THEN 'eval' ELSE 'train' END "
        "FROM (SELECT SEQ4() AS SEQ FROM TABLE(GENERATOR(ROWCOUNT => 3000)))"
    )
    [(database,)] = cursor.execute("SELECT CURRENT_DATABASE()").fetchall()
    return f"{database}.PUBLIC.CALLS"


def fetched(session: Connection, data: Data, folder: Path, prompt: Prompt | None = None) -> Any:
    prompt = prompt or Prompt()
    write_rows(query_rows(session, data, prompt), data, prompt, folder / "rows.arrow")
    return open_rows(folder / "rows.arrow")


def test_a_table_is_read_without_its_test_split_and_other_columns(session: Connection, table: str, tmp_path: Path) -> None:
    data = Data(table=table)
    rows = fetched(session, data, tmp_path)
    assert rows.num_rows == 2700
    assert set(rows["_split"].to_pylist()) == {"train", "eval"}
    assert "n" not in rows.column_names
    [row, *_] = render(rows, choose_rows(rows, data, 2).train, data, Prompt())
    assert row.id.startswith("id")
    assert json.loads(row.example.answer) == {"city": "Köln"}


def test_a_query_shapes_rows_and_is_split_by_their_content(session: Connection, table: str, tmp_path: Path) -> None:
    query = f"""
        -- numbers and dates are text in the end
        SELECT N AS "prompt", TO_DATE('2026-01-02') AS completion, N % 2 AS lang FROM {table} WHERE N < 100 ORDER BY RANDOM();
    """
    data = Data.model_validate({"query": query, "shares": {"train": 0.5, "eval": 0.5, "stratifyBy": "LANG"}})
    prompt = Prompt(template="completion")
    chosen = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rows = fetched(session, data, tmp_path / name, prompt)
        part = choose_rows(rows, data, 100)
        assert part.splits == {"eval": 50, "train": 50}
        chosen.append([(row.example.question.text, row.example.answer) for row in render(rows, part.train, data, prompt)])
    assert chosen[0] == chosen[1], "whatever order the warehouse returns them in"
    assert {answer for _, answer in chosen[0]} == {"2026-01-02"}
    assert sum(int(text) % 2 for text, _ in chosen[0]) == 25


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"table": "NOT_THERE.A.B"}, "cannot read NOT_THERE.A.B: it does not exist, or the service's role may not SELECT"),
        ({"query": "SELECT * FROM NOT_THERE"}, "cannot read the query of data.query: it does not exist"),
        ({"query": "SELECT 1 AS input, 2 AS other"}, "lacks the columns instruction, output; it has input, other"),
        ({"query": "SELECT 'a' AS instruction, 'b' AS input, 'c' AS output WHERE 1 = 0"}, "has no rows"),
        ({"query": "SELEC 1"}, "cannot read the query of data.query"),
        ({"query": "DROP TABLE CALLS"}, "cannot read the query of data.query"),
        ({"query": "SELECT 1 AS input) ; DROP TABLE CALLS; --"}, "cannot read the query of data.query"),
    ],
)
def test_what_cannot_be_read(session: Connection, table: str, tmp_path: Path, source: dict[str, str], words: str) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        fetched(session, Data.model_validate(source), tmp_path)
    assert caught.value.exit_code == 10
    assert session.cursor().execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (3000,)
