"""Deployments and workspaces: which version is served, what the children are, and what a gate holds back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kinds_world import DEPLOYMENT, JOB, LAB, World, lab, only

from controller.account.snapshot import Describe, Show, Snapshot
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import Stalled, View
from controller.kinds.fine_tune_job import RunFact
from controller.kinds.function import functions_in
from controller.kinds.mark import join_comment, split_comment
from controller.kinds.model_deployment import ModelDeploymentKind
from controller.kinds.registry import KINDS
from controller.kinds.service_health import containers_of, services_in
from controller.reconcile.planning.plan import plan

DEPLOY, FUNCTION, SERVICE, WORKSPACE = KINDS["ModelDeployment"], KINDS["Function"], KINDS["Service"], KINDS["Workspace"]
STAGES = Show("STAGES", "SCHEMA DB.SCH")


class Tuned:
    """A deployment of a fine-tune, in a world where runs finish and services stand."""

    def __init__(self, folder: Path, deployment: str = DEPLOYMENT) -> None:
        self.world: World = lab(folder)
        self.graph: Graph = self.world.load(LAB + "---\n" + JOB.strip() + "\n---\n" + deployment.strip())
        self.world.see(STAGES, {"name": "MODELS", "created_on": "1"})

    @property
    def obj(self) -> DesiredObject:
        return only(self.graph, "ModelDeployment")

    @property
    def view(self) -> View:
        return self.world.view(self.graph)

    @property
    def run(self) -> str:
        fact = self.view.fact(only(self.graph, "FineTuneJob").key)
        assert isinstance(fact, RunFact)
        return fact.run

    def finish(self, score: float) -> None:
        document = json.dumps({"metrics": {"base": {}, "tuned": {"field_f1": score}}})
        self.world.stage_files[f"wishes/{self.run}/run.json"] = document.encode()

    def serving(self, run: str) -> None:
        comment = f"[snowcat proj/Service/tuned delete=yes parent=ModelDeployment/tuned version={run}]"
        row = {"name": "TUNED", "schema_name": "SCH", "status": "RUNNING", "comment": comment}
        self.world.see(services_in(self.obj.key.name), row)

    def children(self) -> Sequence[DesiredObject]:
        return DEPLOY.expand(self.obj, self.view)

    def document(self) -> dict[str, Any]:
        return SERVICE.document(self.children()[0], self.view)  # type: ignore[attr-defined, no-any-return]

    def served(self) -> str:
        return str(self.document()["spec"]["containers"][0]["env"]["SNOWCAT_MODEL_VERSION"])


def test_the_children_are_a_service_and_two_functions(tmp_path: Path) -> None:
    made = Tuned(tmp_path)
    service, answer, detail = made.children()
    assert [str(child.key) for child in (service, answer, detail)] == [
        "Service/tuned",
        "Function/tuned_predict",
        "Function/tuned_predict_detail",
    ]
    assert {child.parent for child in made.children()} == {made.obj.key}
    assert service.key in answer.depends_on
    assert only(made.graph, "FineTuneJob").key in service.depends_on, "the first run has to be finished first"
    (container,) = made.document()["spec"]["containers"]
    assert container["env"]["SNOWCAT_MODEL_PATH"] == "/snowcat/model/merged"
    assert container["readinessProbe"] == {"port": 8000, "path": "/healthz"}
    (create,) = FUNCTION.create(detail, made.view)
    text = " ".join(str(create).split())
    assert "FUNCTION DB.SCH.TUNED_PREDICT_DETAIL(prompt VARCHAR) RETURNS OBJECT SERVICE = DB.SCH.TUNED ENDPOINT = api" in text
    assert text.endswith("AS '/predict_detail'") and "MAX_BATCH_ROWS = 100" in text


def test_the_prompt_of_the_job_is_the_deployments(tmp_path: Path) -> None:
    env = Tuned(tmp_path).document()["spec"]["containers"][0]["env"]
    assert json.loads(env["SNOWCAT_PROMPT"])["template"] == "instruction"


@pytest.mark.parametrize(
    ("score", "before", "served", "held", "reason"),
    [
        (None, None, "new", None, "nothing is served yet: the first run is waited for"),
        (None, "old", "old", None, "while another run trains, the old one is served on"),
        (0.7, "old", "new", False, "a run that passes is promoted"),
        (0.6, None, "new", False, "the gate's own value passes"),
        (0.2, "old", "old", True, "a worse model is not promoted"),
    ],
)
def test_which_run_is_served(tmp_path: Path, score: float | None, before: str | None, served: str, held: bool | None, reason: str) -> None:
    made = Tuned(tmp_path)
    if score is not None:
        made.finish(score)
    if before is not None:
        made.serving("01d01d01")
    assert made.served() == (made.run if served == "new" else "01d01d01"), reason
    condition = DEPLOY.observe(made.obj, made.view).conditions.get("GateHeld")
    assert (condition[0] if condition else None) is held


def test_a_first_run_below_the_gate_stalls(tmp_path: Path) -> None:
    made = Tuned(tmp_path)
    made.finish(0.2)
    with pytest.raises(Stalled, match=r"field_f1 0\.20 is below 0\.6"):
        made.children()
    assert DEPLOY.observe(made.obj, made.view).conditions["GateHeld"][0] is True


def test_the_kept_version_is_not_waited_for(tmp_path: Path) -> None:
    made = Tuned(tmp_path)
    made.serving("01d01d01")
    job = only(made.graph, "FineTuneJob").key
    assert job not in made.children()[0].depends_on, "a change of the service must not wait for a run that it does not serve"


@pytest.mark.parametrize(
    ("status", "said", "wanted", "reason"),
    [
        ("RUNNING", "", "serves {run}", "all is well"),
        ("PENDING", "Waiting for the readiness probe", "will serve {run}; service: pending: Waiting for the readiness probe", "it starts"),
        ("SUSPENDED", "", "will serve {run}; service: suspended", "somebody suspended it"),
    ],
)
def test_a_deployment_says_what_its_service_waits_for(tmp_path: Path, status: str, said: str, wanted: str, reason: str) -> None:
    made = Tuned(tmp_path)
    made.finish(0.9)
    made.serving(made.run)
    (row,) = made.world.answers[services_in(made.obj.key.name)]
    made.world.see(services_in(made.obj.key.name), {**row, "status": status})
    made.world.see(containers_of(made.obj.key.name), {"container_name": "main", "status": status, "message": said})
    assert DEPLOY.observe(made.obj, made.view).message == wanted.format(run=made.run), reason


def test_a_deployment_does_not_say_that_it_serves_what_is_not_served_yet(tmp_path: Path) -> None:
    made = Tuned(tmp_path)
    made.finish(0.9)
    assert DEPLOY.observe(made.obj, made.view).message == f"will serve {made.run}", "there is no service"
    made.serving("01d01d01")
    assert DEPLOY.observe(made.obj, made.view).message == f"will serve {made.run}", "another version is served"


def test_the_version_stands_in_the_services_mark(tmp_path: Path) -> None:
    made = Tuned(tmp_path)
    service = made.children()[0]
    view = replace(made.view, graph=made.graph.with_objects(made.children()))
    assert f"version={made.run}" in str(SERVICE.create(service, view)[0])


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("{metric: feild_f1, atLeast: 0.6}", "has no score 'feild_f1', only loss, valid_json, .*; did you mean field_f1?"),
        ("{metric: rouge_l, atLeast: 0.6}", "add it to evaluation.metrics of FineTuneJob/"),
    ],
)
def test_a_gate_that_no_run_can_pass_is_told_before_the_job(tmp_path: Path, gate: str, words: str) -> None:
    made = Tuned(tmp_path, DEPLOYMENT.replace("{metric: field_f1, atLeast: 0.6}", gate))
    with pytest.raises(Stalled, match=words) as caught:
        made.children()
    assert caught.value.reason == "BadGate"


def test_a_gate_may_ask_for_little_loss(tmp_path: Path) -> None:
    made = Tuned(tmp_path, DEPLOYMENT.replace("{metric: field_f1, atLeast: 0.6}", "{metric: loss, atMost: 0.5}"))
    run = f"wishes/{made.run}/run.json"
    made.world.stage_files[run] = b'{"metrics": {"tuned": {"loss": 0.7}}}'
    with pytest.raises(Stalled, match=r"is held back: loss 0\.70 is above 0\.5"):
        made.children()
    made = Tuned(tmp_path, DEPLOYMENT.replace("{metric: field_f1, atLeast: 0.6}", "{metric: loss, atMost: 0.5}"))
    made.world.stage_files[run] = b'{"metrics": {"tuned": {"loss": 0.4}}}'
    assert DEPLOY.observe(made.obj, made.view).conditions["GateHeld"][0] is False


def test_vllm_is_refused_by_name(tmp_path: Path) -> None:
    made = Tuned(tmp_path, DEPLOYMENT.replace("function:", "engine: vllm\n  function:"))
    with pytest.raises(Stalled, match="engine: vllm is not available"):
        made.children()


def test_a_base_model_is_served_from_its_folder(tmp_path: Path) -> None:
    text = DEPLOYMENT.replace("{fromJob: wishes}", "small").replace("  promote: {when: {metric: field_f1, atLeast: 0.6}}\n", "")
    made = Tuned(tmp_path, text)
    document = made.document()
    assert document["spec"]["volumes"][0]["stageConfig"]["name"].startswith("@DB.SCH.MODELS/base/small/")
    assert only(made.graph, "BaseModel").key in made.children()[0].depends_on


def test_a_gpu_family_gives_the_server_one_gpu(tmp_path: Path) -> None:
    made = Tuned(tmp_path, DEPLOYMENT.replace("computePool: pool", "computePool: gpus"))
    resources = made.document()["spec"]["containers"][0]["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 1


# ---- functions -------------------------------------------------------------------------------------------------------------------------


def function(made: Tuned, **properties: Any) -> tuple[DesiredObject, View]:
    """The first function as it stands in the account after its creation; `properties` are what DESCRIBE shows."""
    obj = made.children()[1]
    comment = str(FUNCTION.create(obj, made.view)[0]).partition("COMMENT = '")[2].partition("'")[0]
    row = {"name": "TUNED_PREDICT", "schema_name": "SCH", "catalog_name": "DB", "arguments": "TUNED_PREDICT(VARCHAR) RETURN VARCHAR"}
    made.world.see(functions_in(obj.key.name), {**row, "description": comment})
    if properties:
        rows = [{"property": key, "value": value} for key, value in properties.items()]
        made.world.see(Describe("FUNCTION", "DB.SCH.TUNED_PREDICT(VARCHAR)"), *rows)
    return obj, made.view


def test_a_function_as_it_was_made_is_in_sync(tmp_path: Path) -> None:
    described = {"returns": "VARCHAR(16777216)", "body": "/predict", "service": "DB.SCH.TUNED", "endpoint": "api", "max_batch_rows": "100"}
    obj, view = function(Tuned(tmp_path), **described)
    assert FUNCTION.observe(obj, view).drift == ()


@pytest.mark.parametrize(
    ("described", "path", "statement"),
    [
        ({"body": "/other"}, "path", "CREATE OR REPLACE FUNCTION DB.SCH.TUNED_PREDICT(prompt VARCHAR)"),
        ({"service": "DB.SCH.WEB"}, "service", "ALTER FUNCTION DB.SCH.TUNED_PREDICT(VARCHAR) SET SERVICE = DB.SCH.TUNED ENDPOINT = api"),
        ({"endpoint": "x"}, "endpoint", "ALTER FUNCTION DB.SCH.TUNED_PREDICT(VARCHAR) SET SERVICE = DB.SCH.TUNED ENDPOINT = api"),
        ({"max_batch_rows": "5"}, "maxBatchRows", "ALTER FUNCTION DB.SCH.TUNED_PREDICT(VARCHAR) SET MAX_BATCH_ROWS = 100"),
        ({"max_batch_retries": "7"}, "maxBatchRetries", "ALTER FUNCTION DB.SCH.TUNED_PREDICT(VARCHAR) UNSET MAX_BATCH_RETRIES"),
        ({"batch_timeout_secs": "60"}, "batchTimeoutSeconds", "ALTER FUNCTION DB.SCH.TUNED_PREDICT(VARCHAR) UNSET BATCH_TIMEOUT_SECS"),
        (
            {"on_batch_failure": "RETURN_NULL"},
            "onBatchFailure",
            "ALTER FUNCTION DB.SCH.TUNED_PREDICT(VARCHAR) SET ON_BATCH_FAILURE = ABORT",
        ),
    ],
)
def test_a_function_changed_by_hand_is_put_back(tmp_path: Path, described: dict[str, str], path: str, statement: str) -> None:
    obj, view = function(Tuned(tmp_path), **described)
    seen = FUNCTION.observe(obj, view)
    assert [change.path for change in seen.drift] == [path]
    assert str(FUNCTION.update(obj, seen, view)[0]).split("\n")[0] == statement


def test_roles_are_granted_and_revoked_by_the_mark(tmp_path: Path) -> None:
    made = Tuned(tmp_path)
    obj, view = function(made)
    with_role = Tuned(tmp_path, DEPLOYMENT.rstrip() + "\n  usage: [analyst]\n").children()[1]
    steps = FUNCTION.update(with_role, FUNCTION.observe(with_role, view), view)
    assert [str(step).partition(" TO ROLE")[0] for step in steps[:-1]] == [
        "GRANT USAGE ON FUNCTION DB.SCH.TUNED_PREDICT(VARCHAR)",
        "GRANT SERVICE ROLE DB.SCH.TUNED!ALL_ENDPOINTS_USAGE",
    ]
    comment = str(steps[-1]).partition("COMMENT = '")[2].partition("'")[0]
    row = dict(made.world.answers[functions_in(obj.key.name)][0])
    made.world.see(functions_in(obj.key.name), {**row, "description": comment})
    back = FUNCTION.update(obj, FUNCTION.observe(obj, made.view), made.view)
    assert [str(step) for step in back[:2]] == [
        "REVOKE USAGE ON FUNCTION DB.SCH.TUNED_PREDICT(VARCHAR) FROM ROLE ANALYST",
        "REVOKE SERVICE ROLE DB.SCH.TUNED!ALL_ENDPOINTS_USAGE FROM ROLE ANALYST",
    ]


def test_a_grant_taken_away_by_hand_is_given_again(tmp_path: Path) -> None:
    made = Tuned(tmp_path, DEPLOYMENT.rstrip() + "\n  usage: [analyst]\n")
    obj, view = function(made)
    questions = {read.scope: read for read in FUNCTION.deep_reads(obj, view) if isinstance(read, Show)}
    held = {"grantee_name": "ANALYST", "privilege": "USAGE"}
    on, of = questions["ON FUNCTION DB.SCH.TUNED_PREDICT(VARCHAR)"], questions["OF SERVICE ROLE DB.SCH.TUNED!ALL_ENDPOINTS_USAGE"]
    answers = {**view.snapshot.answers, on: (held,), of: ({"grantee_name": "ANALYST", "role": "ALL_ENDPOINTS_USAGE"},)}
    assert FUNCTION.observe(obj, replace(view, snapshot=replace(view.snapshot, answers=answers))).drift == ()
    gone = replace(view, snapshot=replace(view.snapshot, answers={**answers, on: ()}))
    seen = FUNCTION.observe(obj, gone)
    assert [change.path for change in seen.drift] == ["usage"]
    assert [str(step) for step in FUNCTION.update(obj, seen, gone)] == [
        "GRANT USAGE ON FUNCTION DB.SCH.TUNED_PREDICT(VARCHAR) TO ROLE ANALYST"
    ]


@pytest.mark.parametrize(("ignored", "text"), [(True, "theirs"), (False, "")])
def test_comments_that_are_left_to_others_stay_on_the_parts(tmp_path: Path, ignored: bool, text: str) -> None:
    deployment = DEPLOYMENT.replace("schema: db.sch}", "schema: db.sch, ignore: [comment]}") if ignored else DEPLOYMENT
    obj, view = function(Tuned(tmp_path, deployment))
    row = view.snapshot.rows(functions_in(obj.key.name))[0]
    _, mark = split_comment(str(row["description"]))
    assert mark is not None
    seen = {**row, "description": join_comment("theirs", replace(mark, attributes={**mark.attributes, "more": "x"}))}
    view = replace(view, snapshot=Snapshot({**view.snapshot.answers, functions_in(obj.key.name): (seen,)}, "WORKER"))
    drift = FUNCTION.observe(obj, view)
    assert {change.path for change in drift.drift} == {"comment", "mark"}, "the plan leaves out what is ignored"
    (step,) = (str(step) for step in FUNCTION.update(obj, drift, view))
    assert step.partition("COMMENT = '")[2].partition("[")[0].strip() == text
    changed = plan(view, KINDS).objects[obj.key].change.fields
    assert {field.path for field in changed} == ({"mark"} if ignored else {"comment", "mark"})


def test_a_leftover_function_is_found_by_its_mark(tmp_path: Path) -> None:
    obj, view = function(Tuned(tmp_path))
    (left,) = FUNCTION.inventory(view)
    assert left.key == ObjectKey("Function", obj.key.name)
    assert left.mark.attributes["parent"] == "ModelDeployment/tuned"


# ---- workspace -------------------------------------------------------------------------------------------------------------------------

NOTES = """
kind: Workspace
metadata: {name: notes, schema: db.sch}
spec: {computePool: pool, image: trainer, stage: models, notebooks: ['*.ipynb']}
"""


def test_only_notebooks_that_changed_are_uploaded(tmp_path: Path) -> None:
    world = lab(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.ipynb").write_text(name)
    graph = world.load(LAB + "---\n" + NOTES.strip())
    world.see(STAGES, {"name": "MODELS", "created_on": "1"})
    obj = only(graph, "Workspace")
    (first,) = WORKSPACE.create(obj, world.view(graph))
    assert str(first) == "upload a.ipynb, b.ipynb to @DB.SCH.MODELS"
    world.stage_files[".snowcat/notes.json"] = json.dumps(dict(first.listing)).encode()  # type: ignore[union-attr]
    assert WORKSPACE.observe(obj, world.view(graph)).drift == ()
    reads = len(world.reads)
    assert WORKSPACE.observe(obj, world.view(graph)).exists
    assert sum(path.startswith(".snowcat") for path in world.reads[reads:]) == 0, "a steady look reads no file"
    (tmp_path / "b.ipynb").write_text("changed")
    (second,) = WORKSPACE.create(obj, world.view(graph))
    assert str(second) == "upload b.ipynb to @DB.SCH.MODELS"
    (service,) = WORKSPACE.expand(obj, world.view(graph))
    assert service.parent == obj.key
    world.see(services_in(obj.key.name), {"name": "NOTES", "status": "PENDING"})
    assert WORKSPACE.observe(obj, world.view(graph)).message == "to be uploaded: b.ipynb; service: pending"


def test_kinds_without_state() -> None:
    assert isinstance(DEPLOY, ModelDeploymentKind) and vars(DEPLOY) == {}


@pytest.mark.parametrize(
    ("resources", "threads", "reason"),
    [
        ("{requests: {cpu: 3}}", "3", "the cores asked for"),
        ("{requests: {cpu: 1}, limits: {cpu: 2500m}}", "2", "whole cores of the limit, which is what the container may use"),
        ("{requests: {cpu: 0.5}}", "1", "a model cannot compute on less than one"),
        ("{requests: {memory: 1Gi}}", None, "nothing asked: the server looks for itself"),
    ],
)
def test_a_server_on_a_cpu_computes_on_the_cores_it_asked_for(tmp_path: Path, resources: str, threads: str | None, reason: str) -> None:
    made = Tuned(tmp_path, DEPLOYMENT.rstrip() + f"\n  resources: {resources}\n")
    (container,) = made.document()["spec"]["containers"]
    assert container["env"].get("SNOWCAT_THREADS") == threads, reason
