"""Bytes on one GPU and on one node, term by term, for a way of training.

The formulas are arithmetic on what each technique keeps: DeepSpeed's ZeRO (docs, memory.rst) for trained weights, and what autograd saves
for the backward pass for activations. What cannot be derived, the context of CUDA, buffers and fragmentation, is a constant that a
measurement replaces (`calibration.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from training.config import Technique
from training.planner.machine import GIB, Machine
from training.planner.shape import Shape

Offload = Literal["none", "optimizer", "parameters"]

CONTEXT = 0.9e9  # CUDA and its kernels
NETWORK = 1.0e9  # NCCL's buffers, and what fragments beside them
PROCESS = 0.5e9  # Python with torch, transformers and DeepSpeed, in host memory
LAUNCHER = 0.5e9  # what starts the ranks and reads the rows
OFFLOAD_BUFFERS = 1.0e9
PREFETCH = 5e7 * 2  # ZeRO-3's bucket, in bfloat16
BUCKET = 200_000_000  # gradients that ZeRO adds up over the ranks at once; room for them is taken on a GPU
FLAT = 5e8  # gradients that are added up at once without ZeRO
NF4 = 0.53  # bytes a weight, with the scales of its blocks packed too
LIVE = 1.6  # of the layer that is computed again, in its own activations
HEAD_CHUNK = 1024  # positions whose logits exist at once
FILE = 4 << 30  # of a model that is written from spread weights; see training.model.spread
HEADROOM, HEADROOM_MEASURED = 0.10, 0.05


@dataclass(frozen=True)
class Setting:
    """One way to train. `tokens` are those of a micro-batch on one rank, `document` the length of what attends to itself within it."""

    shape: Shape
    technique: Technique
    trained: int  # numbers that are trained
    zero: int
    offload: Offload
    tokens: int
    checkpointed: int  # how many layers keep only their input, and are computed again
    document: int
    width: int = 2  # bytes of a weight: 2 for bfloat16, 4 for float32
    scores: bool = False  # attention that stores its scores: what a CPU is fastest with
    fused: bool = False  # norms, rotary positions and the gate computed in place of being stored
    longest: int = 0  # tokens of the longest row, which is answered too; 0: those of `document`


@dataclass(frozen=True)
class Correction:
    """What a measurement found beside the formulas: more or fewer bytes at once, and a factor on activations."""

    context: float = 0.0
    activations: float = 1.0
    measured: bool = False


FORMULAS = Correction()
"""Nothing was measured."""


@dataclass(frozen=True)
class Terms:
    """Bytes on one rank: on its GPU, or of the host where there is none."""

    context: float
    network: float
    weights: float
    trained: float
    gather: float
    activations: float
    head: float

    @property
    def needed(self) -> float:
        return self.context + self.network + self.weights + self.trained + self.gather + self.activations + self.head


class Held(StrEnum):
    """What of a model's weights a rank holds while it scores it."""

    WHOLE = "whole"
    FOUR_BITS = "in four bits"
    SPREAD = "spread over the ranks"


@dataclass(frozen=True)
class Host:
    """Bytes of one node's memory."""

    processes: float
    loading: float  # every rank reads the whole model before it goes to the GPU; under ZeRO-3 only the first one reads it
    offloaded: float
    saving: float  # the trained weights, while the engine that trained them still stands
    scoring: float  # the models on their way to the GPUs, the trained weights beside them; by then the engine has gone

    @property
    def needed(self) -> float:
        return self.processes + max(max(self.loading, self.saving) + self.offloaded, self.scoring)


def on_rank(setting: Setting, machine: Machine, correction: Correction = FORMULAS) -> Terms:
    """Bytes that one rank needs while it trains."""
    gpu = machine.has_gpu
    return Terms(
        context=max(0.0, (CONTEXT if gpu else PROCESS) + correction.context),
        network=(NETWORK if machine.world > 1 else 0.0) + _bucket(setting) if gpu else 0.0,
        weights=_weights(setting, machine.world),
        trained=_trained(setting, machine.world),
        gather=_gather(setting),
        activations=_activations(setting) * correction.activations,
        head=_head(setting),
    )


def _weights(setting: Setting, world: int) -> float:
    """Frozen ones; those of a full fine-tune are counted as trained."""
    shape = setting.shape
    if setting.technique == "full":
        return 0.0
    held = float(setting.width * shape.parameters)
    if setting.technique == "qlora":
        held = NF4 * shape.linear + setting.width * (shape.parameters - shape.linear)
    if setting.zero < 3:
        return held
    return 0.0 if setting.offload == "parameters" else held / world


# bytes of a trained number by ZeRO stage: (on each rank, shared by all of them)
_ADAPTERS = {0: (16.0, 0.0), 1: (4.0, 12.0), 2: (4.0, 12.0), 3: (4.0, 12.0)}  # shared: Adam's two moments and the master copy
# gradients are summed in bfloat16; in a step they stand beside their float32 copies
_ALL_HALF = {0: (20.0, 0.0), 1: (4.0, 16.0), 2: (2.0, 18.0), 3: (0.0, 18.0)}
# in float32 DeepSpeed keeps a second copy of weights and gradients all the same, and a bucket: 28 bytes, as measured with one rank
_ALL_SINGLE = {0: (16.0, 0.0), 1: (8.0, 20.0), 2: (4.0, 24.0), 3: (0.0, 28.0)}


def _trained(setting: Setting, world: int) -> float:
    """Weights, gradients and the optimizer's state."""
    count, zero, width = float(setting.trained), setting.zero, float(setting.width)
    full, offload, more = setting.technique == "full", setting.offload, 0.0
    kept, shared = (_ADAPTERS if not full else _ALL_HALF if width == 2 else _ALL_SINGLE)[zero]
    if not full:
        shared = shared if offload == "none" else 0.0
    elif offload != "none":
        # with the optimizer in host memory gradients stay whole until the step at stage 1
        kept, shared = (0.0, 0.0) if offload == "parameters" else {1: (2 * width, 0.0), 2: (width, 0.0), 3: (0.0, width)}[zero]
        more = OFFLOAD_BUFFERS
    elif zero == 0 and world > 1:
        more = min(count, FLAT) * width  # several ranks add gradients up in a bucket
    return kept * count + shared * count / world + more


def _gather(setting: Setting) -> float:
    """What stands whole for a moment: two layers and the largest matrix under ZeRO-3 (`training.engine`), one unpacked for QLoRA."""
    shape = setting.shape
    largest = max(wide * high for wide, high in shape.projections.values())
    unpacked = float(setting.width * largest) if setting.technique == "qlora" else 0.0
    if setting.zero < 3:
        return unpacked
    block = shape.block * (NF4 if setting.technique == "qlora" else setting.width)
    return unpacked + 2 * block + setting.width * shape.largest + PREFETCH


def _bucket(setting: Setting) -> float:
    """Room for the gradients on their way. On a CPU only what is used of it is taken: counted with them, as with offload in its buffers."""
    return float(setting.width * min(setting.trained, BUCKET)) if setting.zero and setting.offload == "none" else 0.0


def _head(setting: Setting) -> float:
    """Logits of a chunk in float32 and what they were made from; where the head is trained, its gradient in float32 and a part of it."""
    logits = 8.0 * min(setting.tokens, HEAD_CHUNK) * setting.shape.vocab
    return logits + ((4.0 + setting.width) * setting.shape.embedding if setting.technique == "full" else 0.0)


def layer_bytes(setting: Setting) -> float:
    """What one layer keeps of one token for the backward pass."""
    shape = setting.shape
    keys = shape.kv_heads * shape.head_dim
    if setting.fused:
        halves = 2.0 * (7 * shape.hidden + 2 * keys) + 6.0 * shape.ffn
    else:
        halves = 2.0 * (8 * shape.hidden + 4 * keys) + 8.0 * shape.hidden + 8.0 * shape.ffn
    # the softmax is kept in float32, and once more in the weights' format where that is another
    scores = shape.heads * setting.document * (4.0 if setting.width == 4 else 6.0) if setting.scores else 0.0
    return halves * setting.width / 2 + scores


def _activations(setting: Setting) -> float:
    shape, each = setting.shape, layer_bytes(setting)
    kept = setting.checkpointed * setting.width * shape.hidden
    open_layers = (shape.layers - setting.checkpointed) * each
    live = each * LIVE if setting.checkpointed else 0.0
    return setting.tokens * (kept + open_layers + live)


def how_held(weights: float, technique: Technique, zero: int, *, gpu: float | None, host: float) -> Held:
    """How a rank holds a model while it scores it: whole if that (`weights` bytes) leaves a fifth of its memory for answers.

    `gpu`: free on its GPU, None where there is none. `host`: its share of the node's memory. The weights pass through that, and those of
    a full fine-tune wait there for the tuned model to be put together.
    """
    if weights * (2 if technique == "full" else 1) < 0.8 * host and (gpu is None or weights < 0.8 * gpu):
        return Held.WHOLE
    if technique == "qlora":
        return Held.FOUR_BITS
    return Held.SPREAD if zero == 3 else Held.WHOLE


def held_on(setting: Setting, machine: Machine) -> Held:
    """What `how_held` will say on such a machine."""
    gpu = machine.gpu_memory - CONTEXT if machine.has_gpu else None
    share = (machine.host_memory - LAUNCHER) / machine.ranks - PROCESS
    return how_held(_whole(setting), setting.technique, setting.zero, gpu=gpu, host=share)


def while_scoring(setting: Setting, machine: Machine, correction: Correction = FORMULAS) -> Terms:
    """Bytes that one rank needs to answer one row at a time, the longest; more at once are taken as far as there is room."""
    shape, held, tokens = setting.shape, held_on(setting, machine), setting.longest or setting.document
    frozen = replace(setting, technique="qlora" if held is Held.FOUR_BITS else "lora", zero=3 if held is Held.SPREAD else 0)
    keys_and_values = 2.0 * shape.kv_heads * shape.head_dim * shape.layers * setting.width
    return replace(
        on_rank(frozen, machine, correction),
        trained=0.0,
        activations=tokens * (keys_and_values + layer_bytes(replace(setting, document=tokens))),
        head=8.0 * min(tokens, HEAD_CHUNK) * shape.vocab,
    )


def on_host(setting: Setting, machine: Machine, terms: Terms) -> Host:
    """Bytes of one node. Without a GPU the ranks' own needs are host memory too."""
    whole, ranks = _whole(setting), machine.ranks
    spread = held_on(setting, machine) is Held.SPREAD
    kept = min(whole, FILE) / ranks if spread else float(setting.width * setting.trained)
    if not machine.has_gpu:
        more = max(0.0, kept - terms.activations - terms.head)
        scoring = max(0.0, while_scoring(setting, machine).needed + kept - terms.needed)
        return Host(LAUNCHER + ranks * terms.needed, 0.0, 0.0, ranks * more, ranks * scoring)
    offloaded = 0.0
    if setting.offload == "optimizer":
        offloaded = (16.0 if setting.technique == "full" else 12.0) * setting.trained / machine.nodes
    elif setting.offload == "parameters":
        frozen = 0.0 if setting.technique == "full" else _weights_whole(setting)
        offloaded = (18.0 * setting.trained + frozen) / machine.nodes
    return Host(
        processes=LAUNCHER + ranks * (PROCESS + 1.7e9),  # CUDA's libraries and pinned buffers
        loading=whole if setting.zero == 3 and setting.technique != "qlora" else ranks * whole,
        offloaded=offloaded,
        saving=ranks * kept,
        scoring=(whole if spread else ranks * whole) + ranks * kept,
    )


def _whole(setting: Setting) -> float:
    return float(setting.width * setting.shape.parameters)


def _weights_whole(setting: Setting) -> float:
    return _weights(replace(setting, zero=0, offload="none"), 1)


def deepspeed_estimate(setting: Setting, machine: Machine) -> tuple[float, float]:
    """DeepSpeed's own figures (GPU, host) for the same: `estimate_zero2/3_model_states_mem_needs`, for comparison only.

    It counts all weights as trained, and neither activations nor logits nor buffers. Stages 0 and 1 have none: theirs is stage 2's.
    """
    total, world = float(setting.shape.parameters), machine.world
    largest = 4.0 * setting.shape.largest
    if setting.zero < 3:
        if setting.offload == "optimizer":
            return 2 * total, max(4 * world, 16) * total * 1.5
        return 2 * total + 18 * total / world, 4 * total * machine.ranks * 1.5
    if setting.offload == "parameters":
        return largest, 18 * total / machine.nodes * 1.5
    if setting.offload == "optimizer":
        return largest + 2 * total / world, 16 * total / machine.nodes * 1.5
    return largest + 18 * total / world, setting.shape.largest * 4 * machine.ranks * 1.5


def gib(count: float) -> str:
    """`12.6 GiB`."""
    return f"{count / GIB:.1f} GiB" if count < 100 * GIB else f"{count / GIB:.0f} GiB"
