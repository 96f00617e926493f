"""Base models and fine-tunes: which run it is, when a job is started, tried again or given up, and what a running one says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from kinds_world import JOB, LAB, World, lab, only

from controller.account.snapshot import Row, Show
from controller.api.names import QualifiedName
from controller.api.objects import Graph
from controller.kinds.base import Health, Observation, Stalled, View
from controller.kinds.fine_tune_job import RunFact
from controller.kinds.jobs.endings import last_progress
from controller.kinds.jobs.service import Attempt
from controller.kinds.jobs.status import duration, sentence, share
from controller.kinds.registry import KINDS
from controller.kinds.service_health import containers_of, services_in
from controller.reconcile.planning.change import Action, Change
from controller.reconcile.planning.plan import plan
from training.config import TrainingConfig

TUNE, BASE = KINDS["FineTuneJob"], KINDS["BaseModel"]
STAGES = Show("STAGES", "SCHEMA DB.SCH")


class Lab:
    """A fine-tune in a world, and the jobs that SHOW SERVICES lists of it."""

    def __init__(self, folder: Path, *changes: tuple[str, str]) -> None:
        self.world: World = lab(folder)
        self.graph = self.load(*changes)
        self.world.see(STAGES, {"name": "MODELS", "created_on": "2026-01-01"})

    def load(self, *changes: tuple[str, str]) -> Graph:
        text = LAB + "---\n" + JOB.strip()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.graph = self.world.load(text)
        return self.graph

    @property
    def view(self) -> View:
        return self.world.view(self.graph)

    @property
    def fact(self) -> RunFact:
        fact = self.view.fact(self.job.key)
        assert isinstance(fact, RunFact)
        return fact

    @property
    def job(self) -> Any:
        return only(self.graph, "FineTuneJob")

    def statement(self) -> str:
        (step,) = TUNE.create(self.job, self.view)
        return str(step)

    def jobs(self, *statuses: str, code: int | None = None, log: str = "") -> None:
        """Attempts 1, 2, … with these statuses; each failed one with an exit code and a log."""
        run, comment = self.fact.run, re.search(r"COMMENT = '([^']*)'", self.statement() if not self._rows() else self.comment)
        assert comment is not None
        self.comment = comment[0]
        rows = []
        for number, status in enumerate(statuses, 1):
            name = f"WISHES_{run.upper()}_{number}"
            rows.append(
                {"name": name, "schema_name": "SCH", "status": status, "comment": comment[1], "created_on": number, "owner": "WORKER"}
            )
            full = self.job.key.name.parent.child(self.job.key.name.name.__class__(name))
            self.world.see(containers_of(full), {"container_name": "main", "status": status, "last_exit_code": code})
            self.world.logs[full.sql] = log
        self.world.see(services_in(self.job.key.name), *rows)

    def _rows(self) -> tuple[Row, ...]:
        return self.world.answers.get(services_in(self.job.key.name), ())

    def finish(self, **scores: float) -> None:
        self.world.stage_files[f"wishes/{self.fact.run}/run.json"] = json.dumps({"metrics": {"tuned": scores}}).encode()

    def look(self) -> Observation:
        return TUNE.observe(self.job, self.view)


def test_the_statement_holds_all_that_the_job_needs(tmp_path: Path) -> None:
    text = Lab(tmp_path).statement()
    for words in (
        "EXECUTE JOB SERVICE",
        "IN COMPUTE POOL POOL",
        "ASYNC = TRUE",
        "QUERY_WAREHOUSE = WH",
        "[snowcat proj/FineTuneJob/wishes attempt=1",
    ):
        assert words in text
    assert re.search(r"NAME = DB\.SCH\.WISHES_[0-9A-F]{8}_1\n", text)


def test_the_configuration_is_the_trainers_own(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    request = TUNE._request(made.job, made.fact, made.view, 2, "/x")  # type: ignore[attr-defined]
    config = TrainingConfig.model_validate_json(request.env["SNOWCAT_CONFIG"])
    assert (config.run.job, config.run.attempt, config.run.id) == ("wishes", 2, made.fact.run)
    assert config.data.table == "DB.SCH.CALLS"
    assert config.training.max_steps == 4
    assert config.output.path == f"/snowcat/stage/wishes/{made.fact.run}"


@pytest.mark.parametrize(
    ("change", "same", "reason"),
    [
        (("learningRate: 0.001", "learningRate: 0.002"), False, "another learning rate is another run"),
        (("revision: abc", "revision: abd"), False, "another base model is another run"),
        (("retry: {limit: 1}", "retry: {limit: 5}"), True, "how often it is tried is no part of what is trained"),
        (("retry: {limit: 1}", "checkpoint: {everyMinutes: 1}"), True, "nor how often it is saved"),
        (("retry: {limit: 1}", "resources: {requests: {cpu: 2}}"), True, "nor how large the container is"),
    ],
)
def test_what_makes_another_run(tmp_path: Path, change: tuple[str, str], same: bool, reason: str) -> None:
    made = Lab(tmp_path)
    before = made.fact.run
    made.load(change)
    assert (made.fact.run == before) is same, reason


@pytest.mark.parametrize(
    ("settings", "lacks", "reason"),
    [
        ("data: {columns: {input: INPUT}}", None, "names are compared without regard to case"),
        ("data: {columns: {input: email}}", "Dataset/calls lacks the column email; it has instruction, input, output, language", "typo"),
        ("data: {columns: {input: a, output: b}}", "lacks the columns a, b;", "all of them are told at once"),
        ("data: {columns: {split: part}}", "lacks the column part;", "the split is read by every template"),
        ("data: {columns: {messages: turns}}", None, "a column that the template does not read is of no account"),
        ("prompt: {template: chat}", "lacks the column messages;", "the default column of another template"),
        ("prompt: {template: completion}", "lacks the columns prompt, completion;", "the default columns of another template"),
        ('prompt: {template: "{{ language }}: {{Input}}"}', None, "an inline template reads its placeholders"),
        ('prompt: {template: "{{ tongue }}: {{input}}"}', "lacks the column tongue;", "a placeholder with no column"),
    ],
)
@pytest.mark.parametrize("offline", [False, True])
def test_columns_are_compared_with_the_dataset_before_a_node_is_started(
    tmp_path: Path, settings: str, lacks: str | None, reason: str, offline: bool
) -> None:
    made = Lab(tmp_path, ("retry: {limit: 1}", settings))
    made.world.offline = offline
    if lacks is None:
        assert made.statement(), reason
        return
    with pytest.raises(Stalled, match=re.escape(lacks)) as error:
        made.look()
    assert error.value.reason == "BadColumns", reason


def test_one_changed_row_is_another_run(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    before = made.fact.run
    calls = tmp_path / "calls.jsonl"
    calls.write_text(calls.read_text().replace("call 7", "call seven"))
    assert made.fact.run != before


def test_a_new_image_only_raises_a_condition(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.jobs("DONE")
    made.finish(field_f1=0.7)
    before = made.fact.run
    (tmp_path / "app" / "main.py").write_text("print('other')\n")
    seen = made.look()
    assert made.fact.run == before and not seen.drift and seen.health is Health.HEALTHY
    assert seen.conditions["ImageChanged"][0] is True


def test_a_new_image_is_another_run_when_asked(tmp_path: Path) -> None:
    made = Lab(tmp_path, ("retry: {limit: 1}", "rerunOn: [image]"))
    before = made.fact.run
    (tmp_path / "app" / "main.py").write_text("print('other')\n")
    assert made.fact.run != before


def test_a_finished_run_is_read_once_and_stays_known(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.finish(field_f1=0.7, valid_json=1.0)
    seen = made.look()
    assert (seen.exists, seen.health, seen.markable) == (True, Health.HEALTHY, False), "its job may be gone after 30 days"
    assert "field_f1 0.70" in seen.message

    def reads() -> int:
        return sum(1 for path in made.world.reads if path.endswith("run.json"))

    count = reads()
    assert made.look().exists
    assert reads() == count, "remembered"
    made.world.see(STAGES, {"name": "MODELS", "created_on": "2027-01-01"})
    assert made.look().exists
    assert reads() > count, "another stage of the same name is looked at anew"


@pytest.mark.parametrize(
    ("statuses", "code", "log", "wanted"),
    [
        (["PENDING"], None, "", None),
        (["RUNNING"], None, "", None),
        (["DONE"], 0, "", None),  # the result may take a moment to appear
        (["FAILED"], 1, "boom", 2),
        (["FAILED"], 12, "", 2),
        (["FAILED", "FAILED"], 1, "Traceback\nValueError: boom\n", "failed 2 times, exit code 1: ValueError: boom"),
        (["FAILED", "FAILED"], 1, "ended with exit code 1", "failed 2 times: ended with exit code 1; mend it"),
        (["FAILED"], 10, 'SNOWCAT_PROGRESS {"phase": "failed", "message": "no column x"}', "no column x"),
        (["FAILED"], 11, 'SNOWCAT_PROGRESS {"phase": "failed", "message": "use zero: 3"}', "use zero: 3"),
        (
            ["FAILED"],
            13,
            'SNOWCAT_PROGRESS {"phase": "failed", "message": "request access at https://x, then `snowcat reconcile`"}',
            "request access at https://x, then `snowcat reconcile`",
        ),
        (["CANCELLED"], None, "", "attempt 1 was cancelled"),
    ],
)
def test_what_comes_after_an_attempt(tmp_path: Path, statuses: list[str], code: int | None, log: str, wanted: int | str | None) -> None:
    made = Lab(tmp_path)
    made.jobs(*statuses, code=code, log=log)
    seen = made.look()
    if wanted is None:
        assert not seen.drift and seen.health is Health.PROGRESSING
        assert list(TUNE.create(made.job, made.view)) == []
    elif isinstance(wanted, int):
        (step,) = TUNE.update(made.job, seen, made.view)
        assert f"_{wanted}\n" in str(step) and f"attempt={wanted}" in str(step)
    else:
        with pytest.raises(Stalled, match=re.escape(wanted)) as error:
            TUNE.update(made.job, seen, made.view)
        assert "snowcat reconcile" in str(error.value)
        assert seen.health is Health.DEGRADED


def test_reconcile_forgives_what_failed_before(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.jobs("FAILED", code=13)
    made.look()
    made.world.remember(f"reconcile:{made.job.key}", "token-1")
    (step,) = TUNE.update(made.job, made.look(), made.view)
    assert "attempt=2" in str(step)
    made.jobs("FAILED", "FAILED", code=13)
    with pytest.raises(Stalled):
        TUNE.update(made.job, made.look(), made.view)


def test_a_result_that_never_comes_is_reported(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.jobs("DONE")
    for _ in range(20):
        made.look()
    with pytest.raises(Stalled, match="its result is not on the stage"):
        TUNE.update(made.job, made.look(), made.view)


def test_a_job_that_is_there_already_is_not_an_error(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    (step,) = TUNE.create(made.job, made.view)
    assert 2002 in step.tolerate  # type: ignore[union-attr]


def test_a_running_job_tells_what_it_costs_and_remembers_it(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.jobs("RUNNING", log='SNOWCAT_PROGRESS {"phase": "train", "loss": 1, "mfu": 0.4, "metrics": {"loss": 2}, "elapsedSeconds": 1800}')
    assert made.look().message == "training, loss 1.00, 2.00 on held-out rows"
    seen = made.look().observed
    assert (seen["mfu"], seen["metrics"], seen["elapsedSeconds"]) == (0.4, {"loss": 2}, 1800)
    assert seen["credits"] == pytest.approx(0.11), "half an hour of CPU_X64_M"
    made.jobs("FAILED", "RUNNING", log='SNOWCAT_PROGRESS {"phase": "load", "elapsedSeconds": 360}')
    assert made.look().observed["credits"] == pytest.approx(0.132), "the first attempt's time is remembered, its log is not needed"


def test_predictions_and_tracker_are_told_the_trainer_and_make_no_other_run(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    before = made.fact.run
    secret = "kind: Secret\nmetadata: {name: mlflow, schema: db.sch}\nspec: {valueFrom: {env: HOME}}\n---\n"
    more = "predictions: {table: seen}\n  tracker: {mlflow: {uri: 'https://host', experiment: calls}}\n  trackerSecret: mlflow"
    made.graph = made.world.load(secret + LAB + "---\n" + JOB.strip().replace("retry: {limit: 1}", more))
    assert made.fact.run == before
    assert "objectName: DB.SCH.MLFLOW" in made.statement() and "envVarName: MLFLOW_TRACKING_TOKEN" in made.statement()
    request = TUNE._request(made.job, made.fact, made.view, 1, "/x")  # type: ignore[attr-defined]
    config = TrainingConfig.model_validate_json(request.env["SNOWCAT_CONFIG"])
    assert config.predictions is not None and config.predictions.table == "DB.SCH.SEEN"
    assert config.tracker is not None and config.tracker.mlflow.experiment == "calls"


def test_a_running_job_tells_how_far_it_is(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    line = {"phase": "train", "step": 9, "steps": 16, "loss": 0.412, "etaSeconds": 70, "tokensPerSecond": 300.0}
    made.jobs("RUNNING", log=f"hello\nSNOWCAT_PROGRESS {json.dumps(line)}\nSNOWCAT_PROGRESS {{cut off")
    seen = made.look()
    assert seen.message == "training step 9 of 16, loss 0.41, 1 min 10 s left"
    assert seen.progress == pytest.approx(9 / 16)
    assert seen.observed["tokensPerSecond"] == 300.0


@pytest.mark.parametrize(
    ("changed", "wanted", "reason"),
    [
        ([("learningRate: 0.001", "learningRate: 0.002")], {"training.learningRate": (0.001, 0.002)}, "a setting"),
        ([("maxSteps: 4", "epochs: 2")], {"training.maxSteps": (4, None), "training.epochs": (None, 2.0)}, "another in its place"),
        ([("revision: abc", "revision: abd")], {"model.huggingFace.revision": ("abc", "abd")}, "another base model"),
        ([("retry: {limit: 1}", "rerunOn: [image]")], {"image": (None, "tag")}, "the image is part of it from now on"),
    ],
)
def test_another_run_is_shown_with_the_fields_that_make_it(
    tmp_path: Path, changed: list[tuple[str, str]], wanted: dict[str, tuple[Any, Any]], reason: str
) -> None:
    made = Lab(tmp_path)
    made.jobs("DONE")
    before = made.fact.run
    made.load(*changed)
    run, *why = made.look().drift
    assert (run.path, run.before, run.after) == ("run", before, made.fact.run)
    seen = {change.path: (change.before, "tag" if change.path == "image" else change.after) for change in why}
    assert seen == wanted, reason
    made.jobs("RUNNING")
    assert not made.look().drift, "its job is on the way: nothing more is due"


def test_other_rows_are_shown_by_their_fingerprint(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.jobs("DONE")
    calls = tmp_path / "calls.jsonl"
    calls.write_text(calls.read_text().replace("call 7", "call seven"))
    _, why = made.look().drift
    assert why.path == "dataset" and why.before.startswith("fingerprint ") and why.before != why.after


def test_the_run_alone_is_shown_where_its_parts_are_not_known(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.jobs("DONE")
    made.load(("learningRate: 0.001", "learningRate: 0.002"))
    made.world.memory.clear()
    assert [change.path for change in made.look().drift] == ["run"]


def test_from_the_last_good_text_of_a_broken_file_no_new_run_is_begun(tmp_path: Path) -> None:
    """Rows that changed ask for one, and so does a job that somebody cancelled; a job that failed is tried again, it is the same run."""
    made = Lab(tmp_path)

    def planned() -> Change:
        now = plan(made.view, KINDS, remembered={made.job.location.file: "jobs.yaml:7"})
        return now.objects[made.job.key].change

    made.jobs("FAILED")
    assert planned().action is Action.UPDATE
    made.jobs("DONE")
    calls = tmp_path / "calls.jsonl"
    calls.write_text(calls.read_text().replace("call 7", "call seven"))
    change = planned()
    assert (change.block_reason, change.steps) == ("InvalidManifest", ())
    assert change.reason.startswith("jobs.yaml:7 is wrong; FineTuneJob/wishes stood in that file before, and is not made anew")


@pytest.mark.parametrize(
    ("codes", "told", "reason"),
    [
        ((1, 10, 1), 1, "bad input on one node; the others lost their peer"),
        ((12, 137, 12), 1, "a node was killed; the others were stopped"),
        ((12, 1), 1, "a node's ranks broke; the other was stopped"),
        ((0, 12), 1, "one node was stopped while it saved"),
        ((12, 12, 12), 0, "all were stopped"),
    ],
)
def test_of_several_nodes_the_one_that_explains_the_end_is_told(tmp_path: Path, codes: tuple[int, ...], told: int, reason: str) -> None:
    made = Lab(tmp_path)
    made.jobs("FAILED", log="it broke")
    name = made.job.key.name.parent.child(made.job.key.name.name.__class__(f"WISHES_{made.fact.run.upper()}_1"))
    nodes = [{"instance_id": str(i), "container_name": "main", "last_exit_code": code} for i, code in enumerate(codes)]
    made.world.see(containers_of(name), *nodes)
    made.world.memory.clear()
    made.world.reads.clear()
    assert made.fact.job.endings[1].code == codes[told], reason
    assert f"log of {name.sql}, instance {told}" in made.world.reads


@pytest.mark.parametrize(
    ("code", "message", "log", "wanted", "reason"),
    [
        (137, "Container was OOMKilled due to resource usage", "step 3", "out of host memory on node 0", "as SPCS words it"),
        (137, "Container exited with exit code 137", "step 3", 2, "a lost node, or a stop that took too long"),
        (
            137,
            "Container was OOMKilled due to resource usage",
            'SNOWCAT_PROGRESS {"phase": "train", "memoryBytes": 3221225472}',
            "the 4Gi of resources.limits.memory (the last that it told of itself: 3.0 GiB)",
            "how much it was",
        ),
        (
            11,
            "Container was OOMKilled due to resource usage",
            'SNOWCAT_PROGRESS {"phase": "failed", "message": "the kernel ended it"}',
            "the kernel ended it",
            "the trainer lived on and knows more",
        ),
    ],
)
def test_a_container_that_was_killed_for_want_of_memory_is_not_tried_again(
    tmp_path: Path, code: int, message: str, log: str, wanted: int | str, reason: str
) -> None:
    made = Lab(tmp_path, ("retry: {limit: 1}", "retry: {limit: 1}\n  resources: {limits: {memory: 4Gi}}"))
    made.jobs("FAILED", log=log)
    name = made.job.key.name.parent.child(made.job.key.name.name.__class__(f"WISHES_{made.fact.run.upper()}_1"))
    made.world.see(containers_of(name), {"instance_id": "0", "container_name": "main", "last_exit_code": code, "message": message})
    made.world.memory.clear()
    seen = made.look()
    if isinstance(wanted, int):
        (step,) = TUNE.update(made.job, seen, made.view)
        assert f"attempt={wanted}" in str(step), reason
    else:
        with pytest.raises(Stalled, match=re.escape(wanted)) as error:
            TUNE.update(made.job, seen, made.view)
        assert error.value.reason == "DoesNotFit" and "snowcat reconcile" in str(error.value), reason


def test_a_gpu_family_gets_gpus_shared_memory_and_ports_for_its_ranks(tmp_path: Path) -> None:
    made = Lab(
        tmp_path, ("  computePool: pool\n  image: trainer\n  model", "  computePool: gpus\n  replicas: 2\n  image: trainer\n  model")
    )
    request = TUNE._request(made.job, made.fact, made.view, 1, "/x")  # type: ignore[attr-defined]
    body = request.document()["spec"]
    (container,) = body["containers"]
    assert container["resources"] == {"requests": {"nvidia.com/gpu": 4}, "limits": {"nvidia.com/gpu": 4}}
    assert {"name": "dshm", "source": "memory", "size": "53Gi"} in body["volumes"]
    assert [endpoint["name"] for endpoint in body["endpoints"]] == ["rendezvous", "preflight", "ranks"]
    assert "REPLICAS = 2" in made.statement()


def test_delete_drops_the_jobs_and_nothing_else(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.jobs("DONE", "FAILED")
    foreign = {"name": "WISHES_OTHER", "schema_name": "SCH", "status": "RUNNING", "comment": "by hand"}
    made.world.see(services_in(made.job.key.name), *made.world.answers[services_in(made.job.key.name)], foreign)
    run = made.fact.run.upper()
    assert [str(step) for step in TUNE.delete(made.job.key, made.view)] == [f"DROP SERVICE DB.SCH.WISHES_{run}_{n}" for n in (1, 2)]


def test_a_base_model_is_fetched_by_a_job_of_its_own(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    base = only(made.graph, "BaseModel")
    (step,) = BASE.create(base, made.view)
    assert "NAME = DB.SCH.SMALL_LOAD_" in str(step) and "container.fetch" in str(step)
    identity = made.view.fact(base.key).identity
    folder = next(word for word in str(step).split() if word.startswith("'@DB.SCH.MODELS/")).strip("'").partition("/")[2]
    assert folder.startswith(f"base/small/{identity}")
    made.world.stage_files[f"{folder}/model.json"] = json.dumps({"parameters": 134515008, "architecture": "LlamaForCausalLM"}).encode()
    seen = BASE.observe(base, made.view)
    assert (seen.exists, seen.message) == (True, "LlamaForCausalLM, 135 million parameters")


def test_a_token_reaches_the_job_as_a_secret_only(tmp_path: Path) -> None:
    secret = "kind: Secret\nmetadata: {name: hf, schema: db.sch}\nspec: {valueFrom: {env: HOME}}\n---\n"
    world = lab(tmp_path)
    graph = world.load(secret + LAB.strip().replace("revision: abc}", "revision: abc, tokenSecret: hf}"))
    (step,) = BASE.create(only(graph, "BaseModel"), world.view(graph))
    assert "objectName: DB.SCH.HF" in str(step) and "envVarName: HF_TOKEN" in str(step)
    assert "tokenSecret" not in str(step)


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (60, "1 min"), (70.4, "1 min 10 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_no_progress_in_a_log_without_any() -> None:
    assert last_progress("a\nb") is None
    assert last_progress(None) is None


PHASES = [
    ({}, None, "the job is starting"),
    (
        {"phase": "eval", "step": 3, "steps": 24, "message": "the base model answers"},
        None,
        "evaluating row 3 of 24, the base model answers",
    ),
    ({"phase": "train", "step": 40, "steps": 40}, 1.0, "training step 40 of 40"),
    ({"phase": "eval", "step": 0, "steps": 24}, None, "evaluating row 0 of 24"),
]


@pytest.mark.parametrize(("said", "part", "text"), PHASES)
def test_only_training_has_a_share_so_that_it_never_goes_back(said: dict[str, Any], part: float | None, text: str) -> None:
    last = Attempt(QualifiedName.parse("db.s.job_1"), 1, "RUNNING", {})
    assert (share(said), sentence(last, said)) == (part, text)
