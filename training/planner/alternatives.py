"""What would fit, when what the manifest asks for does not: each way is computed with the same formulas before it is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from training.config import DeepSpeed, Lora, Method
from training.planner.calibration import Calibration
from training.planner.choice import Choice, Task, choose
from training.planner.machine import Machine
from training.planner.memory import gib
from training.planner.text import duration

_MOST_NODES = 16
_SHORTEST = 128  # tokens; shorter rows than this are no use to anybody
_NAMED = 3


@dataclass(frozen=True)
class WayOut:
    """A change of the manifest, and what would be chosen then."""

    change: str
    choice: Choice

    def __str__(self) -> str:
        found = self.choice.estimate
        machine = found.machine
        limit = (
            f"{gib(found.needed)} of {gib(found.limit)}" if machine.has_gpu else f"{gib(found.host.needed)} of {gib(machine.host_memory)}"
        )
        hours = f", about {duration(found.hours)}" if found.hours is not None else ""
        return f"{self.change} ({limit}{hours})"


def ways_out(task: Task, machine: Machine, families: Sequence[Machine], calibration: Calibration | None = None) -> list[WayOut]:
    """Up to three changes that make it fit, the smallest change first.

    `families` are the other machines that could be had, of one node each.
    """
    found: list[WayOut] = []
    for change, other, where in _candidates(task, machine, families):
        choice = choose(other, where, calibration if where.gpu == machine.gpu else None)
        if choice.fits:
            found.append(WayOut(change, choice))
        if len(found) == _NAMED:
            break
    return found


def _candidates(task: Task, machine: Machine, families: Sequence[Machine]) -> Iterator[tuple[str, Task, Machine]]:
    yield from _looser(task, machine)
    yield from _lighter(task, machine)
    if task.technique != "full" and machine.has_gpu and task.deepspeed.offload != "parameters":
        yield "deepspeed: {zero: 3, offload: parameters}", replace(task, deepspeed=DeepSpeed(zero=3, offload="parameters")), machine
    if (better := _larger(task, machine, families)) is not None:
        yield f"instanceFamily: {better.name} ({_words(better)})", task, better
    if (nodes := _more_nodes(task, machine)) is not None:
        yield f"replicas: {nodes}", task, machine.times(nodes)
    if (length := _shorter(task, machine)) is not None:
        yield f"training.maxLength: {length}", replace(task, training=task.training.model_copy(update={"max_length": length})), machine
    for other in _lighter(task, machine):  # both together
        if better is not None:
            yield f"{other[0]} and instanceFamily: {better.name}", other[1], better


def _looser(task: Task, machine: Machine) -> Iterator[tuple[str, Task, Machine]]:
    """Let go of what the manifest pins."""
    training, deepspeed = task.training, task.deepspeed
    if training.checkpoint_layers not in ("auto", "all"):
        yield "training.checkpointLayers: auto", replace(task, training=training.model_copy(update={"checkpoint_layers": "auto"})), machine
    if training.micro_batch_tokens != "auto":
        yield "training.microBatchTokens: auto", replace(task, training=training.model_copy(update={"micro_batch_tokens": "auto"})), machine
    if not machine.has_gpu:
        if training.checkpoint_layers != "all":
            yield (
                "training.checkpointLayers: all",
                replace(task, training=training.model_copy(update={"checkpoint_layers": "all"})),
                machine,
            )
        if machine.ranks > 1:
            yield "processes: 1", task, replace(machine, ranks=1)
        return
    if deepspeed.zero != "auto":
        yield "deepspeed.zero: auto", replace(task, deepspeed=DeepSpeed(offload=deepspeed.offload)), machine
    if deepspeed.offload != "auto":
        yield "deepspeed.offload: auto", replace(task, deepspeed=DeepSpeed(zero=deepspeed.zero)), machine
    if deepspeed.zero != "auto" and deepspeed.offload != "auto":
        yield "deepspeed: {zero: auto, offload: auto}", replace(task, deepspeed=DeepSpeed()), machine


def _lighter(task: Task, machine: Machine) -> Iterator[tuple[str, Task, Machine]]:
    """A method that needs less."""
    adapter = task.method.adapter or Lora()
    if task.technique == "full":
        yield "method: lora", replace(task, method=Method(lora=adapter)), machine
    if task.technique != "qlora" and machine.has_gpu:
        yield "method: qlora", replace(task, method=Method(qlora=adapter)), machine


def _larger(task: Task, machine: Machine, families: Iterable[Machine]) -> Machine | None:
    """The cheapest family that holds it; those without a published rate come last, by size."""
    fitting = [family.times(machine.nodes) for family in families if choose(task, family.times(machine.nodes)).fits]
    size = {family.name: (family.gpu_memory or family.host_memory) * family.ranks for family in fitting}
    return min(fitting, key=lambda family: (family.credits is None, family.credits or 0.0, family.has_gpu, size[family.name]), default=None)


def _more_nodes(task: Task, machine: Machine) -> int | None:
    nodes = 2 * machine.nodes
    while nodes <= _MOST_NODES and not choose(task, machine.times(nodes)).fits:
        nodes *= 2
    return nodes if nodes <= _MOST_NODES else None


def _shorter(task: Task, machine: Machine) -> int | None:
    """The longest power of two of tokens that fits, of rows that are longer now."""
    length = 1 << (max(task.longest - 1, 1).bit_length() - 1)
    while length >= _SHORTEST:
        if choose(replace(task, training=task.training.model_copy(update={"max_length": length})), machine).fits:
            return length
        length //= 2
    return None


def _words(machine: Machine) -> str:
    if machine.has_gpu:
        return f"{machine.ranks} × {gib(machine.gpu_memory)} of GPU memory"
    return gib(machine.host_memory)
