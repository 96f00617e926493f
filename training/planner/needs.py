"""What one setting needs on one machine: memory by term, a verdict, speed, hours and credits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from training.planner.calibration import Calibration
from training.planner.machine import GIB, Machine
from training.planner.memory import (
    FORMULAS,
    HEADROOM,
    HEADROOM_MEASURED,
    Correction,
    Held,
    Host,
    Setting,
    Terms,
    deepspeed_estimate,
    held_on,
    on_host,
    on_rank,
    while_scoring,
)
from training.planner.speed import model_flops, tokens_per_second

_LONGEST = 1 << 17  # tokens of a micro-batch; larger ones gain nothing
_SHORTEST_BILL = 5 / 60  # hours: what a node costs at least each time it starts


class Verdict(StrEnum):
    FITS = "fits"
    TIGHT = "tight"  # only without the headroom that the formulas' error asks for
    NO = "does not fit"


@dataclass(frozen=True)
class Work:
    """How much there is to do. `tokens` None where the rows are not known."""

    tokens_per_step: float
    tokens: float | None = None


@dataclass(frozen=True)
class Estimate:
    """Bytes, tokens a second of all ranks together, hours and credits (None where the work or the rate is not known)."""

    setting: Setting
    machine: Machine
    terms: Terms  # while it trains
    scoring: Terms  # while it scores
    held: Held
    headroom: float
    host: Host
    verdict: Verdict
    largest: int  # the largest power of two of tokens in a micro-batch that fits, with as many layers checkpointed; 0: none
    tokens_per_second: float
    hours: float | None
    credits: float | None
    measured: bool

    @property
    def needed(self) -> float:
        """Bytes on one rank, headroom included."""
        return max(self.terms.needed, self.scoring.needed) + self.headroom

    @property
    def limit(self) -> float:
        """Bytes that one rank can have."""
        machine = self.machine
        return machine.gpu_memory if machine.has_gpu else machine.host_memory / machine.ranks

    def document(self) -> dict[str, Any]:
        """For scripts; memory in GiB, `modelled` while no probe has measured this hardware."""
        terms = {name: round(value / GIB, 2) for name, value in vars(self.terms).items()}
        host = {name: round(value / GIB, 2) for name, value in vars(self.host).items()}
        gpu, node = deepspeed_estimate(self.setting, self.machine)
        found: dict[str, Any] = {
            "verdict": self.verdict.value,
            "machine": str(self.machine),
            "method": self.setting.technique,
            "zero": self.setting.zero,
            "offload": self.setting.offload,
            "microBatchTokens": self.setting.tokens,
            "checkpointLayers": self.setting.checkpointed,
            "layers": self.setting.shape.layers,
            "largestMicroBatchTokens": self.largest,
            "dtype": "bfloat16" if self.setting.width == 2 else "float32",
            "parameters": self.setting.shape.parameters,
            "trainedParameters": self.setting.trained,
            "scoring": {"weights": self.held.value, "neededGib": round(self.scoring.needed / GIB, 2)},
            "memoryGib": {**terms, "headroom": round(self.headroom / GIB, 2), "needed": round(self.needed / GIB, 2)},
            "limitGib": round(self.limit / GIB, 2),
            "hostGib": {**host, "needed": round(self.host.needed / GIB, 2), "limit": round(self.machine.host_memory / GIB, 2)},
            "deepspeedEstimateGib": {"rank": round(gpu / GIB, 2), "host": round(node / GIB, 2)},
            "tokensPerSecond": round(self.tokens_per_second, 1),
            "modelFlopsPerToken": round(model_flops(self.setting)),
            "hours": round(self.hours, 3) if self.hours is not None else None,
            "credits": round(self.credits, 3) if self.credits is not None else None,
            "basis": "measured" if self.measured else "modelled",
        }
        return found


def estimate(setting: Setting, machine: Machine, work: Work, calibration: Calibration | None = None) -> Estimate:
    """All there is to say about a setting on a machine."""
    correction = calibration.correction if calibration is not None else FORMULAS
    terms = on_rank(setting, machine, correction)
    share = HEADROOM_MEASURED if correction.measured else HEADROOM
    scoring = while_scoring(setting, machine, correction)
    host = on_host(setting, machine, terms)
    speed = tokens_per_second(setting, machine, work.tokens_per_step, calibration.reached if calibration is not None else None)
    hours = work.tokens / speed / 3600 if work.tokens is not None else None
    billed = max(hours, _SHORTEST_BILL) * machine.nodes if hours is not None else None
    return Estimate(
        setting=setting,
        machine=machine,
        terms=terms,
        scoring=scoring,
        held=held_on(setting, machine),
        headroom=share * max(terms.needed, scoring.needed),
        host=host,
        verdict=_verdict(max(terms.needed, scoring.needed), host, share, machine),
        largest=largest_micro_batch(setting, machine, correction),
        tokens_per_second=speed,
        hours=hours,
        credits=billed * machine.credits if billed is not None and machine.credits is not None else None,
        measured=correction.measured,
    )


def verdict_of(setting: Setting, machine: Machine, correction: Correction = FORMULAS) -> Verdict:
    """Whether it fits, without the rest."""
    terms = on_rank(setting, machine, correction)
    share = HEADROOM_MEASURED if correction.measured else HEADROOM
    needed = max(terms.needed, while_scoring(setting, machine, correction).needed)
    return _verdict(needed, on_host(setting, machine, terms), share, machine)


def _verdict(needed: float, host: Host, headroom: float, machine: Machine) -> Verdict:
    parts = [(host.needed, machine.host_memory)]
    if machine.has_gpu:
        parts.append((needed, machine.gpu_memory))
    if any(needed > limit for needed, limit in parts):
        return Verdict.NO
    return Verdict.FITS if all(needed * (1 + headroom) <= limit for needed, limit in parts) else Verdict.TIGHT


def largest_micro_batch(setting: Setting, machine: Machine, correction: Correction = FORMULAS) -> int:
    """The largest power of two of tokens that fits with headroom; 0 when not even one does."""
    tokens = 1
    while tokens <= _LONGEST and verdict_of(replace(setting, tokens=tokens), machine, correction) is Verdict.FITS:
        tokens *= 2
    return tokens // 2
