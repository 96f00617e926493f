"""What a fine-tune will need, before a node is started for it: the planner of `training`, asked with what manifests and account say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.api.fine_tune_job import FineTuneJobSpec
from controller.kinds.base import Forecast, Stalled
from controller.kinds.instance_families import Family
from controller.kinds.sizes import of_resources
from training.planner import Calibration, Choice, Machine, Rows, Shape, Task, UnknownShapeError, choose, gib, lines, ways_out

REASON = "DoesNotFit"
_GIB = 1 << 30


@dataclass(frozen=True)
class Known:
    """What was gathered for a forecast. `config` is the model's config.json, None while it is not known; `calibration` a probe's result."""

    config: Mapping[str, Any] | None = None
    rows: Rows | None = None
    calibration: Mapping[str, Any] | None = None


def machine_of(node: Family, spec: FineTuneJobSpec) -> Machine:
    """The job's nodes: as many GPUs and as much memory as its containers get."""
    asked = spec.resources.model_dump(mode="json", by_alias=True, exclude_none=True) if spec.resources is not None else {}
    limits = asked.get("limits") or {}
    memory = of_resources({"requests": {"memory": limits["memory"]}}).memory / _GIB if "memory" in limits else node.memory_gib
    gpus = int((asked.get("requests") or {}).get("nvidia.com/gpu") or node.gpus)
    made = machine(node, min(memory, node.memory_gib), gpus)
    ranks = made.ranks if spec.processes == "auto" else spec.processes
    return Machine(**{**vars(made), "nodes": spec.replicas, "ranks": ranks})


def machine(node: Family, memory_gib: float | None = None, gpus: int | None = None) -> Machine:
    """One node of a family."""
    memory = node.memory_gib if memory_gib is None else memory_gib
    if not node.gpus:
        return Machine.with_cores(node.name, node.vcpu, memory, credits=node.credits)
    count = min(gpus or node.gpus, node.gpus)
    return Machine.with_gpus(node.name, node.gpu, node.gpu_memory_gib, count, memory, node.vcpu, credits=node.credits)


def task_of(spec: FineTuneJobSpec, known: Known) -> Task | str:
    """What is to be trained, or why the planner cannot say."""
    if known.config is None:
        return "unknown: config.json of the model can be read once it is on its stage"
    try:
        return Task(Shape.of(known.config), spec.method, spec.deepspeed, spec.training, known.rows)
    except UnknownShapeError as error:
        return f"unknown: {error}"


def chosen(spec: FineTuneJobSpec, known: Known, node: Family | None) -> Choice | str:
    """What the planner makes of a job, or why it cannot say."""
    if node is None:
        return "unknown: the family of the pool's nodes is not known"
    task = task_of(spec, known)
    return task if isinstance(task, str) else choose(task, machine_of(node, spec), _calibration(known))


def forecast(spec: FineTuneJobSpec, known: Known, node: Family | None) -> Forecast:
    """The estimate of a job as one block and as a document."""
    found = chosen(spec, known, node)
    if isinstance(found, str):
        return Forecast((found,), {"verdict": "unknown", "reason": found.removeprefix("unknown: ")})
    return Forecast(tuple(lines(found)), {**found.estimate.document(), "reasons": list(found.reasons)})


def refuse_what_cannot_fit(where: str, spec: FineTuneJobSpec, known: Known, node: Family | None, families: list[Family]) -> None:
    """Before a node is started.

    Raises:
        Stalled: it needs more memory than there is; the message has the ways out. Or it moves memory away from GPUs that it has not.
    """
    if node is not None and not node.gpus and (moved := spec.deepspeed.offload) not in ("auto", "none"):
        raise Stalled(
            f"{where}: deepspeed.offload: {moved} moves memory from GPUs to the node, and {node.name} has none; leave it out", REASON
        )
    found = chosen(spec, known, node)
    if isinstance(found, str) or found.fits or node is None:
        return
    task = task_of(spec, known)
    assert isinstance(task, Task)
    others = [machine(family) for family in families if family.name != node.name and (family.gpus or not node.gpus)]
    ways = ways_out(task, machine_of(node, spec), others, _calibration(known))
    estimate = found.estimate
    told = (
        f"{gib(estimate.needed)} on each GPU, which has {gib(estimate.limit)}"
        if estimate.machine.has_gpu and estimate.needed > estimate.limit
        else f"{gib(estimate.host.needed)} of a node's memory, which has {gib(estimate.machine.host_memory)}"
    )
    listed = "; ".join(f"({number}) {way}" for number, way in enumerate(ways, 1))
    out = f"what would fit: {listed}" if ways else "no other setting or family that is known would hold it; take a smaller model"
    raise Stalled(f"{where}: does not fit on {estimate.machine}: needs {told}; {out}", REASON)


def _calibration(known: Known) -> Calibration | None:
    return Calibration.read(known.calibration) if known.calibration is not None else None


def forecast_of_sweep(left: Sequence[tuple[FineTuneJobSpec, Known]], runs: int, concurrency: int, node: Family | None) -> Forecast:
    """The runs that are left to do together: the one that needs most as a block, hours and credits of all."""
    found = [chosen(spec, known, node) for spec, known in left]
    choices = [choice for choice in found if not isinstance(choice, str)]
    head = f"sweep: {len(left)} of {runs} runs are left, {min(concurrency, len(left))} at once"
    if len(choices) < len(found):
        why = next(choice for choice in found if isinstance(choice, str))
        return Forecast((head, why), {"verdict": "unknown", "reason": why.removeprefix("unknown: "), "runs": len(left)})
    largest = max(choices, key=lambda choice: choice.estimate.needed / choice.estimate.limit)
    hours = [choice.estimate.hours for choice in choices if choice.estimate.hours is not None]
    credits = [choice.estimate.credits for choice in choices if choice.estimate.credits is not None]
    total = {
        "hours": round(sum(hours) / min(concurrency, len(left)), 3) if len(hours) == len(choices) else None,
        "credits": round(sum(credits), 3) if len(credits) == len(choices) else None,
    }
    words = [f"about {total['hours']} h"] if total["hours"] is not None else []
    words += [f"{total['credits']} credits in all"] if total["credits"] is not None else []
    document = {**largest.estimate.document(), "reasons": list(largest.reasons), "runs": len(left), **total}
    return Forecast((", ".join([head, *words]), "the run that needs most:", *lines(largest)), document)
