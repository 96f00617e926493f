"""Scores by SQL, the table of predictions and a gate, from a manifest to the account: the trainer runs as a job, by its own token."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest
from test_lab_nodes import MANIFESTS, LightLab, Look, files, logs, tiny_rows, write_rows, write_tiny_model

pytestmark = pytest.mark.slow

JOB = """  training: {maxSteps: 6, learningRate: 0.02, dtype: float32}
  evaluation:
    rows: 4
    maxNewTokens: 3
    metrics: [rouge_l, perplexity]
    everySteps: 2
    earlyStopping: {patience: 9}
    sql:
      - {name: answered, query: "SELECT COUNT(p.ANSWER) + 0.5 FROM {{predictions}} p"}
      - {name: undefined, query: "SELECT SUM(LENGTH(p.ANSWER)) / SUM(0) FROM {{predictions}} p"}
  predictions: {table: seen}
  output: {stage: models}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightLab]:
    folder = tmp_path_factory.mktemp("scores")
    manifests = folder / "manifests"
    manifests.mkdir(parents=True)
    before, _, _ = MANIFESTS.partition("  replicas:")
    project, _, objects = (before.replace("REPLICAS", "1") + JOB).strip().partition("\n---\n")
    (manifests / "snowcat.yaml").write_text(project + "\n")
    (manifests / "objects.yaml").write_text(objects + "\n")
    write_tiny_model(manifests / "tiny")
    (manifests / "tiny" / "model.json").unlink()
    rows = [{name.lower(): value for name, value in row.items() if not name.startswith("_")} for row in tiny_rows()]
    write_rows(manifests / "calls.jsonl", rows)
    made = LightLab(folder)
    made.account.start()
    yield made
    made.account.stop()
    shutil.rmtree(folder / "account", ignore_errors=True)


def test_people_can_look_at_the_answers_with_sql(lab: LightLab) -> None:
    daemon = lab.start("apply")
    try:
        assert daemon.wait(200) == 0, lab.said() + logs(lab)
        look = Look(lab, daemon)
    finally:
        daemon.kill()
        daemon.wait()
    document = files(lab, "run.json")[0]
    run = json.loads(document.read_text())
    written = [json.loads(line) for line in files(lab, "predictions.jsonl")[0].read_text().splitlines()]
    assert run["metrics"]["tuned"]["answered"] == run["metrics"]["base"]["answered"] == len(written) + 0.5
    assert set(run["metrics"]["tuned"]) == {"rouge_l", "perplexity", "loss", "answered"}
    assert run["metrics"]["tuned"]["loss"] < run["metrics"]["base"]["loss"]
    missing = [f"no score undefined of the {model} model" for model in ("base", "tuned")]
    assert [problem.partition(":")[0] for problem in run["problems"]] == missing
    assert run["elapsedSeconds"] > 0
    for statement in ("USE ROLE TUNER", "USE WAREHOUSE WH"):
        look.rows(statement)
    found = look.rows(f"SELECT * FROM DB.SCH.SEEN WHERE RUN_ID = '{run['run']}' ORDER BY ROW_ID")
    assert [row["row_id"] for row in found] == sorted(line["row"] for line in written)
    assert {row["tuned_answer"] for row in found} == {line["tuned"]["answer"] for line in written}
    assert json.loads(found[0]["base_scores"]).keys() == {"rouge_l"}
    metrics = json.loads(files(lab, "metrics.json")[0].read_text())
    assert [record["steps"] for record in metrics["evals"]] == [2, 4, 6]
    lab.finish("describe", "FineTuneJob/wishes", "-o", "json")
    told = (lab.folder / "daemon.log").read_text()
    for word in ("credits", "perplexity", "no score undefined of the base model", "ReadingRows"):
        assert word in told
