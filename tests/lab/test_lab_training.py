"""Fine-tunes by the controller, on several nodes: a node is lost and the next attempt goes on; scores by SQL, predictions in a table.

Three jobs one after another in one account. They take the same steps, so every one must have the same losses: with two nodes or four, at
any ZeRO stage, cut off or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from lab_training import LightLab, Look, document, files, job, losses, training_lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SCORED = """  evaluation:
    rows: 4
    maxNewTokens: 3
    metrics: [rouge_l, perplexity]
    everySteps: 2
    earlyStopping: {patience: 9}
    sql:
      - {name: answered, query: "SELECT COUNT(p.ANSWER) + 0.5 FROM {{predictions}} p"}
      - {name: undefined, query: "SELECT SUM(LENGTH(p.ANSWER)) / SUM(0) FROM {{predictions}} p"}
  predictions: {table: seen}
"""


@dataclass(frozen=True)
class World:
    """How many nodes train under which ZeRO stage."""

    replicas: int
    stage: int


# of the job that loses a node; `make test` takes the first, `make test-deep` comes to all of them
WORLDS = [World(2, 2), World(4, 3), World(4, 1), World(2, 3), World(4, 2), World(2, 1)]


@dataclass(frozen=True)
class Trained:
    """The account after all jobs, and what was seen while a node died."""

    lab: LightLab
    world: World  # of the job that lost a node
    addresses: set[str]
    attempts: list[tuple[str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[Trained]:
    world = WORLDS[seed % len(WORLDS)]
    jobs = [job("lost", world.replicas, world.stage), job("scored", 2, 1, SCORED, after="lost"), job("four", 4, 3, after="scored")]
    with training_lab(tmp_path_factory.mktemp("training"), 4, jobs) as lab:
        daemon = lab.start("apply")
        look = Look(lab, daemon)
        try:
            look.wait_for(lambda: files(lab, "lost/*/checkpoints/*/complete.json"), "checkpoint on the stage")
            (first,) = look.jobs("lost")
            instances = look.rows(f"SHOW SERVICE INSTANCES IN SERVICE DB.SCH.{first['name']}")
            lab.faults.kill_node("POOL")
            look.wait_for(lambda: look.jobs("lost")[0]["status"] == "FAILED", "failed job")
            assert daemon.wait(300) == 0, look.told()
        finally:
            daemon.kill()
            daemon.wait()
        attempts = [(row["name"][-2:], row["status"]) for row in look.jobs("lost")]
        yield Trained(lab, world, {row["ip_address"] for row in instances}, attempts)


def test_a_lost_node_fails_the_job_and_the_next_attempt_goes_on_and_ends(trained: Trained) -> None:
    assert len(trained.addresses) == trained.world.replicas, "every node has an address of its own"
    assert trained.attempts == [("_1", "FAILED"), ("_2", "DONE")]
    run = document(trained.lab, "lost", "run.json")
    first, second = run["attempts"]
    assert (first["attempt"], first["fromStep"], second["attempt"]) == (1, 0, 2)
    assert second["fromStep"] >= 2, "the second attempt goes on from a checkpoint of the first"
    assert (run["steps"], run["config"]["deepspeed"]["zero"]) == (8, trained.world.stage)


def test_neither_nodes_nor_stage_nor_a_kill_change_what_is_learned(trained: Trained) -> None:
    expected = losses(trained.lab, "scored")
    assert len(expected) == 8 and expected[-1] < expected[0], "it learns"
    for name in ("lost", "four"):
        assert losses(trained.lab, name) == pytest.approx(expected, rel=1e-4), name


def test_people_can_look_at_the_answers_with_sql(trained: Trained) -> None:
    lab = trained.lab
    run = document(lab, "scored", "run.json")
    written = [json.loads(line) for line in files(lab, "scored/*/predictions.jsonl")[0].read_text().splitlines()]
    assert run["metrics"]["tuned"]["answered"] == run["metrics"]["base"]["answered"] == len(written) + 0.5
    assert set(run["metrics"]["tuned"]) == {"rouge_l", "perplexity", "loss", "answered"}
    assert run["metrics"]["tuned"]["loss"] < run["metrics"]["base"]["loss"]
    missing = [f"no score undefined of the {model} model" for model in ("base", "tuned")]
    assert [problem.partition(":")[0] for problem in run["problems"]] == missing
    assert run["elapsedSeconds"] > 0
    with lab.account.connect(role="TUNER", warehouse="WH") as connection:
        query = "SELECT row_id, tuned_answer, base_scores FROM DB.SCH.SEEN WHERE run_id = %s ORDER BY row_id"
        found = connection.cursor().execute(query, (run["run"],)).fetchall()
    assert [row for row, _, _ in found] == sorted(line["row"] for line in written)
    assert {answer for _, answer, _ in found} == {line["tuned"]["answer"] for line in written}
    assert json.loads(found[0][2]).keys() == {"rouge_l"}
    assert [record["steps"] for record in document(lab, "scored", "metrics.json")["evals"]] == [2, 4, 6, 8]
    lab.finish("describe", "FineTuneJob/scored", "-o", "json")
    told = (lab.folder / "daemon.log").read_text()
    for word in ("credits", "perplexity", "no score undefined of the base model", "ReadingRows"):
        assert word in told
