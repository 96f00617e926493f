"""What `zero`, `offload`, `checkpointLayers` and `microBatchTokens` become when a manifest says `auto`, and why.

The order of stages is that of what they cost. Adapters: stage 1, because it moves only the adapters' gradients; stage 3 would fetch all
frozen weights twice for each micro-step, so it is for models that do not fit otherwise. All weights: stage 2, then 3, then 3 with the
optimizer in host memory, then with the weights there too: that slows every step down, so it is taken where nothing else fits. Adapters
get it only when the manifest says so, since a base in 4 bits is the better way. One rank has nobody to spread with: all weights are trained
without ZeRO, which would only copy them and their gradients. Within a stage as few layers as possible are checkpointed: for adapters the
second forward pass costs half as much time again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from training.config import DeepSpeed, Method, Technique, Training
from training.planner.calibration import Calibration
from training.planner.machine import Machine
from training.planner.memory import FORMULAS, Correction, Offload, Setting, gib
from training.planner.needs import Estimate, Verdict, Work, estimate, verdict_of
from training.planner.shape import Shape
from training.planner.speed import tokens_per_second

ASSUMED_LONGEST = 2048  # tokens, where neither maxLength nor the rows say it
ROWS_PER_STEP = 4  # what `tokensPerStep: auto` means; see training.data.batches
_FULL_SPEED_TOKENS = 16384
_LEAST_STAGE: dict[Offload, int] = {"none": 0, "optimizer": 1, "parameters": 3}  # of ZeRO, to move it into host memory
_ROUND = 64

Way = tuple[int, Offload]

# in the order of what they cost; one rank has nobody to spread with, so stage 3 is then for weights that lie in host memory
_FULL: tuple[Way, ...] = ((2, "none"), (3, "none"), (3, "optimizer"), (3, "parameters"))
_FULL_ALONE: tuple[Way, ...] = ((0, "none"), (2, "optimizer"), (3, "parameters"))
_ADAPTERS: tuple[Way, ...] = ((1, "none"), (3, "none"), (1, "optimizer"), (3, "optimizer"), (3, "parameters"))
_ADAPTERS_ALONE: tuple[Way, ...] = ((1, "none"), (1, "optimizer"), (3, "parameters"))
_NO_GPU: tuple[Way, ...] = ((1, "none"), (1, "optimizer"), (3, "parameters"))


@dataclass(frozen=True)
class Rows:
    """The rows to train on, in tokens."""

    count: int
    mean: float
    longest: int


@dataclass(frozen=True)
class Task:
    """What is to be trained, and how much of it."""

    shape: Shape
    method: Method
    deepspeed: DeepSpeed
    training: Training
    rows: Rows | None = None

    @property
    def technique(self) -> Technique:
        return self.method.technique

    @property
    def trained(self) -> int:
        adapters = self.method.adapter
        if adapters is None:
            return self.shape.parameters
        return self.shape.adapters(adapters.rank, adapters.targets, dora=adapters.dora)

    @property
    def longest(self) -> int:
        """Tokens of the longest row, which a micro-batch must hold."""
        limit = self.shape.context if self.training.max_length == "auto" else self.training.max_length
        if self.rows is not None:
            return max(1, min(limit, self.rows.longest))
        return min(limit, ASSUMED_LONGEST) if self.training.max_length == "auto" else limit

    @property
    def document(self) -> int:
        """Tokens of a row on average."""
        return max(1, min(self.longest, round(self.rows.mean))) if self.rows is not None else self.longest

    @property
    def work(self) -> Work:
        wanted = self.training.tokens_per_step
        step = float(ROWS_PER_STEP * self.document) if wanted == "auto" else float(wanted)
        if self.training.max_steps is not None:
            return Work(step, step * self.training.max_steps)
        if self.rows is None:
            return Work(step)
        return Work(step, (self.training.epochs or 1.0) * self.rows.count * self.document)

    def width(self, machine: Machine) -> int:
        """Bytes of a weight."""
        return 2 if self.training.dtype == "bfloat16" or (self.training.dtype == "auto" and machine.half) else 4


@dataclass(frozen=True)
class Choice:
    """What `auto` became. `checkpoint_layers`: how many of the model's layers are checkpointed."""

    zero: int
    offload: Offload
    micro_batch_tokens: int
    checkpoint_layers: int
    why: str  # this stage and this offload
    reasons: tuple[str, ...]  # that, and those of all else that was chosen
    estimate: Estimate

    @property
    def fits(self) -> bool:
        return self.estimate.verdict is not Verdict.NO


def choose(task: Task, machine: Machine, calibration: Calibration | None = None) -> Choice:
    """The first way that fits, else the one that comes nearest: then `fits` is false."""
    correction = calibration.correction if calibration is not None else FORMULAS
    ways = list(_ways(task, machine))
    for accepted in ((Verdict.FITS,), (Verdict.FITS, Verdict.TIGHT)):
        for way in ways:
            if (found := _within(task, machine, way, correction, accepted)) is not None:
                return _told(task, machine, found, ways, calibration)
    nearest = min((_smallest(task, machine, way) for way in ways), key=lambda setting: _excess(setting, machine, calibration))
    return _told(task, machine, nearest, ways, calibration)


def _ways(task: Task, machine: Machine) -> Iterator[Way]:
    """Stages with offload in the order of what they cost, as far as the manifest allows."""
    zero, offload = task.deepspeed.zero, task.deepspeed.offload
    full = task.technique == "full"
    known: tuple[Way, ...]
    if zero != "auto":
        known = tuple((zero, kept) for kept, least in _LEAST_STAGE.items() if zero >= least)
    elif machine.world == 1:
        known = _FULL_ALONE if full else _ADAPTERS_ALONE
    else:
        known = (_FULL if full else _ADAPTERS) if machine.has_gpu else _NO_GPU
    if offload == "auto" and full and machine.has_gpu:
        yield from known
    else:
        wanted = "none" if offload == "auto" else offload
        yield from (way for way in known if way[1] == wanted)


def _within(task: Task, machine: Machine, way: Way, correction: Correction, accepted: tuple[Verdict, ...]) -> Setting | None:
    """The fastest accepted setting of one stage."""
    best: tuple[float, Setting] | None = None
    step = task.work.tokens_per_step
    for tokens in _sizes(task, machine):
        options = [_setting(task, machine, way, tokens, layers) for layers in _checkpointed(task, machine)]
        if verdict_of(options[0], machine, correction) not in accepted:
            # more checkpointed layers never need more, but for the first one: the least number that fits is found by halving
            place = bisect_left(options, True, lo=1, key=lambda setting: verdict_of(setting, machine, correction) in accepted)
            options = options[place:]
        if options:  # more checkpointed layers of the same size are only slower
            speed = tokens_per_second(options[0], machine, step)
            if best is None or speed > best[0]:
                best = (speed, options[0])
    return best[1] if best is not None else None


def _sizes(task: Task, machine: Machine) -> Iterator[int]:
    """Tokens of a micro-batch: one row on a CPU, where more at once are no faster; else up to what a step or full speed asks for."""
    given = task.training.micro_batch_tokens
    if given != "auto":
        yield max(given, 1)
        return
    least = -(-task.longest // _ROUND) * _ROUND
    yield least
    if not machine.has_gpu:
        return
    most = min(_FULL_SPEED_TOKENS, task.work.tokens_per_step / machine.world)
    size = 512
    while size <= most:
        if size > least:
            yield size
        size *= 2


def _checkpointed(task: Task, machine: Machine) -> Iterable[int]:
    """How many layers may be; on a CPU none by itself, since time is what is short there."""
    given = task.training.checkpoint_layers
    if given == "auto":
        return range(task.shape.layers + 1) if machine.has_gpu else (0,)
    return (0 if given == "none" else task.shape.layers if given == "all" else min(given, task.shape.layers),)


def _setting(task: Task, machine: Machine, way: Way, tokens: int, layers: int) -> Setting:
    return Setting(
        shape=task.shape,
        technique=task.technique,
        trained=task.trained,
        zero=way[0],
        offload=way[1],
        tokens=tokens,
        checkpointed=layers,
        document=min(tokens, task.document),
        longest=task.longest,
        width=task.width(machine),
        scores=task.training.attention == "eager" or (task.training.attention == "auto" and not machine.has_gpu),
        fused=way[0] < 3 and _compiled(task, machine),  # stage 3 runs layers as they are
    )


def _compiled(task: Task, machine: Machine) -> bool:
    """Whether layers are: those of packed rows, with an attention that takes documents of any lengths at once."""
    training, varlen = task.training, task.width(machine) == 2 and not task.shape.dropout  # what `attention: auto` means then
    at_once = training.attention in ("varlen", "flex") or (training.attention == "auto" and varlen)
    return machine.has_gpu and training.compile is not False and training.packing is not False and at_once


def _smallest(task: Task, machine: Machine, way: Way) -> Setting:
    return _setting(task, machine, way, next(iter(_sizes(task, machine))), list(_checkpointed(task, machine))[-1])


def _excess(setting: Setting, machine: Machine, calibration: Calibration | None) -> float:
    """By how much it is too large, as a factor."""
    found = estimate(setting, machine, Work(1.0), calibration)
    return max(found.terms.needed / found.limit, found.host.needed / machine.host_memory)


# ---- in words ------------------------------------------------------------------------------------------------------------------------


def _told(task: Task, machine: Machine, setting: Setting, ways: list[Way], calibration: Calibration | None) -> Choice:
    found = estimate(setting, machine, task.work, calibration)
    why = _why(task, machine, setting, ways, found, calibration)
    reasons = [f"ZeRO {in_words(setting.zero, setting.offload)}: {why}"]
    if task.training.checkpoint_layers == "auto":
        reasons.append(_checkpoint_reason(setting, machine))
    if task.training.micro_batch_tokens == "auto":
        reasons.append(f"micro-batches of {setting.tokens} tokens: {_size_reason(task, machine, setting)}")
    return Choice(setting.zero, setting.offload, setting.tokens, setting.checkpointed, why, tuple(reasons), found)


def in_words(zero: int, offload: Offload) -> str:
    """`3 with the optimizer in host memory`."""
    moved = {
        "none": "",
        "optimizer": " with the optimizer in host memory",
        "parameters": " with the weights and the optimizer in host memory",
    }
    return f"{zero}{moved[offload]}"


def _why(task: Task, machine: Machine, setting: Setting, ways: list[Way], found: Estimate, calibration: Calibration | None) -> str:
    if found.verdict is Verdict.NO:
        return f"comes nearest, and still needs {_need(found)}"
    before = ways[: ways.index((setting.zero, setting.offload))]
    if before:
        cheaper = estimate(_smallest(task, machine, before[-1]), machine, task.work, calibration)
        why = f"stage {in_words(*before[-1])} would need {_need(cheaper)}"
        return why if setting.offload == "none" else f"{why}; {_slower(found, task.work, calibration)}"
    if task.deepspeed.zero != "auto" or setting.offload != "none":
        return "as the manifest says"
    if task.technique != "full":
        return "only the adapters' gradients travel; gathering frozen weights would cost more than it saves"
    if machine.world == 1:
        return "one rank has nobody to spread with, and ZeRO's copies of weights and gradients cost time"
    if not machine.has_gpu:
        return "the optimizer's state is spread; the ranks share their node's memory, so there is no more to gain"
    return "all weights are trained: gradients and the optimizer's state are worth spreading, the weights fit whole"


def _slower(found: Estimate, work: Work, calibration: Calibration | None) -> str:
    reached = calibration.reached if calibration is not None else None
    kept = tokens_per_second(replace(found.setting, offload="none"), found.machine, work.tokens_per_step, reached)
    return f"the way to the host and back costs {1 - found.tokens_per_second / kept:.0%} of the speed"


def _need(found: Estimate) -> str:
    """Of the GPU, or of the node where that is what is too small."""
    machine = found.machine
    if machine.has_gpu and found.terms.needed > machine.gpu_memory * 0.9:
        return f"{gib(found.needed)} on each GPU, which has {gib(machine.gpu_memory)}"
    return f"{gib(found.host.needed)} of a node's memory, which has {gib(machine.host_memory)}"


def _checkpoint_reason(setting: Setting, machine: Machine) -> str:
    if not machine.has_gpu:
        return "no layer is checkpointed: on a CPU time is short before memory is"
    if setting.checkpointed == 0:
        return "no layer is checkpointed: the GPU holds all activations"
    return f"{setting.checkpointed} of {setting.shape.layers} layers are checkpointed: as many as the GPU makes necessary"


def _size_reason(task: Task, machine: Machine, setting: Setting) -> str:
    if setting.tokens > next(iter(_sizes(task, machine))):
        return "the fastest of the sizes that fit"
    return f"the longest row has {task.longest}" + ("" if machine.has_gpu else ", and more rows at once are no faster on a CPU")
