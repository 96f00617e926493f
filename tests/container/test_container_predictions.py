"""What the trainer asks of the account, over the wire: rows, the table of predictions, scores by SQL; and sessions that end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded_account import RunningAccount, run_account
from fault_client import Faults
from training_tiny import tiny_config

from container import account, results, rows
from container.predictions import Predictions
from training.config import Base, TrainingConfig
from training.data.rows import open_rows
from training.errors import BadInputError, TrainingError
from training.files import ARTEFACTS
from training.history import History, StepRecord
from training.results import artefacts
from training.results.outcome import Outcome, leave

ANSWERS = [
    ("r1", "q", "Oslo", "Rome", "Oslo"),
    ("r2", 'it\'s \\ "quoted"\n✓', "Lima", "Bern", "lima"),
    ("r3", "q", "Cork", "Kyiv", "Kyiv"),
]
RIGHT = "SELECT AVG(IFF(LOWER(p.ANSWER) = LOWER(p.EXPECTED), 1, 0)) FROM {{predictions}} p"
SCORED = "WITH p AS (SELECT * FROM {{predictions}}) SELECT SUM(SCORES:right::FLOAT) / COUNT(*) FROM p;"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAccount]:
    yield from run_account(tmp_path_factory.mktemp("predictions") / "state", "--time-scale", "0.01", "--faults")


@pytest.fixture
def connection(server: RunningAccount, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with server.connect() as admin:
        for statement in (
            "CREATE DATABASE IF NOT EXISTS D",
            "CREATE SCHEMA IF NOT EXISTS D.S",
            "CREATE WAREHOUSE IF NOT EXISTS W",
            "USE WAREHOUSE W",
        ):
            admin.cursor().execute(statement)
        # the test is no service and has no token: it comes by the administrator's password
        monkeypatch.setattr(account, "connect", lambda: server.connect(database="D", schema="S", warehouse="W"))
        yield admin


def config(output: Path, run: str = "run1", table: str | None = None, **sql: str) -> TrainingConfig:
    parts: dict[str, Any] = {"evaluation": {"sql": [{"name": name, "query": query} for name, query in sql.items()]}}
    if table:
        parts["predictions"] = {"table": table}
    document = tiny_config(output, Path("/base"), Path("/rows.jsonl"), **parts)
    document["run"]["id"] = run
    return TrainingConfig.model_validate(document)


def answers(folder: Path) -> Path:
    path = folder / artefacts.PREDICTIONS
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for row, question, expected, base, tuned in ANSWERS:
            sides = {
                side: {"answer": text, "scores": {"right": float(text == expected)}} for side, text in (("base", base), ("tuned", tuned))
            }
            stream.write(json.dumps({"row": row, "question": question, "expected": expected, **sides}) + "\n")
    return path


def test_scores_by_sql_need_no_table_of_their_own(connection: Any, tmp_path: Path) -> None:
    predictions = Predictions(config(tmp_path, right=RIGHT, scored=SCORED))
    predictions.check()
    base, tuned, missing = predictions.write(answers(tmp_path))
    assert (base, missing) == ({"right": 0.0, "scored": 0.0}, [])
    assert tuned == pytest.approx({"right": 2 / 3, "scored": 1 / 3}, abs=1e-6)
    assert connection.cursor().execute("SHOW TABLES IN SCHEMA D.S").fetchall() == []


def test_runs_of_a_sweep_score_side_by_side(server: RunningAccount, connection: Any, tmp_path: Path) -> None:
    one, other = (Predictions(config(tmp_path, run, right=RIGHT)) for run in ("run-1", "run-2"))
    with server.connect(database="D", schema="S", warehouse="W") as busy:
        one._make(busy.cursor())
        other.check()
        assert other.write(answers(tmp_path))[1] == pytest.approx({"right": 2 / 3}, abs=1e-6)


def test_a_table_keeps_each_run_once(connection: Any, tmp_path: Path) -> None:
    path = answers(tmp_path)
    for run in ("run1", "run2", "run1"):
        Predictions(config(tmp_path, run, table="D.S.SEEN")).write(path)
    found = connection.cursor().execute("SELECT RUN_ID, ROW_ID, QUESTION, EXPECTED, BASE_ANSWER, TUNED_ANSWER FROM D.S.SEEN ORDER BY 1, 2")
    assert found.fetchall() == [(run, *answer) for run in ("run1", "run2") for answer in ANSWERS]
    right = connection.cursor().execute("SELECT SUM(TUNED_SCORES:right::FLOAT) FROM D.S.SEEN WHERE RUN_ID = 'run2'").fetchone()
    assert right == (1.0,)


def test_many_rows_take_several_statements(connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("container.predictions._CHUNK", 100)
    Predictions(config(tmp_path, table="D.S.MANY")).write(answers(tmp_path))
    assert connection.cursor().execute("SELECT COUNT(*) FROM D.S.MANY").fetchone() == (3,)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"wrong": "SELECT AVG(NOPE) FROM {{predictions}}"}, "evaluation.sql wrong: the query cannot be compiled: 904 .*NOPE"),
        ({"text": "SELECT MAX(ANSWER) FROM {{predictions}}"}, "evaluation.sql text: the query must return one number"),
        ({"two": "SELECT 1, 2 FROM {{predictions}}"}, "evaluation.sql two: the query must return one number, it returns 1, 2"),
        ({"table": "D.NOWHERE.T"}, "the table D.NOWHERE.T of predictions cannot be used"),
        ({"table": "D.S.OTHER"}, "D.S.OTHER of predictions cannot be used: 904 .*RUN_ID"),
    ],
    ids=["misspelt", "text", "two columns", "no schema", "somebody else's table"],
)
def test_what_cannot_work_is_told_before_the_training(connection: Any, tmp_path: Path, parts: dict[str, str], words: str) -> None:
    connection.cursor().execute("CREATE TABLE IF NOT EXISTS D.S.OTHER (A NUMBER)")
    table = parts.pop("table", None)
    with pytest.raises(BadInputError, match=words):
        Predictions(config(tmp_path, table=table, **parts)).check()


def test_a_table_that_may_only_be_read_is_told_before_the_training(
    server: RunningAccount, connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Predictions(config(tmp_path, table="D.S.READ_ONLY")).check()
    rights = ("USAGE ON DATABASE D", "USAGE ON SCHEMA D.S", "CREATE TABLE ON SCHEMA D.S", "USAGE ON WAREHOUSE W")
    cursor = connection.cursor()
    cursor.execute("CREATE ROLE IF NOT EXISTS READER")
    for right in (*rights, "SELECT ON TABLE D.S.READ_ONLY"):
        cursor.execute(f"GRANT {right} TO ROLE READER")
    cursor.execute("GRANT ROLE READER TO USER ADMIN")
    monkeypatch.setattr(account, "connect", lambda: server.connect(role="READER", database="D", schema="S", warehouse="W"))
    with pytest.raises(BadInputError, match=r"D\.S\.READ_ONLY of predictions cannot be used: .*privilege"):
        Predictions(config(tmp_path, table="D.S.READ_ONLY")).check()


def finished(work: Path, base_id: str = "b") -> None:
    """What the ranks leave."""
    answers(work / ARTEFACTS)
    counts = {"used_rows": 3, "eval_rows": 3, "parameters": 10, "trained_parameters": 1, "world": 1}
    texts = {"base_id": base_id, "base_sha256": "0", "fingerprint": "f", "zero": "1", "device": "d", "dtype": "float32", "long_rows": ""}
    outcome = Outcome(**counts, **texts, splits={}, base={"valid_json": 0.0}, tuned={"valid_json": 1.0}, phase_seconds={"train": 1.0})  # type: ignore[arg-type]
    leave(work, outcome, History([StepRecord(0, 2.0, 1e-3, 1.0, 10, 0.5)]))


def test_scores_reach_the_run_and_its_card(connection: Any, tmp_path: Path) -> None:
    finished(tmp_path / "work")
    empty = "SELECT SUM(LENGTH(ANSWER)) / SUM(0) FROM {{predictions}}"
    results.finish(config(tmp_path / "out", right=RIGHT, none=empty), tmp_path / "work", tmp_path / "out")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["metrics"]["base"] == {"valid_json": 0.0, "right": 0.0}
    assert run["metrics"]["tuned"] == pytest.approx({"valid_json": 1.0, "right": 2 / 3}, abs=1e-6)
    assert [problem.split(":")[0] for problem in run["problems"]] == ["no score none of the base model", "no score none of the tuned model"]
    assert "| right | 0.000 | 0.667 |" in (tmp_path / "out" / "README.md").read_text()


def test_a_base_of_the_hub_is_called_by_its_name(tmp_path: Path) -> None:
    finished(tmp_path / "work", base_id="")
    given = config(tmp_path / "out").model_copy(update={"base": Base(hugging_face="org/small")})
    results.finish(given, tmp_path / "work", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["base"]["id"] == "org/small"
    assert "Base model: `org/small`" in (tmp_path / "out" / "README.md").read_text()


def test_a_table_that_went_away_does_not_cost_the_run(connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("container.results._PAUSE", 0.0)
    finished(tmp_path / "work")
    results.finish(config(tmp_path / "out", table="D.GONE.T"), tmp_path / "work", tmp_path / "out")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["problems"][0].startswith("the table of predictions was not written: the table D.GONE.T")


def test_a_stage_that_takes_no_more_is_told_and_tried_again(tmp_path: Path) -> None:
    finished(tmp_path / "work")
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(TrainingError, match=r"cannot be written: .*make room on the stage") as caught:
        results.finish(config(tmp_path / "out"), tmp_path / "work", tmp_path / "out")
    assert caught.value.exit_code == 1
    assert not list(tmp_path.rglob("run.json"))


@pytest.fixture
def faults(server: RunningAccount, connection: Any) -> Iterator[Faults]:
    """Rules for the account, which has a table D.S.CALLS of one row."""
    row = "'a' AS INSTRUCTION, 'b' AS INPUT, 'c' AS OUTPUT, 'train' AS _SPLIT, 'r1' AS _ROW_ID"
    connection.cursor().execute(f"CREATE OR REPLACE TABLE D.S.CALLS AS SELECT {row}")
    found = Faults(server.state)
    yield found
    found.clear()


def reading(folder: Path) -> TrainingConfig:
    return TrainingConfig.model_validate({**config(folder / "out", table="D.S.SEEN").document(), "data": {"table": "D.S.CALLS"}})


@pytest.mark.parametrize("token", ["session", "master"])
def test_rows_are_read_again_when_the_token_expired(faults: Faults, tmp_path: Path, token: str) -> None:
    faults.put({"match": 'SELECT "INSTRUCTION".*CALLS', "nth": [1], "expire": token})
    assert rows.fetch(reading(tmp_path), tmp_path / "rows.arrow") == 1
    assert open_rows(tmp_path / "rows.arrow").num_rows == 1
    assert faults.fired() == 1


def test_what_expires_twice_is_told_and_may_be_tried_again(faults: Faults, tmp_path: Path) -> None:
    faults.put({"match": 'SELECT "INSTRUCTION".*CALLS', "expire": "master"})
    with pytest.raises(account.AccessError, match="the session ended while the rows were read: 390114") as error:
        rows.fetch(reading(tmp_path), tmp_path / "rows.arrow")
    assert error.value.exit_code == 1, "it may be over when the next attempt starts"


def test_the_table_of_predictions_is_not_blamed_for_a_session_that_ended(faults: Faults, tmp_path: Path) -> None:
    faults.put({"match": "CREATE TABLE.*SEEN", "expire": "master"})
    with pytest.raises(account.AccessError, match="the session ended while the table of predictions was used: 390114"):
        results.prepare(reading(tmp_path))
    assert faults.fired() == 2, "it was tried again"


def test_a_session_that_ends_before_the_training_is_made_anew(faults: Faults, tmp_path: Path) -> None:
    faults.put({"match": "CREATE TABLE.*SEEN", "nth": [1], "expire": "master"})
    results.prepare(reading(tmp_path))
    assert faults.fired() == 1


def test_scores_are_asked_again_in_another_session(faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("container.results._PAUSE", 0.0)
    finished(tmp_path / "work")
    faults.put({"match": "SELECT AVG", "nth": [2], "expire": "master"})
    results.finish(config(tmp_path / "out", table="D.S.ASKED", right=RIGHT), tmp_path / "work", tmp_path / "out")
    assert faults.fired() == 1
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["metrics"]["base"]["right"], run["metrics"]["tuned"]["right"]) == (0.0, pytest.approx(2 / 3, abs=1e-6))
    assert not run["problems"]
