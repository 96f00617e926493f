"""Stages through the real driver: PUT, GET, LIST, REMOVE, reading files and COPY."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import snowflake.connector
from embedded_account import run_account
from snowflake.connector.pandas_tools import write_pandas
from starlette.applications import Starlette
from starlette.testclient import TestClient

from emulator.stages.files import StageFiles
from emulator.wire.transfer import Transfer

Connection = snowflake.connector.SnowflakeConnection


@pytest.fixture
def files(tmp_path: Path, session: Connection) -> Path:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"id": i, "Name": f"n{i}", "tags": [i]}) + "\n" for i in (1, 2)))
    (tmp_path / "rows.csv").write_text('id,name\n3,"a, b"\n4,c\n')
    pq.write_table(pa.table({"ID": [5, 6], "NAME": ["p", None]}), tmp_path / "rows.parquet")
    session.cursor().execute("CREATE STAGE s DIRECTORY = (ENABLE = TRUE) ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE')")
    session.cursor().execute(f"PUT 'file://{tmp_path}/rows.*' @s/in AUTO_COMPRESS = FALSE")
    return tmp_path


def test_files_go_up_and_come_down(session: Connection, files: Path, tmp_path: Path) -> None:
    cursor = session.cursor()
    names = [row[0] for row in cursor.execute("LS @s").fetchall()]
    assert names == ["s/in/rows.csv", "s/in/rows.jsonl", "s/in/rows.parquet"]
    assert [row[0] for row in cursor.execute("LIST @s PATTERN = '.*json.*'").fetchall()] == ["s/in/rows.jsonl"]
    target = tmp_path / "down"
    target.mkdir()
    cursor.execute(f"GET @s/in file://{target}/")
    assert (target / "rows.csv").read_bytes() == (files / "rows.csv").read_bytes()
    cursor.execute(f"PUT file://{files}/rows.csv @s/zip AUTO_COMPRESS = TRUE")
    assert cursor.execute("LS @s/zip").fetchall()[0][0] == "s/zip/rows.csv.gz"
    assert cursor.execute("REMOVE @s/in/rows.csv").fetchall() == [("s/in/rows.csv", "removed")]
    cursor.execute("RM @s")
    assert cursor.execute("LS @s").fetchall() == []


def test_staged_files_are_read_and_copied(session: Connection, files: Path) -> None:
    cursor = session.cursor()
    cursor.execute("CREATE FILE FORMAT j TYPE = JSON")
    read = "SELECT $1:id::INT, $1:Name::VARCHAR, metadata$filename FROM @s/in/rows.jsonl (FILE_FORMAT => 'j') ORDER BY 1"
    assert cursor.execute(read).fetchall() == [(1, "n1", "s/in/rows.jsonl"), (2, "n2", "s/in/rows.jsonl")]
    cursor.execute("CREATE TABLE t (id INT, name VARCHAR)")
    for statement, reason in (
        ("COPY INTO t FROM @s/in/rows.jsonl FILE_FORMAT = (TYPE = JSON) MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE", "by name"),
        ("COPY INTO t FROM @s FILE_FORMAT = (TYPE = CSV SKIP_HEADER = 1 FIELD_OPTIONALLY_ENCLOSED_BY = '\"') PATTERN = '.*csv'", "csv"),
        ("COPY INTO t FROM (SELECT $1:ID::INT, $1:NAME::VARCHAR FROM @s/in/rows.parquet) FILE_FORMAT = (TYPE = PARQUET)", "transformed"),
    ):
        assert cursor.execute(statement).fetchall()[0][1:4] == ("LOADED", 2, 2), reason
        assert "0 files" in cursor.execute(statement).fetchall()[0][0], f"{reason}: a loaded file is not loaded again"
    found = cursor.execute("SELECT * FROM t ORDER BY id").fetchall()
    assert found == [(1, "n1"), (2, "n2"), (3, "a, b"), (4, "c"), (5, "p"), (6, None)]


def test_write_pandas(session: Connection) -> None:
    frame = pd.DataFrame({"ID": [1, 2], "NAME": ["x", None], "AT": pd.to_datetime(["2024-01-01", "2024-02-01"])})
    done, _, count, _ = write_pandas(session, frame, "FRAME", auto_create_table=True, overwrite=True)
    assert (done, count) == (True, 2)
    back = session.cursor().execute("SELECT id, name, at FROM frame ORDER BY id").fetch_pandas_all()
    assert list(back["ID"]) == [1, 2] and list(back["AT"]) == list(frame["AT"])


def test_a_full_stage_says_so(tmp_path: Path) -> None:
    account = run_account(tmp_path / "state", "--stage-quota", "1000")
    client = next(account).connect()
    cursor = client.cursor()
    cursor.execute("CREATE DATABASE d")
    cursor.execute("CREATE STAGE s")
    (tmp_path / "small").write_bytes(b"x" * 500)
    (tmp_path / "big").write_bytes(b"x" * 600)
    cursor.execute(f"PUT file://{tmp_path}/small @s AUTO_COMPRESS = FALSE")
    with pytest.raises(snowflake.connector.errors.Error, match="Insufficient Storage"):
        cursor.execute(f"PUT file://{tmp_path}/big @s AUTO_COMPRESS = FALSE")
    assert [row[0] for row in cursor.execute("LS @s").fetchall()] == ["s/small"]
    client.close()
    account.close()


@pytest.mark.parametrize(
    ("step", "number", "status"),
    [("incoming", errno.ENOSPC, 507), ("accept", errno.EDQUOT, 507), ("accept", errno.EIO, 500)],
)
def test_an_upload_that_finds_the_disk_full_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, status: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "no room")

    monkeypatch.setattr(StageFiles, step, fail)
    account: Any = SimpleNamespace(
        urls=SimpleNamespace(check=lambda *_: True), store=SimpleNamespace(by_id=lambda _: object()), stages=StageFiles(tmp_path)
    )
    client = TestClient(Starlette(routes=Transfer(account).routes()), raise_server_exceptions=False)
    assert client.put("/_stage/1/a.txt", content=b"x").status_code == status
