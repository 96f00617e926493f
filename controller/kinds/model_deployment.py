"""ModelDeployment: a model as a service and two SQL functions, which are its children.

A base model is served from its folder. For `fromJob` the version is the job's wanted run as soon as that is finished and passes the gate.
Until then, and while the gate holds it back, the version that is served now (in the service's mark) is served on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from controller.account.snapshot import Show
from controller.api.fine_tune_job import FineTuneJobSpec, Prompt
from controller.api.model_deployment import ModelDeployment, ModelDeploymentSpec
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.api.parts import Resources
from controller.kinds import base_model
from controller.kinds.base import Gatherer, Health, Kind, Observation, Stalled, Step, View
from controller.kinds.children import common_references, function_child, service_child
from controller.kinds.fine_tune_job import RunFact, family_of, folder_of_run
from controller.kinds.function import FunctionSpec, functions_in
from controller.kinds.image import image_path
from controller.kinds.instance_families import Family
from controller.kinds.jobs.service import Mount, sized, stage_volume
from controller.kinds.mark import mark_of
from controller.kinds.references import manifest_of
from controller.kinds.service import VERSION_LABEL
from controller.kinds.service_health import find, lagging, look_closer, services_in
from controller.kinds.services.specification import configuration
from controller.manifests.problems import did_you_mean
from training.config import BUILT_IN

PORT, ENDPOINT = 8000, "api"
_MODEL = "/snowcat/model"


@dataclass(frozen=True)
class Served:
    """What is to be served. `note` says what is held back and why; `conditions` are for the status."""

    version: str
    mount: Mount
    path: str
    prompt: Prompt
    waits_for: tuple[ObjectKey, ...]
    note: str = ""
    conditions: dict[str, tuple[bool, str, str]] = field(default_factory=dict)


class ModelDeploymentKind(Kind):
    name: ClassVar[str] = "ModelDeployment"
    manifest: ClassVar[type[ModelDeployment]] = ModelDeployment

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> None:
        look_closer(obj.key.name, gatherer)

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        return (services_in(obj.key.name), functions_in(obj.key.name))

    def expand(self, obj: DesiredObject, view: View) -> Sequence[DesiredObject]:
        served = _served(obj, view)
        service = self._service(obj, served, view)
        return [service, *self._functions(obj, service.key)]

    def _service(self, obj: DesiredObject, served: Served, view: View) -> DesiredObject:
        spec = _spec(obj)
        node = family_of(obj, "computePool", view)
        env = {
            "SNOWCAT_MODEL_PATH": served.path,
            "SNOWCAT_MODEL_NAME": str(obj.key).partition("/")[2],
            "SNOWCAT_MODEL_VERSION": served.version,
            "SNOWCAT_PROMPT": configuration(served.prompt.document()),
            "SNOWCAT_PORT": str(PORT),
            "SNOWCAT_MAX_BATCH_ROWS": str(spec.function.max_batch_rows),
        }
        if threads := _threads(spec.resources, node):
            env["SNOWCAT_THREADS"] = str(threads)
        if spec.max_new_tokens is not None:
            env["SNOWCAT_MAX_NEW_TOKENS"] = str(spec.max_new_tokens)
        container: dict[str, Any] = {
            "name": "main",
            "image": image_path(obj, "image", spec.image, view),
            "env": {**env, **spec.env},
            "readinessProbe": {"port": PORT, "path": "/healthz"},
            "volumeMounts": [{"name": "model", "mountPath": _MODEL}],
        }
        if resources := sized(spec.resources, node, 1):
            container["resources"] = resources
        document = {
            "computePool": spec.compute_pool,
            "specification": {
                "spec": {
                    "containers": [container],
                    "endpoints": [{"name": ENDPOINT, "port": PORT, "public": spec.public}],
                    "volumes": [stage_volume(served.mount)],
                }
            },
            "minInstances": spec.instances.min,
            "maxInstances": spec.instances.max or spec.instances.min,
            "externalAccess": spec.external_access,
            "priority": spec.priority,
            "preemptible": spec.preemptible,
        }
        image = [obj.references["image"]] if "image" in obj.references else []
        waits_for = (*served.waits_for, *image)
        return service_child(obj, document, common_references(obj), waits_for, {VERSION_LABEL: served.version})

    def _functions(self, obj: DesiredObject, service: ObjectKey) -> list[DesiredObject]:
        spec = _spec(obj)
        roles = sorted((path, key) for path, key in obj.references.items() if path.startswith("usage["))
        waits_for = (service, *(key for _, key in roles))

        def one(name: str, path: str, returns: str) -> DesiredObject:
            definition = FunctionSpec.model_validate(
                {
                    "service": service.name.sql,
                    "endpoint": ENDPOINT,
                    "path": path,
                    "returns": returns,
                    "maxBatchRows": spec.function.max_batch_rows,
                    "usage": [key.name.name.text for _, key in roles],
                }
            )
            return function_child(obj, name, definition, waits_for)

        name = spec.function.name
        detail = f'{name[:-1]}_detail"' if name.endswith('"') else f"{name}_detail"
        return [one(name, "/predict", "VARCHAR"), one(detail, "/predict_detail", "OBJECT")]

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        """The composite itself is nothing in the account: its health is that of its children."""
        exists = find(view.snapshot.rows(services_in(obj.key.name)), obj.key.name) is not None
        try:
            served = _served(obj, view)
        except Stalled as error:
            held = {"GateHeld": (True, error.reason, str(error))} if error.reason == "GateHeld" else {}
            return Observation(
                exists=exists, health=Health.DEGRADED, message=str(error), reason=error.reason, markable=False, conditions=held
            )
        behind = lagging(obj.key.name, view.snapshot)
        up = exists and not behind and _version_now(obj, view) in (None, served.version)
        message = f"{'serves' if up else 'will serve'} {served.version}" + (f"; {served.note}" if served.note else "") + behind
        function = _spec(obj).function.name
        observed = {"version": served.version, "function": function, "engine": "transformers"}
        return Observation(
            exists=exists, message=message, reason="Expanded", observed=observed, markable=False, conditions=served.conditions
        )

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        return ()

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        return ()

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        """Nothing of its own: the children carry marks and are removed as what they are."""
        return ()


def _threads(resources: Resources | None, node: Family | None) -> int | None:
    """Cores that the model may compute on: what the manifest asks for on a CPU family.

    More threads than cores make a step many times slower, and several servers share a node.
    """
    if node is not None and node.gpus:
        return None
    asked = [part.cpu for part in (resources.limits, resources.requests) if part and part.cpu] if resources is not None else []
    if not asked:
        return None
    cores = float(asked[0].removesuffix("m")) / (1000 if asked[0].endswith("m") else 1)
    return max(1, int(cores))


def _served(obj: DesiredObject, view: View) -> Served:
    """Which version to serve now.

    Raises:
        Stalled: no version may be served (the gate holds the first one back, or can never be passed), or there is no such engine yet.
    """
    spec = _spec(obj)
    if spec.engine == "vllm":
        raise Stalled(
            f"{obj.location}: engine: vllm is not available in this version; say `engine: auto` to serve with transformers", "NoEngine"
        )
    if spec.model.from_job is None:
        base = manifest_of(obj, "model.base", view.graph)
        return _of_base(base, spec.prompt or Prompt())
    return _of_job(obj, manifest_of(obj, "model.fromJob", view.graph), view)


def _of_base(base: DesiredObject, prompt: Prompt) -> Served:
    mount = Mount("model", base_model.stage_of(base), base_model.folder_of(base), _MODEL)
    return Served(base_model.identity_of(base)[:8], mount, _MODEL, prompt, (base.key,))


def _of_job(obj: DesiredObject, job: DesiredObject, view: View) -> Served:
    _check_gate(obj, job)
    fact = cast(RunFact, view.fact(job.key))
    prompt = _spec(obj).prompt or cast(FineTuneJobSpec, job.manifest.spec).prompt
    now = _version_now(obj, view)
    if fact.job.result is None:
        if now and now != fact.run:
            return _run(job, now, fact, prompt, (), f"run {fact.run} is not finished yet")
        return _run(job, fact.run, fact, prompt, (job.key,))
    held = _held_back(obj, fact)
    if not held:
        return _run(job, fact.run, fact, prompt, (), conditions={"GateHeld": (False, "Passed", f"run {fact.run} is served")})
    if now and now != fact.run:
        return _run(job, now, fact, prompt, (), held, {"GateHeld": (True, "GateHeld", held)})
    raise Stalled(f"{held}; change the training or the gate", "GateHeld")


def _run(
    job: DesiredObject,
    run: str,
    fact: RunFact,
    prompt: Prompt,
    waits_for: tuple[ObjectKey, ...],
    note: str = "",
    conditions: dict[str, tuple[bool, str, str]] | None = None,
) -> Served:
    mount = Mount("model", fact.stage, folder_of_run(job, run), _MODEL)
    return Served(run, mount, f"{_MODEL}/merged", prompt, waits_for, note, conditions or {})


def _held_back(obj: DesiredObject, fact: RunFact) -> str:
    """Why a finished run is not promoted; '' when it is."""
    promote = _spec(obj).promote
    if promote is None:
        return ""
    gate, score = promote.when, fact.metrics.get(promote.when.metric)
    if score is None:
        known = ", ".join(fact.metrics) or "none"
        return f"run {fact.run} was not scored by {gate.metric} (scores: {known}), which promote asks to be {gate.asks}"
    if gate.passes(score):
        return ""
    side = "below" if gate.at_least is not None else "above"
    return f"run {fact.run} is held back: {gate.metric} {score:.2f} is {side} {gate.asks.split()[-1]}"


def _check_gate(obj: DesiredObject, job: DesiredObject) -> None:
    """Said before the job runs, not after hours of it.

    Raises:
        Stalled: the gate asks for a score that no run of the job will have.
    """
    promote, evaluation = _spec(obj).promote, cast(FineTuneJobSpec, job.manifest.spec).evaluation
    known = ("loss", *evaluation.metrics, *(score.name for score in evaluation.sql))
    if promote is None or promote.when.metric in known:
        return
    name = promote.when.metric
    add = f"add it to evaluation.metrics of {job.key}" if name in BUILT_IN else did_you_mean(name, known) or "name one of these"
    raise Stalled(f"{obj.location}: promote: {job.key} has no score {name!r}, only {', '.join(known)}; {add}", "BadGate")


def _version_now(obj: DesiredObject, view: View) -> str | None:
    """The run that is served now, from the mark of our own service."""
    row = find(view.snapshot.rows(services_in(obj.key.name)), obj.key.name)
    mark = mark_of(row)
    if mark is None or (mark.project, mark.kind) != (view.project.name, "Service"):
        return None
    return mark.attributes.get("version")


def _spec(obj: DesiredObject) -> ModelDeploymentSpec:
    return cast(ModelDeploymentSpec, obj.manifest.spec)
