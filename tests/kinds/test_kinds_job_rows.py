"""Where the rows of a fine-tune come from: a dataset, a table, a query, a stage file; and that a run keeps its name over versions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kinds_world import only
from test_kinds_jobs import TUNE, Lab

from controller.kinds.base import Stalled
from training.config import TrainingConfig


def job(folder: Path, rows: str) -> Lab:
    return Lab(folder, ("dataset: calls", f"data: {rows}"))


def configuration(made: Lab) -> TrainingConfig:
    request = TUNE._request(made.job, made.fact, made.view, 1, "/x")  # type: ignore[attr-defined]
    return TrainingConfig.model_validate_json(request.env["SNOWCAT_CONFIG"])


def test_a_run_that_was_made_by_an_earlier_version_keeps_its_name(tmp_path: Path) -> None:
    """Else an upgrade would train everything again. A new field must be left out of the configuration while it has its default."""
    assert Lab(tmp_path).fact.run == "36f68d87"


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ("{table: other.s.Chats}", {"table": "OTHER.S.CHATS"}),
        ("{table: 'db.s.\"my rows\"'}", {"table": 'DB.S."my rows"'}),
        ("{query: 'SELECT 1'}", {"query": "SELECT 1"}),
        ("{file: {stage: models, path: in/rows.csv}}", {"path": "/snowcat/data/rows.csv"}),
        ("{file: {stage: models, path: rows.parquet}}", {"path": "/snowcat/data/rows.parquet"}),
    ],
)
def test_rows_of_others_reach_the_trainer(tmp_path: Path, rows: str, wanted: dict[str, str]) -> None:
    made = job(tmp_path, rows)
    config = configuration(made)
    assert {name: getattr(config.data, name) for name in ("table", "query", "path") if getattr(config.data, name)} == wanted
    assert ("/in" in made.statement()) is ("in/rows" in rows), "the file's folder is mounted"
    assert ("mountPath: /snowcat/data" in made.statement()) is ("file" in rows)


def test_shares_and_long_rows_reach_the_trainer(tmp_path: Path) -> None:
    config = configuration(job(tmp_path, "{table: D.S.T, tooLong: split, shares: {train: 0.5, eval: 0.5, stratifyBy: lang}}"))
    assert (config.data.too_long, config.data.shares.stratify_by) == ("split", "lang")


def test_another_source_is_another_run(tmp_path: Path) -> None:
    sources = ["{table: D.S.T}", "{table: D.S.U}", "{query: SELECT 1}", "{query: SELECT 2}", "{file: {stage: models, path: a.csv}}"]
    runs = set()
    for place, rows in enumerate(sources):
        (tmp_path / str(place)).mkdir()
        runs.add(job(tmp_path / str(place), rows).fact.run)
    assert len(runs) == len(sources)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("{table: T}", "data.table: T is not the full name of a table: database.schema.table"),
        ("{table: 'D.S.T; DROP TABLE X'}", "data.table"),
        ("{file: {stage: models, path: rows.xlsx}}", "data.file.path: rows.xlsx is no file that ends in .jsonl"),
        ("{file: {stage: models, path: ../rows.csv}}", "data.file.path"),
    ],
)
def test_a_source_that_is_misnamed_is_told_before_a_node_is_started(tmp_path: Path, rows: str, words: str) -> None:
    made = job(tmp_path, rows)
    with pytest.raises(Stalled, match=re.escape(words)):
        made.look()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("dataset: calls", "data: {}"), "exactly one of dataset, data.table, data.query, data.file; found none"),
        (("dataset: calls", "dataset: calls\n  data: {table: D.S.T}"), "found dataset and data.table"),
        (("dataset: calls", "dataset: calls\n  prompt: {template: text}"), "set evaluation.metrics: [perplexity]"),
        (("dataset: calls", "dataset: calls\n  prompt: {loss: assistant}"), "loss: assistant is only meant for template: chat"),
    ],
)
def test_a_contradiction_is_told_where_the_manifest_is_read(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(words)):
        only(Lab(tmp_path, change).graph, "FineTuneJob")
