"""COPY INTO: several files, what was loaded already, errors with file and row, transactions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from snowflake.connector.errors import Error

Connection = snowflake.connector.SnowflakeConnection
CSV = "FILE_FORMAT = (TYPE = CSV SKIP_HEADER = 1)"
NAMED = "FILE_FORMAT = (TYPE = JSON) MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE"
FILES = {
    "a.csv": "id,name\n1,a\n2,b\n",
    "b.csv": "id,name\n3,c\n",
    "bad.csv": "id,name\n4,d\nx,e\n6,f\n",
    "empty.csv": "id,name\n7,\n",
    "rows.json": '{"id": 8, "name": "h"}\n{"ID": 9, "Name": "i", "more": 1}\n',
    "broken.json": '{"id": 8, "name": "h"}\n{oops}\n{"id": 9, "name": "i"}\n',
}


@pytest.fixture
def loader(session: Connection, tmp_path: Path) -> Connection:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    session.cursor().execute("CREATE STAGE s")
    session.cursor().execute(f"PUT file://{tmp_path}/* @s AUTO_COMPRESS = FALSE")
    session.cursor().execute("CREATE TABLE t (id INT, name VARCHAR NOT NULL)")
    return session


def _copy(connection: Connection, options: str) -> list[Any]:
    return connection.cursor().execute(f"COPY INTO t FROM @s {options}").fetchall()


def _count(connection: Connection) -> int:
    return int(connection.cursor().execute("SELECT COUNT(*) FROM t").fetchone()[0])


def test_several_files_are_loaded_once(loader: Connection) -> None:
    both = f"FILES = ('a.csv', 'b.csv') {CSV}"
    assert [row[:4] for row in _copy(loader, both)] == [("s/a.csv", "LOADED", 2, 2), ("s/b.csv", "LOADED", 1, 1)]
    assert _copy(loader, both) == [("Copy executed with 0 files processed.",)]
    assert len(_copy(loader, f"{both} FORCE = TRUE")) == 2
    assert _count(loader) == 6
    loader.cursor().execute("DELETE FROM t")
    assert _copy(loader, both)[0][0].endswith("0 files processed."), "deleted rows are not loaded again"
    loader.cursor().execute("TRUNCATE TABLE t")
    assert len(_copy(loader, both)) == 2, "TRUNCATE forgets what was loaded"


def test_a_changed_file_is_loaded_again(loader: Connection, tmp_path: Path) -> None:
    _copy(loader, f"FILES = ('b.csv') {CSV}")
    (tmp_path / "b.csv").write_text("id,name\n33,cc\n")
    loader.cursor().execute(f"PUT file://{tmp_path}/b.csv @s AUTO_COMPRESS = FALSE OVERWRITE = TRUE")
    assert len(_copy(loader, f"PATTERN = '.*b.csv' {CSV}")) == 1
    assert _count(loader) == 2


ERRORS: list[tuple[str, int, list[str], str]] = [
    (f"FILES = ('a.csv', 'bad.csv') {CSV}", 100038, ["'x'", "s/bad.csv", "row 2"], "a value of the wrong type"),
    (f"FILES = ('empty.csv') {CSV}", 100072, ["NULL", "s/empty.csv", "row 1"], "an empty value where one is needed"),
    (f"FILES = ('broken.json') {NAMED}", 100069, ["JSON", "s/broken.json", "row 2"], "a line that is no JSON"),
    (f"FILES = ('nope.csv') {CSV}", 100080, ["nope.csv"], "no such file"),
    (f"FILES = ('a.csv') {CSV} ON_ERROR = PERHAPS", 1422, ["PERHAPS"], "no such option"),
]


def test_an_error_names_file_and_row_and_loads_nothing(loader: Connection) -> None:
    for options, errno, words, reason in ERRORS:
        with pytest.raises(Error) as caught:
            _copy(loader, options)
        assert caught.value.errno == errno, reason
        assert [word for word in words if word not in str(caught.value.msg)] == [], reason
        assert "/stages/" not in str(caught.value.msg), "where the account keeps its files is nobody's business"
        assert _count(loader) == 0, reason


def test_on_error(loader: Connection) -> None:
    skipped = _copy(loader, f"FILES = ('a.csv', 'bad.csv') {CSV} ON_ERROR = SKIP_FILE")
    assert [row[1:6] for row in skipped] == [("LOADED", 2, 2, 1, 0), ("LOAD_FAILED", 3, 0, 3, 1)]
    kept = _copy(loader, f"FILES = ('a.csv', 'bad.csv') {CSV} ON_ERROR = CONTINUE")
    assert [row[:6] for row in kept] == [("s/bad.csv", "PARTIALLY_LOADED", 3, 2, 3, 1)]
    assert kept[0][6:8] == ("Numeric value 'x' is not recognized", 2)
    assert _count(loader) == 4


def test_a_rolled_back_load_never_happened(loader: Connection) -> None:
    for end, count in (("ROLLBACK", 0), ("COMMIT", 2)):
        loader.cursor().execute("BEGIN")
        assert len(_copy(loader, f"FILES = ('rows.json') {NAMED}")) == 1
        with pytest.raises(Error):
            _copy(loader, f"FILES = ('bad.csv') {CSV}")
        assert _count(loader) == 2, "a failed COPY does not spoil the transaction"
        loader.cursor().execute(end)
        assert _count(loader) == count


def test_stages_of_users_and_tables(loader: Connection, tmp_path: Path) -> None:
    cursor = loader.cursor()
    for stage, name in (("@~/in", "in/a.csv"), ("@%t", "a.csv")):
        cursor.execute(f"PUT file://{tmp_path}/a.csv {stage} AUTO_COMPRESS = FALSE")
        assert cursor.execute(f"LIST {stage}").fetchall()[0][0] == name
        assert cursor.execute(f"COPY INTO t FROM {stage} {CSV}").fetchall()[0][:4] == (name, "LOADED", 2, 2)
        (tmp_path / "down").mkdir(exist_ok=True)
        cursor.execute(f"GET {stage} file://{tmp_path}/down/")
        assert (tmp_path / "down" / "a.csv").read_text() == FILES["a.csv"]
        assert cursor.execute(f"REMOVE {stage}").fetchall() == [(name, "removed")]
    assert [row[1] for row in cursor.execute("SHOW STAGES").fetchall()] == ["S"], "they are no objects"
