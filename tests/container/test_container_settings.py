"""What a container reads from its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from snowflake.connector.errors import DatabaseError

from container import account, paths, rows, settings, workspace
from training.config import Data, Prompt, Shares, TrainingConfig
from training.errors import BadInputError


@pytest.mark.parametrize(
    ("root", "declared", "expected"),
    [
        (None, "/snowcat/stage/a", "/snowcat/stage/a"),
        ("/r", "/snowcat/stage/a", "/r/snowcat/stage/a"),
        ("/r", "/r/snowcat/stage/a", "/r/snowcat/stage/a"),
        ("/r", "relative", "relative"),
    ],
)
def test_paths(monkeypatch: pytest.MonkeyPatch, root: str | None, declared: str, expected: str) -> None:
    monkeypatch.delenv("SNOWCAT_ROOT", raising=False)
    if root:
        monkeypatch.setenv("SNOWCAT_ROOT", root)
    assert paths.real(declared) == Path(expected)


@pytest.mark.parametrize(("value", "valid"), [("", True), ("7", True), ("0", False), ("-1", False), ("many", False)])
def test_numbers(monkeypatch: pytest.MonkeyPatch, value: str, valid: bool) -> None:
    monkeypatch.setenv("SNOWCAT_PORT", value)
    if valid:
        assert settings.number("SNOWCAT_PORT", 5) == int(value or 5)
    else:
        with pytest.raises(BadInputError, match="SNOWCAT_PORT"):
            settings.number("SNOWCAT_PORT", 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "SNOWCAT_CONFIG is not set"),
        ("{", "not a valid TrainingConfig: document: Invalid JSON"),
        ('{"run": {"id": "s3cret", "job": 5}}', r"run\.job"),
    ],
)
def test_a_document_that_is_wrong(monkeypatch: pytest.MonkeyPatch, text: str, words: str) -> None:
    monkeypatch.setenv("SNOWCAT_CONFIG", text)
    with pytest.raises(BadInputError, match=words) as caught:
        settings.document(TrainingConfig, "SNOWCAT_CONFIG")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("abc.snowflakecomputing.com", "0.0.0.0"), (None, "0.0.0.0")],
)
def test_the_address_to_serve_on(monkeypatch: pytest.MonkeyPatch, host: str | None, address: str) -> None:
    monkeypatch.delenv("SNOWFLAKE_HOST", raising=False)
    if host:
        monkeypatch.setenv("SNOWFLAKE_HOST", host)
    assert settings.listen_host() == address


COLUMNS = ["INSTRUCTION", "INPUT", "OUTPUT", "OTHER", "_ROW_ID", "_SPLIT"]
READ = 'SELECT "INSTRUCTION", "INPUT", "OUTPUT", "_ROW_ID", "_SPLIT" FROM'


@pytest.mark.parametrize(
    ("data", "names", "statement", "split"),
    [
        (Data(table="DB.S.T"), COLUMNS, f'{READ} DB.S.T WHERE "_SPLIT" IN (%s, %s)', True),
        (Data(table='DB."my s"."a""b"'), COLUMNS, f'{READ} DB."my s"."a""b" WHERE "_SPLIT" IN (%s, %s)', True),
        (
            Data.model_validate({"table": "T", "columns": {"split": "part of"}}),
            ["part of"],
            'SELECT "part of" FROM T WHERE "part of" IN (%s, %s)',
            True,
        ),
        (Data(table="T"), ["input", "Output"], 'SELECT "input", "Output" FROM T', False),
        (Data(query="SELECT 1 -- all\n;"), ["INPUT"], 'SELECT "INPUT" FROM (\nSELECT 1 -- all\n\n)', False),
    ],
)
def test_the_statement_that_reads_the_rows(data: Data, names: list[str], statement: str, split: bool) -> None:
    assert rows.select_statement(data, Prompt(), names) == (statement, ("train", "eval") if split else None)


@pytest.mark.parametrize("table", ["T; DROP TABLE X", "a.b.c.d", "", "T WHERE 1=1", '"', "T--"])
def test_a_table_that_is_no_name_reaches_no_statement(table: str) -> None:
    with pytest.raises(BadInputError):
        rows.select_statement(Data.model_construct(table=table, query=None, columns=Data(table="T").columns, shares=Shares()), Prompt(), [])


def test_outside_of_an_account_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SNOWCAT_ROOT", str(tmp_path))
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT", "A")
    monkeypatch.delenv("SNOWFLAKE_HOST", raising=False)
    with pytest.raises(BadInputError, match="SNOWFLAKE_HOST is missing"):
        account.connect()
    monkeypatch.setenv("SNOWFLAKE_HOST", "127.0.0.1")
    with pytest.raises(BadInputError, match="session/token is missing"):
        account.connect()


@pytest.mark.parametrize(("good_at", "tries"), [(1, 1), (3, 3), (9, 4)])
def test_a_token_that_has_expired_is_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, good_at: int, tries: int) -> None:
    token = tmp_path / "snowflake" / "session" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("token 1\n")
    seen: list[str] = []

    def log_in(**settings: Any) -> str:
        seen.append(settings["token"])
        token.write_text(f"token {len(seen) + 1}\n")
        if len(seen) < good_at:
            raise DatabaseError(msg="250001 (08001): Failed to connect to DB: OAuth access token expired.", errno=250001)
        return "connected"

    monkeypatch.setenv("SNOWCAT_ROOT", str(tmp_path))
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT", "A")
    monkeypatch.setenv("SNOWFLAKE_HOST", "h")
    monkeypatch.setattr(account, "TOKEN_PAUSE", 0.0)
    monkeypatch.setattr("snowflake.connector.connect", log_in)
    if good_at <= tries:
        assert account.connect() == "connected"
    else:
        with pytest.raises(account.AccessError, match=r"refuses the service's token.*OAuth access token expired") as caught:
            account.connect()
        assert caught.value.exit_code == 1, "tried again as another attempt"
    assert seen == [f"token {number}" for number in range(1, tries + 1)]


def test_jupyter_writes_as_a_stage_allows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SNOWCAT_ROOT", str(tmp_path))
    monkeypatch.setenv("SNOWCAT_WORKSPACE_ROOT", "/notes")
    line = workspace.command(8888, "/tmp/notes")
    assert f"--ServerApp.root_dir={tmp_path}/notes" in line
    assert "--FileContentsManager.use_atomic_writing=False" in line
    assert (tmp_path / "notes").is_dir()
