"""Datasets: rows of a file, their ids and splits, and when the table is loaded again."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds_world import World, only

from controller.account.errors import AccountError, NotFound, NoWarehouse, Rejected
from controller.account.session import Result
from controller.account.snapshot import Show
from controller.api.objects import Graph
from controller.kinds.base import KindError, Observation, Stalled, Waiting
from controller.kinds.dataset import LoadRows
from controller.kinds.registry import KINDS
from controller.kinds.rows import RowsError, SplitRule, content_id, read_rows, survey

DATASET = KINDS["Dataset"]
TABLES = Show("TABLES", "SCHEMA DB.SCH")
MANIFEST = "kind: Dataset\nmetadata: {name: calls, schema: db.sch}\nspec: {file: calls.jsonl, comment: calls of a month}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": }\n', "a.jsonl:2: not JSON: Expecting value at column 7"),
        ("a.jsonl", b"[1, 2]\n", "a.jsonl:1: expected an object with columns, found list"),
        ("a.jsonl", b'{"a": 1, "A": 2}\n', "a.jsonl:1: two columns are called A"),
        ("a.jsonl", b'{"a": 1, "a": 2}\n', "a.jsonl:1: the key 'a' occurs twice"),
        ("a.jsonl", b'{"a": NaN}\n', "a.jsonl:1: NaN is no JSON value"),
        ("a.jsonl", b'{"a": "\xff"}\n', "a.jsonl:1: not UTF-8 text"),
        ("a.jsonl", b'{"_row_id": 1}\n', "a.jsonl:1: the column _ROW_ID is made by the dataset itself"),
        ("a.csv", b"a,b\n1,2,3\n", "a.csv:2: 3 fields, but the header names 2 columns"),
        ("a.csv", b"a,A\n1,2\n", "a.csv:1: two columns have the same name"),
        ("a.parquet", b"not parquet", "a.parquet: not a Parquet file"),
        ("a.xlsx", b"", "unknown format '.xlsx'"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RowsError, match=re.escape(message)):
        list(read_rows(path))


def test_one_table_from_three_formats(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.jsonl").write_text('\ufeff{"text": "a", "city": null}\n\n{"text": "b", "city": "Köln"}\n')
    (tmp_path / "a.csv").write_text("text,city\na,\nb,Köln\n")
    pq.write_table(pa.table({"text": ["a", "b"], "city": [None, "Köln"]}), tmp_path / "a.parquet")
    expected = [{"TEXT": "a"}, {"TEXT": "b", "CITY": "Köln"}]
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        assert list(read_rows(tmp_path / name)) == expected, f"{name}: a missing value and NULL are the same"


def test_column_types() -> None:
    rows = [
        {"B": True, "I": 1, "F": 1.5, "S": "x", "L": [1], "O": {"a": 1}, "N": 1, "M": 1},
        {"I": 2, "N": 1.5, "M": "text"},
    ]
    assert survey(rows, SplitRule()).columns == {
        "B": "BOOLEAN",
        "I": "NUMBER",
        "F": "FLOAT",
        "S": "VARCHAR",
        "L": "ARRAY",
        "O": "OBJECT",
        "N": "FLOAT",
        "M": "VARIANT",
    }


def test_equal_rows_are_kept_apart() -> None:
    found = survey([{"A": 1}, {"A": 1}, {"A": 1}], SplitRule())
    assert len(set(found.row_ids)) == 3
    assert found.row_ids[1] == found.row_ids[0] + "-2"


Rows = st.lists(
    st.dictionaries(st.sampled_from("ABC"), st.one_of(st.integers(), st.text(), st.none()), min_size=1), min_size=1, max_size=40
)


@given(Rows, st.randoms(use_true_random=False))
def test_order_does_not_count(rows: list[dict[str, Any]], random: Any) -> None:
    clean = [{name: value for name, value in row.items() if value is not None} for row in rows]
    shuffled = list(clean)
    random.shuffle(shuffled)
    first, second = survey(clean, SplitRule(seed=3)), survey(shuffled, SplitRule(seed=3))
    assert first.fingerprint == second.fingerprint
    assert dict(zip(first.row_ids, first.splits, strict=True)) == dict(zip(second.row_ids, second.splits, strict=True))


def test_a_split_is_stable_and_even_in_every_stratum() -> None:
    rows = [{"LANGUAGE": "EN" if n % 4 else "DE", "TEXT": f"call {n}"} for n in range(200)]
    rule = SplitRule(0.8, 0.1, 0.1, "language", 7)
    before = survey(rows, rule)
    for language, share in (("EN", 150), ("DE", 50)):
        splits = [split for row, split in zip(rows, before.splits, strict=True) if row["LANGUAGE"] == language]
        assert (splits.count("train"), splits.count("eval"), splits.count("test")) == (share * 0.8, share * 0.1, share * 0.1)
    after = survey([*rows, {"LANGUAGE": "EN", "TEXT": "one more"}], rule)
    moved = sum(1 for old, new in zip(before.splits, after.splits, strict=False) if old != new)
    assert moved <= 2, "a new row moves at most one other over each border"
    assert after.fingerprint != before.fingerprint


def test_content_ids_do_not_change_between_versions() -> None:
    assert content_id({"A": 1, "B": "ä"}) == content_id({"B": "ä", "A": 1}) == "1527d2b1d5b049bf"


# ---- the kind --------------------------------------------------------------------------------------------------------------------------


def write(folder: Path, rows: int = 10, **changes: str) -> None:
    lines = [json.dumps({"text": changes.get(str(n), f"call {n}"), "tags": ["a"]}) for n in range(rows)]
    (folder / "calls.jsonl").write_text("\n".join(lines))


def loaded(world: World, graph: Graph, **columns: Any) -> dict[str, Any]:
    """The row of SHOW TABLES after the load."""
    obj = only(graph, "Dataset")
    view = world.view(graph)
    load = DATASET.create(obj, view)[1]
    return {"name": "CALLS", "database_name": "DB", "schema_name": "SCH", "comment": load.comment, "rows": 10, "owner": "WORKER", **columns}  # type: ignore[union-attr]


def look(world: World, graph: Graph) -> Observation:
    return DATASET.observe(only(graph, "Dataset"), world.view(graph))


def test_a_new_dataset_is_a_table_and_a_load(tmp_path: Path) -> None:
    write(tmp_path)
    world = World(tmp_path)
    graph = world.load(MANIFEST)
    table, load = DATASET.create(only(graph, "Dataset"), world.view(graph))
    assert "CREATE TABLE DB.SCH.CALLS" in str(table) and "TAGS ARRAY" in str(table) and "_SPLIT VARCHAR" in str(table)
    assert str(load) == "load 10 rows of calls.jsonl into DB.SCH.CALLS (8 train, 1 eval, 1 test)"


def test_a_loaded_table_is_in_sync_and_the_file_is_read_once(tmp_path: Path) -> None:
    write(tmp_path)
    world = World(tmp_path)
    graph = world.load(MANIFEST)
    world.see(TABLES, loaded(world, graph))
    seen = look(world, graph)
    assert seen.exists and not seen.drift and seen.message == "10 rows: 8 train, 1 eval, 1 test"
    assert len([key for key in world.memory if key.startswith("dataset:")]) == 1


@pytest.mark.parametrize(
    ("change", "path", "steps", "reason"),
    [
        ("row", "data", ["load"], "another row is another fingerprint"),
        ("column", "columns", ["CREATE OR REPLACE TABLE", "load"], "other columns need another table"),
        ("rows", "rows", ["load"], "rows were added by hand"),
        ("comment", "comment", ["COMMENT ON TABLE"], "the comment alone needs no load"),
    ],
)
def test_what_is_done_for_a_change(tmp_path: Path, change: str, path: str, steps: list[str], reason: str) -> None:
    write(tmp_path)
    world = World(tmp_path)
    graph = world.load(MANIFEST)
    row = loaded(world, graph)
    if change == "row":
        write(tmp_path, **{"3": "another"})
    elif change == "column":
        (tmp_path / "calls.jsonl").write_text('{"text": "a", "tags": ["a"], "city": "x"}\n')
    elif change == "rows":
        row["rows"] = 11
    else:
        graph = world.load(MANIFEST.replace("calls of a month", "calls of a year"))
    world.see(TABLES, row)
    seen = look(world, graph)
    assert path in [field.path for field in seen.drift], reason
    done = DATASET.update(only(graph, "Dataset"), seen, world.view(graph))
    assert [next(step for step in steps if str(made).startswith(step)) for made in done] == steps


@pytest.mark.parametrize("born", ["today", "yesterday"])
def test_a_table_whose_comment_was_written_over(tmp_path: Path, born: str) -> None:
    write(tmp_path)
    world = World(tmp_path)
    graph = world.load(MANIFEST)
    world.see(TABLES, loaded(world, graph, comment="x", created_on="today"))
    obj, seen = only(graph, "Dataset"), look(world, graph)
    view = dataclasses.replace(world.view(graph), births={obj.key: born})
    if born == seen.born:
        assert [str(step).split()[0] for step in DATASET.update(obj, seen, view)] == ["CREATE", "load"]
    else:
        with pytest.raises(Stalled, match="was not loaded by Snowcat"):
            DATASET.update(obj, seen, view)


def test_a_load_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    write(tmp_path)
    world = World(tmp_path)
    graph = world.load(MANIFEST)
    (table, _) = DATASET.create(only(graph, "Dataset"), world.view(graph))
    comment = str(table).partition("COMMENT = '")[2].rstrip("'")
    world.see(TABLES, {**loaded(world, graph), "comment": comment, "rows": 0})
    seen = look(world, graph)
    assert [field.path for field in seen.drift] == ["data"]
    assert seen.reason == "NotLoaded"


def test_without_a_warehouse_the_message_says_where_to_set_one(tmp_path: Path) -> None:
    write(tmp_path)
    world = World(tmp_path)
    graph = world.load(MANIFEST)
    view = world.view(graph)
    object.__setattr__(view.project, "warehouse", None)
    with pytest.raises(Stalled, match=r"set `warehouse` in snowcat\.yaml"):
        DATASET.create(only(graph, "Dataset"), view)


def test_a_bad_line_stalls_this_dataset_alone(tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").write_text('{"a": 1}\n{"a"\n')
    world = World(tmp_path)
    graph = world.load(MANIFEST)
    with pytest.raises(KindError, match=r"calls\.jsonl:2: not JSON"):
        look(world, graph)


def test_a_column_type_is_no_way_into_the_statement(tmp_path: Path) -> None:
    write(tmp_path)
    world = World(tmp_path)
    graph = world.load(MANIFEST.replace("file:", "columns: {text: 'VARCHAR); DROP TABLE x; --'}, file:"))
    with pytest.raises(KindError, match="is not an SQL type"):
        look(world, graph)


# ---- loading ---------------------------------------------------------------------------------------------------------------------------


class Session:
    """Records statements; `fails` maps the first word of one to the error that it raises."""

    def __init__(self, fails: dict[str, AccountError] | None = None, loaded: int = 10) -> None:
        self.fails = fails or {}
        self.loaded = loaded
        self.said: list[str] = []
        self.rows: list[dict[str, Any]] = []

    def execute(self, statement: str) -> Result:
        word = statement.split()[0]
        self.said.append(word)
        if word in self.fails:
            raise self.fails[word]
        return Result(rows=({"status": "LOADED", "rows_loaded": str(self.loaded)},) if word == "COPY" else ())

    @contextlib.contextmanager
    def warehouse(self, name: str) -> Iterator[None]:
        self.execute("USE " + name)
        yield

    def put_file(self, local: Path, stage: object) -> None:
        self.said.append("PUT")
        with gzip.open(local, "rt", encoding="utf-8") as lines:
            self.rows = [json.loads(line) for line in lines]


class Context:
    def __init__(self, session: Session, folder: Path) -> None:
        self.session = session
        self.workdir = folder

    def progress(self, message: str) -> None:
        assert message


def load(folder: Path, session: Session) -> None:
    write(folder)
    world = World(folder)
    graph = world.load(MANIFEST)
    step = DATASET.create(only(graph, "Dataset"), world.view(graph))[1]
    assert isinstance(step, LoadRows)
    (folder / "work").mkdir()
    step.run(Context(session, folder / "work"))


def test_rows_are_replaced_in_one_transaction_and_noted_last(tmp_path: Path) -> None:
    session = Session()
    load(tmp_path, session)
    assert session.said == ["USE", "CREATE", "PUT", "BEGIN", "DELETE", "COPY", "COMMIT", "COMMENT", "DROP"]
    assert session.rows[0].keys() == {"TEXT", "TAGS", "_ROW_ID", "_SPLIT"}
    assert len({row["_ROW_ID"] for row in session.rows}) == 10


@pytest.mark.parametrize(
    ("session", "kind", "message"),
    [
        (Session({"DELETE": NoWarehouse("suspended")}), NoWarehouse, "warehouse WH is suspended or missing (suspended)"),
        (Session({"USE": NotFound("no such warehouse")}), NotFound, "warehouse WH is suspended or missing (no such warehouse)"),
        (Session(loaded=9), Waiting, "9 of 10 rows arrived"),
    ],
)
def test_a_load_that_cannot_be_done(tmp_path: Path, session: Session, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        load(tmp_path, session)
    assert "COMMIT" not in session.said and "COMMENT" not in session.said
    assert ("ROLLBACK" in session.said) == ("BEGIN" in session.said)


def test_a_failed_load_leaves_the_old_rows(tmp_path: Path) -> None:
    session = Session({"COPY": Rejected("bad file")})
    with pytest.raises(Rejected):
        load(tmp_path, session)
    assert session.said[-2:] == ["ROLLBACK", "DROP"]
