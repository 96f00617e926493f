"""Sweeps: several runs from one manifest, a bound on how many at once, the best is the job's result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kinds_world import DEPLOYMENT, JOB, LAB, World, lab, only

from controller.account.snapshot import Row, Show
from controller.api.fine_tune_job import FineTuneJobSpec
from controller.api.names import Identifier
from controller.api.objects import Graph
from controller.api.sweep import Sweep
from controller.kinds.base import Health, Observation, Stalled
from controller.kinds.comments import marked_comment
from controller.kinds.fine_tune_job import RunFact
from controller.kinds.jobs.sweep import best
from controller.kinds.registry import KINDS
from controller.kinds.service_health import containers_of, services_in
from training.config import TrainingConfig

TUNE, SERVE = KINDS["FineTuneJob"], KINDS["ModelDeployment"]
STAGES = Show("STAGES", "SCHEMA DB.SCH")
GRID = "sweep: {grid: {training.learningRate: [0.001, 0.002], method.lora.rank: [4, 8]}, concurrency: 2, metric: field_f1}"
SPEC = {"computePool": "p", "image": "i", "model": "m", "dataset": "d", "output": {"stage": "s"}, "training": {"maxSteps": 4}}


class Swept:
    """A sweep in a world; `jobs` are the attempts of its runs, by the place of the run."""

    def __init__(self, folder: Path, sweep: str = GRID) -> None:
        self.world: World = lab(folder)
        self.retries = 0
        self.graph = self.load(sweep)
        self.world.see(STAGES, {"name": "MODELS", "created_on": "2026-01-01"})
        self.rows: dict[str, Row] = {}

    def load(self, sweep: str) -> Graph:
        self.graph = self.world.load(
            LAB + "---\n" + JOB.strip().replace("retry: {limit: 1}", f"retry: {{limit: {self.retries}}}\n  {sweep}"), DEPLOYMENT
        )
        return self.graph

    @property
    def job(self) -> Any:
        return only(self.graph, "FineTuneJob")

    @property
    def view(self) -> Any:
        return self.world.view(self.graph)

    @property
    def fact(self) -> RunFact:
        fact = self.view.fact(self.job.key)
        assert isinstance(fact, RunFact)
        return fact

    def run(self, place: int) -> str:
        return self.fact.runs[place].run

    def put(self, place: int, status: str, *, attempt: int = 1, code: int | None = None) -> None:
        """One attempt of a run is in the account, with this status."""
        run = self.run(place)
        name = f"WISHES_{run.upper()}_{attempt}"
        comment = marked_comment(self.job, self.view, run=run, attempt=str(attempt))
        self.rows[name] = {
            "name": name,
            "schema_name": "SCH",
            "status": status,
            "comment": comment,
            "created_on": len(self.rows),
            "owner": "W",
        }
        full = self.job.key.name.parent.child(Identifier(name))
        self.world.see(containers_of(full), {"container_name": "main", "status": status, "last_exit_code": code})
        self.world.see(services_in(self.job.key.name), *self.rows.values())

    def finish(self, place: int, **scores: float) -> None:
        self.put(place, "DONE", code=0)
        self.world.stage_files[f"wishes/{self.run(place)}/run.json"] = json.dumps({"metrics": {"tuned": scores}}).encode()

    def look(self) -> Observation:
        return TUNE.observe(self.job, self.view)

    def started(self) -> list[str]:
        """The runs that the next change starts."""
        return [run.run for run in self.fact.runs for step in TUNE.create(self.job, self.view) if f"_{run.run.upper()}_" in str(step)]


def test_every_run_has_an_identity_and_a_configuration_of_its_own(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    assert len({run.run for run in made.fact.runs}) == 4
    seen = set()
    for run in made.fact.runs:
        config = TrainingConfig.model_validate(
            {"run": {"id": run.run, "job": "wishes"}, **run.config, "output": {"path": "/x", **run.config["output"]}}
        )
        assert config.method.lora is not None
        seen.add((config.training.learning_rate, config.method.lora.rank))
    assert seen == {(0.001, 4), (0.001, 8), (0.002, 4), (0.002, 8)}


def test_a_run_of_a_sweep_is_the_same_run_without_it(tmp_path: Path) -> None:
    """So a value that was tried by itself is not trained again."""
    made = Swept(tmp_path, "sweep: {list: [{training.learningRate: 0.001}], metric: field_f1}")
    run = made.run(0)
    made.load("env: {}")
    assert made.fact.run == run


def test_at_most_so_many_at_once_one_after_the_other(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    seen = made.look()
    assert (seen.exists, seen.health) == (False, Health.MISSING)
    assert made.started() == [made.run(0)], "one statement at a time, so that each finds its room on the pool"
    made.put(0, "RUNNING")
    (change,) = made.look().drift
    assert (change.path, change.own) == ("runs", True), "the second is due, and nobody changed anything by hand"
    assert made.started() == [made.run(1)]
    made.put(1, "PENDING")
    assert not made.look().drift and made.started() == []
    made.finish(0, field_f1=0.5)
    assert made.started() == [made.run(2)]
    assert made.look().message == "1 of 4 runs finished, 1 running, 2 due"


def test_a_run_that_goes_on_tells_its_job_and_phase(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    job = f"WISHES_{made.run(0).upper()}_1"
    made.world.logs[made.job.key.name.parent.child(Identifier(job)).sql] = 'SNOWCAT_PROGRESS {"phase": "eval", "model": "base", "step": 1}'
    made.put(0, "RUNNING")
    made.put(1, "PENDING")
    rows = made.look().observed["runs"]
    assert [(row.get("job"), row.get("phase"), row.get("model")) for row in rows] == [
        (job, "eval", "base"),
        (f"WISHES_{made.run(1).upper()}_1", None, None),
        (None, None, None),
        (None, None, None),
    ]


def test_fields_of_one_name_have_columns_of_their_own(tmp_path: Path) -> None:
    made = Swept(tmp_path, "sweep: {grid: {training.seed: [1], data.seed: [7, 8], method.lora.rank: [4]}}")
    made.put(0, "RUNNING")
    seen = made.look()
    assert [(row["training.seed"], row["data.seed"], row["rank"]) for row in seen.observed["runs"]] == [(1, 7, 4), (1, 8, 4)]
    for place in range(2):
        made.put(place, "FAILED", code=10)
    with pytest.raises(Stalled, match=r"the first, training\.seed 1, data\.seed 7, rank 4"):
        TUNE.update(made.job, made.look(), made.view)


@pytest.mark.parametrize(
    ("runs", "wanted", "reason"),
    [
        ([{"training.seed": 1}], {"training.seed": "seed"}, "the last part is enough"),
        ([{"training.seed": 1}, {"data.seed": 1}], {"training.seed": "training.seed", "data.seed": "data.seed"}, "of all runs together"),
        (
            [{"method.lora.rank": 1, "method.qlora.rank": 1}],
            {"method.lora.rank": "lora.rank", "method.qlora.rank": "qlora.rank"},
            "as few parts as tell them apart",
        ),
        ([{"a.b.c": 1, "b.c": 1}], {"a.b.c": "a.b.c", "b.c": "b.c"}, "one is the end of the other"),
    ],
)
def test_the_shortest_name_that_tells_a_field_from_the_others(runs: list[dict[str, Any]], wanted: dict[str, str], reason: str) -> None:
    assert Sweep.model_validate({"list": runs}).names == wanted, reason


def test_the_best_run_is_the_result(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    for place, value in enumerate((0.5, 0.9, 0.7)):
        made.finish(place, field_f1=value)
    assert made.fact.job.result is None, "one is left"
    made.finish(3, field_f1=0.6)
    seen = made.look()
    assert (seen.exists, seen.health, seen.drift) == (True, Health.HEALTHY, ())
    assert made.fact.run == made.run(1) == seen.observed["best"]
    assert seen.observed["artefacts"].endswith(f"wishes/{made.run(1)}")
    assert "best of 4 runs" in seen.message and "rank 8" in seen.message and "field_f1 0.9" in seen.message
    table = seen.observed["runs"]
    assert [row["field_f1"] for row in table] == [0.5, 0.9, 0.7, 0.6]
    assert table[1] == {"run": made.run(1), "learningRate": 0.001, "rank": 8, "state": "finished", "attempt": 1, "field_f1": 0.9}


def test_a_deployment_serves_the_best(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    for place, value in enumerate((0.5, 0.9, 0.7, 0.6)):
        made.finish(place, field_f1=value)
    children = SERVE.expand(only(made.graph, "ModelDeployment"), made.view)
    assert any(made.run(1) in str(child.manifest.spec) for child in children)
    assert not any(made.run(0) in str(child.manifest.spec) for child in children)


def test_a_failed_run_does_not_fail_the_sweep(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    made.put(0, "FAILED", code=11)
    assert made.look().health is Health.PROGRESSING
    for place in (1, 2, 3):
        made.finish(place, field_f1=0.1 * place)
    seen = made.look()
    assert (seen.health, made.fact.run) == (Health.HEALTHY, made.run(3))
    assert "1 failed" in seen.message and seen.conditions["RunsFailed"][0] is True


def test_a_sweep_fails_when_all_of_its_runs_do(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    for place in range(4):
        made.put(place, "FAILED", code=10)
    seen = made.look()
    assert (seen.health, seen.reason) == (Health.DEGRADED, "AllRunsFailed")
    with pytest.raises(Stalled, match=r"all 4 runs failed; the first, learningRate 0\.001, rank 4"):
        TUNE.update(made.job, seen, made.view)


def test_a_failure_that_may_pass_is_tried_again_by_itself(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    made.retries = 1
    made.load(GRID)
    made.put(0, "FAILED", code=12)
    assert made.look().health is Health.PROGRESSING and all(change.own for change in made.look().drift)
    (step,) = TUNE.create(made.job, made.view)
    assert f"_{made.run(0).upper()}_2\n" in str(step)


def test_another_value_runs_only_what_is_new(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    before = [run.run for run in made.fact.runs]
    for place in range(4):
        made.finish(place, field_f1=0.1)
    made.load(GRID.replace("0.002]", "0.002, 0.003]"))
    after = [run.run for run in made.fact.runs]
    assert set(before) < set(after) and len(after) == 6
    assert made.started() == [run for run in after if run not in before][:1]
    made.load(GRID.replace("[0.001, ", "["))
    assert made.fact.job.result is not None, "a smaller grid has its result already"


def test_runs_without_the_metric_say_so(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    for place in range(4):
        made.finish(place, valid_json=1.0)
    with pytest.raises(Stalled, match="no run has the score field_f1"):
        TUNE.update(made.job, made.look(), made.view)


def test_the_forecast_is_of_all_runs_together(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    told = TUNE.forecast(made.job, made.view)
    assert told is not None and told.lines[0] == "sweep: 4 of 4 runs are left, 2 at once"


@pytest.mark.parametrize(
    ("metric", "goal", "scores", "wanted", "reason"),
    [
        ("loss", "auto", {"a": 0.4, "b": 0.3}, "b", "the smallest loss"),
        ("perplexity", "auto", {"a": 4, "b": 3}, "b", "and perplexity"),
        ("field_f1", "auto", {"a": 0.4, "b": 0.3}, "a", "the largest of any other score"),
        ("field_f1", "min", {"a": 0.4, "b": 0.3}, "b", "unless the manifest says otherwise"),
        ("loss", "max", {"a": 0.4, "b": 0.3}, "a", "unless the manifest says otherwise"),
        ("loss", "auto", {"a": 0.3, "b": 0.3}, "a", "the first of equals"),
        ("loss", "auto", {}, None, "nothing was scored"),
    ],
)
def test_what_is_best(metric: str, goal: str, scores: dict[str, float], wanted: str | None, reason: str) -> None:
    sweep = Sweep.model_validate({"list": [{}], "metric": metric, "goal": goal})
    assert best({run: {metric: value} for run, value in scores.items()}, sweep) == wanted, reason


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"grid": {"training.learningRte": [1]}}, "learningRte"),
        ({"grid": {"training.learningRate": [5]}}, "less than or equal to 1"),
        ({"grid": {"prompt.loss": ["all"]}}, "prompt.loss cannot differ between runs"),
        ({"grid": {"data.columns.input": ["x"]}}, "data.columns.input cannot differ"),
        ({"grid": {"training.learningRate.x": [1]}}, "learningRate has no fields"),
        ({"grid": {"training.seed": [1]}, "metric": "f9"}, "'f9' is none of loss"),
        ({}, "exactly one of grid, list"),
        ({"grid": {"training.seed": list(range(201))}}, "201 runs"),
        ({"grid": {f"training.x{i}": list(range(10)) for i in range(12)}}, "1,000,000,000,000 runs"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_said_before_anything_runs(sweep: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FineTuneJobSpec.model_validate({**SPEC, "sweep": sweep})


def test_a_run_that_is_named_twice_is_one() -> None:
    spec = FineTuneJobSpec.model_validate({**SPEC, "sweep": {"list": [{"training.seed": 1}, {"training.seed": 1}, {"training.seed": 2}]}})
    assert [values for values, _ in spec.variants()] == [{"training.seed": 1}, {"training.seed": 2}]


def test_the_stage_is_asked_once_for_all_runs(tmp_path: Path) -> None:
    made = Swept(tmp_path)
    made.finish(1, field_f1=0.5)
    made.world.reads.clear()
    assert [run.job.result is not None for run in made.fact.runs] == [False, True, False, False]
    listed, asked = [path for path in made.world.reads if path.startswith("list of")], [p for p in made.world.reads if "run.json" in p]
    assert listed == ["list of wishes"] and asked == [f"wishes/{made.run(1)}/run.json"]
