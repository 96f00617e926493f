"""FineTuneJob: one run for each identity, and as many attempts as it takes.

The identity of a run is a hash of the base model, the dataset's fingerprint and the training configuration. Another learning rate or
another row is another run; the same identity is never trained twice, since its `run.json` is on the stage. A new image of the trainer only
raises the condition ImageChanged, unless `rerunOn: [image]` makes it part of the identity. A sweep is several such runs, and its result is
that of the best one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

from controller.account.snapshot import Show
from controller.api.compute_pool import ComputePoolSpec
from controller.api.fine_tune_job import FineTuneJob, FineTuneJobSpec
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds import base_model
from controller.kinds.base import (
    FieldChange,
    Forecast,
    Gatherer,
    Inventory,
    Kind,
    KindError,
    Load,
    Observation,
    Stalled,
    Step,
    View,
    Waiting,
)
from controller.kinds.comments import marked_comment
from controller.kinds.image import image_fact, image_path
from controller.kinds.instance_families import Family, families_shown, family_shown
from controller.kinds.jobs import sweep
from controller.kinds.jobs.forecast import Known, forecast, forecast_of_sweep, refuse_what_cannot_fit
from controller.kinds.jobs.job_rows import JobRows, job_rows
from controller.kinds.jobs.probe import FOLDER, as_probe, gather_probe
from controller.kinds.jobs.room import job_load
from controller.kinds.jobs.row_lengths import row_lengths
from controller.kinds.jobs.run_changes import differing, newest_other, remember_parts
from controller.kinds.jobs.service import JobFact, JobRequest, Mount, Next, attempts, gather_job, job_name, next_step
from controller.kinds.jobs.status import OUTDATED, Jobs, credits_spent, drop_jobs, job_inventory, jobs_of, observe_jobs
from controller.kinds.references import manifest_of, name_of, names_of, schema_of, warehouse_of
from controller.kinds.service_health import services_in
from controller.kinds.services.specification import configuration
from training.config import Data

MANIFEST = "run.json"
_STAGE, _BASE = "/snowcat/stage", "/snowcat/base"
_NO_PART = ("base", "checkpoint", "predictions", "tracker")  # of a run's identity: they do not change what is learned


@dataclass(frozen=True)
class RunFact:
    """The wanted run and what is known of it. `config` is the training configuration without the run's own part."""

    job: JobFact
    stage: QualifiedName
    folder: str
    config: Mapping[str, Any]
    changes: tuple[FieldChange, ...] = ()  # what makes it another run than the newest one so far; none where that is not known
    known: Known = field(default_factory=Known)  # for the forecast
    ended: bool = False  # of a sweep: no run is left to be done
    mounts: tuple[Mount, ...] = ()  # that the rows need
    probe: JobFact | None = None  # its jobs, where the manifest asks for one
    runs: tuple[RunFact, ...] = ()  # of a sweep, in the manifest's order; the rest is then that of the best, once all have ended

    @property
    def run(self) -> str:
        return self.job.identity

    @property
    def measuring(self) -> RunFact | None:
        """The run whose probe must end before anything is trained."""
        left = (one for one in self.runs or (self,) if one.job.result is None and one.probe is not None)
        return next((one for one in left if one.probe is not None and one.probe.result is None), None)

    @property
    def metrics(self) -> Mapping[str, float]:
        """Scores of the tuned model; empty before the run is finished."""
        found = (self.job.result or {}).get("metrics") or {}
        tuned = found.get("tuned") if isinstance(found, dict) else None
        return {str(key): float(value) for key, value in (tuned or {}).items() if isinstance(value, int | float)}


def folder_of_run(obj: DesiredObject, run: str) -> str:
    """A run's folder within the output stage."""
    return f"{obj.key.name.name.text.lower()}/{run}"


class FineTuneJobKind(Kind):
    name: ClassVar[str] = "FineTuneJob"
    manifest: ClassVar[type[FineTuneJob]] = FineTuneJob
    update_makes: ClassVar[bool] = True

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> RunFact:
        if _spec(obj).sweep is None:
            return self._gather_run(obj, graph, gatherer)
        stage, folder = name_of(obj, "output.stage").sql, folder_of_run(obj, "").rstrip("/")
        once = cast(Gatherer, sweep.OneListing(gatherer, stage, folder, MANIFEST))
        return _swept(obj, [self._gather_run(one, graph, once) for one in _variants(obj)], gatherer)

    def _gather_run(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> RunFact:
        """One run, of a manifest without a sweep."""
        spec = _spec(obj)
        base = manifest_of(obj, "model", graph)
        rows = job_rows(obj, graph, gatherer)
        config = _configuration(obj, rows)
        parts: dict[str, Any] = {
            "base": base_model.identity_of(base),
            "dataset": rows.identity,
            "config": {key: value for key, value in config.items() if key not in _NO_PART},
        }
        # `auto` came later, as the default in place of `none`: neither is a reason to train again
        parts["config"]["deepspeed"] = {"offload": "none", **config["deepspeed"]}
        parts["config"]["data"] = {key: value for key, value in config["data"].items() if key not in rows.source}
        if "image" in spec.rerun_on:
            image = graph.referred(obj, "image")
            parts["image"] = image_fact(image).tag if image is not None else spec.image
        run = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
        stage = name_of(obj, "output.stage")
        folder = folder_of_run(obj, run)
        fact = RunFact(gather_job(obj, run, stage, f"{folder}/{MANIFEST}", gatherer), stage, folder, config, mounts=rows.mounts)
        if fact.job.result is not None:
            return fact
        lengths = row_lengths(rows.fact, spec.prompt, spec.data.columns, spec.data.max_rows, gatherer) if rows.fact is not None else None
        pool = graph.referred(obj, "computePool")
        family = cast(ComputePoolSpec, pool.manifest.spec).instance_family if pool is not None else ""
        probe, measured = gather_probe(obj, spec, parts["base"], family, stage, gatherer)
        known = Known(base_model.config_of(base, gatherer), lengths, measured)
        return replace(fact, changes=_changes(obj, base, run, parts, rows, gatherer), known=known, probe=probe)

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        return (services_in(obj.key.name),)

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        fact = run_fact(obj, view)
        if (measuring := fact.measuring) is not None and measuring.probe is not None:
            probes = jobs_of(obj, measuring.probe, _spec(obj).retry.limit, view)
            return observe_jobs(obj, replace(probes, others=()), measuring.probe, "", "probe")
        if (swept := _spec(obj).sweep) is not None:
            runs = _runs(obj, fact, view)
            ours = {run.run for run in runs}
            others = [other for other in self._jobs(obj, view).others if other[1].attributes.get("run") not in ours]
            seen = sweep.observe_sweep(runs, swept, others)
            artefacts = {"artefacts": f"@{fact.stage}/{fact.folder}"} if fact.job.result is not None else {}
            told = {"JobSucceeded": (True, "Finished", seen.message)} if artefacts else {}
            spent = self._credits(obj, sum(run.job.seconds for run in fact.runs), view)
            return replace(seen, observed={**seen.observed, **artefacts, **spent}, conditions={**seen.conditions, **told})
        jobs = self._jobs(obj, view)
        seen = observe_jobs(obj, jobs, fact.job, _summary(fact), "run")
        observed = {**seen.observed, "artefacts": f"@{fact.stage}/{fact.folder}"}
        if fact.metrics:
            observed["metrics"] = dict(fact.metrics)
        observed |= self._credits(obj, fact.job.seconds, view)
        why = fact.changes if seen.reason == OUTDATED else ()
        return replace(seen, observed=observed, drift=(*seen.drift, *why), conditions=self._conditions(obj, jobs, fact, view))

    def _credits(self, obj: DesiredObject, seconds: float, view: View) -> dict[str, float]:
        node = family_of(obj, "computePool", view)
        return credits_spent(seconds, node.credits if node is not None else None, _spec(obj).replicas)

    def _conditions(self, obj: DesiredObject, jobs: Jobs, fact: RunFact, view: View) -> dict[str, tuple[bool, str, str]]:
        found = {}
        if fact.job.result is not None:
            found["JobSucceeded"] = (True, "Finished", _summary(fact))
        elif jobs.next.stalled:
            found["JobSucceeded"] = (False, jobs.next.reason, jobs.next.stalled)
        if jobs.last is not None:
            mark = observe_jobs(obj, jobs, fact.job, "", "run").mark
            before = mark.attributes.get("image") if mark is not None else None
            try:
                now = _tag(image_path(obj, "image", _spec(obj).image, view))
            except KindError:
                now = before or ""
            if before and before != now:
                text = f"the run was made with image {before}, today's is {now}; rerunOn: [image] would train again"
                found["ImageChanged"] = (True, "NewImage", text)
        return found

    def _jobs(self, obj: DesiredObject, view: View) -> Jobs:
        return jobs_of(obj, run_fact(obj, view).job, _spec(obj).retry.limit, view)

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        fact, swept = run_fact(obj, view), _spec(obj).sweep
        if (measuring := fact.measuring) is not None:
            return self._measure(obj, measuring, view)
        if swept is None:
            return self._start(obj, fact, jobs_of(obj, fact.job, _spec(obj).retry.limit, view).next, view)
        runs = _runs(obj, fact, view)
        if all(run.state is sweep.State.FAILED for run in runs) or (fact.ended and fact.job.result is None):
            raise Stalled(sweep.failure(runs, swept), sweep.FAILED)
        for one, part in zip(_variants(obj), fact.runs, strict=True):
            _refuse(one, part, view)
        following = sweep.due(runs, swept)
        if following is None:
            return ()
        place = runs.index(following)
        return self._start(_variants(obj)[place], fact.runs[place], following.jobs.next, view)

    def _start(self, obj: DesiredObject, fact: RunFact, due: Next, view: View) -> Sequence[Step]:
        """The statement that starts the next attempt of a run, if one is due."""
        if due.stalled:
            raise Stalled(due.stalled, due.reason)
        if due.attempt is None:
            return ()
        _refuse(obj, fact, view)
        image = image_path(obj, "image", _spec(obj).image, view)
        comment = marked_comment(obj, view, run=fact.run, attempt=str(due.attempt), image=_tag(image))
        return (self._request(obj, fact, view, due.attempt, image).statement(comment),)

    def _measure(self, obj: DesiredObject, fact: RunFact, view: View) -> Sequence[Step]:
        """The statement that starts the next attempt of a run's probe, if one is due."""
        job = fact.probe
        if job is None:
            return ()
        due = jobs_of(obj, job, _spec(obj).retry.limit, view).next
        if due.stalled:
            raise Stalled(f"{due.stalled}; or take `probe: true` out", due.reason)
        if due.attempt is None:
            return ()
        image = image_path(obj, "image", _spec(obj).image, view)
        comment = marked_comment(obj, view, run=job.identity, attempt=str(due.attempt), image=_tag(image), probe="yes")
        request = self._request(obj, replace(fact, job=job, folder=FOLDER), view, due.attempt, image)
        return (as_probe(request, fact.stage, job.identity, f"{_STAGE}/{FOLDER}").statement(comment),)

    def forecast(self, obj: DesiredObject, view: View) -> Forecast | None:
        fact, node = run_fact(obj, view), family_of(obj, "computePool", view)
        if (swept := _spec(obj).sweep) is None:
            return forecast(_spec(obj), fact.known, node) if fact.job.result is None else None
        left = [(_spec(one), part.known) for one, part in zip(_variants(obj), fact.runs, strict=True) if part.job.result is None]
        return forecast_of_sweep(left, len(fact.runs), swept.concurrency, node) if left else None

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        return self.create(obj, view)

    def _request(self, obj: DesiredObject, fact: RunFact, view: View, attempt: int, image: str) -> JobRequest:
        spec = _spec(obj)
        base = manifest_of(obj, "model", view.graph)
        output = f"{_STAGE}/{fact.folder}"
        run = {"id": fact.run, "job": str(obj.key).partition("/")[2], "attempt": attempt}
        config = {"version": 1, "run": run, **fact.config, "output": {"path": output, **fact.config["output"]}}
        env = {"SNOWCAT_CONFIG": configuration(config)}
        if spec.processes != "auto":
            env["SNOWCAT_PROCESSES"] = str(spec.processes)
        if fact.known.calibration is not None:
            env["SNOWCAT_CALIBRATION"] = json.dumps(fact.known.calibration, separators=(",", ":"))
        node, secret = family_of(obj, "computePool", view), obj.references.get("trackerSecret")
        return JobRequest(
            name=job_name(obj, fact.job, attempt),
            pool=name_of(obj, "computePool"),
            image=image,
            env={**env, **spec.env},
            mounts=(
                Mount("base", base_model.stage_of(base), base_model.folder_of(base), _BASE),
                Mount("output", fact.stage, fact.folder, output),
                *fact.mounts,
            ),
            resources=spec.resources,
            family=node,
            gpus=node.gpus if node is not None else 0,
            secrets=[base_model.secret_as(secret, "MLFLOW_TRACKING_TOKEN")] if secret is not None else [],
            replicas=spec.replicas,
            warehouse=warehouse_of(obj, view),
            access=names_of(obj, "externalAccess"),
        )

    def load(self, obj: DesiredObject, view: View) -> Load | None:
        spec, node = _spec(obj), family_of(obj, "computePool", view)
        gpus, stages = node.gpus if node is not None else 0, 2 if spec.data.file is None else 3
        return job_load(obj, view, spec.resources, stages=stages, family=node, gpus=gpus, replicas=spec.replicas, priority=spec.priority)

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        return drop_jobs(key, view)

    def inventory_reads(self) -> Iterable[Show]:
        return (Show("SERVICES", "ACCOUNT"),)

    def inventory(self, view: View) -> Iterable[Inventory]:
        return job_inventory(self.name, view)


def run_fact(obj: DesiredObject, view: View) -> RunFact:
    return cast(RunFact, view.fact(obj.key))


def family_of(obj: DesiredObject, field: str, view: View) -> Family | None:
    """What the nodes of the pool are; None for a pool of others or a family that is not known."""
    pool = view.graph.referred(obj, field)
    return family_shown(cast(ComputePoolSpec, pool.manifest.spec).instance_family, view.snapshot) if pool is not None else None


def _variants(obj: DesiredObject) -> list[DesiredObject]:
    """One object for each run of a sweep, as if it had a manifest of its own."""
    return [replace(obj, manifest=obj.manifest.model_copy(update={"spec": spec})) for _, spec in _spec(obj).variants()]


def _swept(obj: DesiredObject, runs: Sequence[RunFact], gatherer: Gatherer) -> RunFact:
    """The fact of a sweep: the best run's once all have ended, before that one without a result."""
    swept = _spec(obj).sweep
    rows, schema = gatherer.show(services_in(obj.key.name)), schema_of(obj.key.name)
    limit = _spec(obj).retry.limit
    ended = all(run.job.result is not None or next_step(attempts(rows, run.job.prefix, schema), run.job, limit).stalled for run in runs)
    finished = {run.run: run.metrics for run in runs if run.job.result is not None}
    winner = sweep.best(finished, swept) if swept is not None and ended else None
    if winner is not None:
        return replace(next(run for run in runs if run.run == winner), runs=tuple(runs), ended=True)
    identity = hashlib.sha256("\n".join(run.run for run in runs).encode()).hexdigest()[:8]
    job = JobFact(identity, f"{obj.key.name.name.text}_{identity}".upper())
    return RunFact(job, runs[0].stage, folder_of_run(obj, identity), {}, runs=tuple(runs), ended=ended)


def _runs(obj: DesiredObject, fact: RunFact, view: View) -> list[sweep.SweptRun]:
    """The runs of a sweep as this look shows them."""
    limit, values = _spec(obj).retry.limit, [values for values, _ in _spec(obj).variants()]
    return [
        sweep.SweptRun(chosen, run.job, jobs_of(obj, run.job, limit, view), run.metrics)
        for chosen, run in zip(values, fact.runs, strict=True)
    ]


def _refuse(obj: DesiredObject, fact: RunFact, view: View) -> None:
    """Start nothing that cannot fit.

    Raises:
        Stalled: it needs more memory than its nodes have.
        Waiting: the model has only just arrived, and its sizes are not read yet.
    """
    base = manifest_of(obj, "model", view.graph)
    there = getattr(view.facts.get(base.key), "result", None) is not None
    if fact.known.config is None and there and fact.job.result is None:
        raise Waiting(f"config.json of {base.key} is read before a node is started")
    node = family_of(obj, "computePool", view)
    refuse_what_cannot_fit(str(obj.location), _spec(obj), fact.known, node, families_shown(view.snapshot))


def _changes(
    obj: DesiredObject, base: DesiredObject, run: str, parts: Mapping[str, Any], rows: JobRows, gatherer: Gatherer
) -> tuple[FieldChange, ...]:
    """What makes this run another one than the newest before it. What this one is made of is remembered for the next."""
    named = {**parts["config"], "model": base_model.description_of(base), "dataset": rows.told}
    if "image" in parts:
        named["image"] = parts["image"]
    remember_parts(obj, run, named, gatherer)
    before = newest_other(obj, run, gatherer)
    return differing(before, named) if before is not None else ()


def _configuration(obj: DesiredObject, source: JobRows) -> dict[str, Any]:
    """The training configuration of a manifest, all but `run` and the output's path, as the trainer reads it."""
    spec = _spec(obj)
    data = spec.data
    given = {name: getattr(data, name) for name in ("columns", "shares", "seed", "max_rows", "too_long")}
    chosen = Data.model_validate({**source.source, **given})
    rows = {key: value for key, value in chosen.document().items() if key != "split"}
    config = {
        "base": {"path": _BASE},
        "data": rows,
        "prompt": spec.prompt.document(),
        "method": spec.method.document(),
        "deepspeed": spec.deepspeed.document(),
        "training": spec.training.document(),
        "checkpoint": spec.checkpoint.document(),
        "evaluation": spec.evaluation.document(),
        "output": {"merged": spec.output.merged, "adapter": spec.output.adapter},
    }
    if spec.predictions is not None:
        config["predictions"] = {"table": _in_schema(spec.predictions.table, obj).sql}
    if spec.tracker is not None:
        config["tracker"] = spec.tracker.document()
    return config


def _in_schema(table: str, obj: DesiredObject) -> QualifiedName:
    """A name as it stands in the manifest, in full: what is missing is that of the job's schema."""
    name = QualifiedName.parse(table)
    return QualifiedName((*schema_of(obj.key.name).parts[: 3 - len(name.parts)], *name.parts))


def _summary(fact: RunFact) -> str:
    scores = ", ".join(f"{name} {value:.2f}" for name, value in fact.metrics.items())
    problems = [str(problem) for problem in (fact.job.result or {}).get("problems") or ()]
    return "; ".join([f"run {fact.run} finished" + (f": {scores}" if scores else ""), *problems])


def _tag(image: str) -> str:
    return image.rpartition(":")[2]


def _spec(obj: DesiredObject) -> FineTuneJobSpec:
    return cast(FineTuneJobSpec, obj.manifest.spec)
