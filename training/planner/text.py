"""An estimate in words, for a plan on a terminal or in a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from training.planner.choice import Choice
from training.planner.memory import deepspeed_estimate, gib
from training.planner.needs import Estimate

_NAMES = {
    "context": "context",
    "network": "network buffers",
    "weights": "weights",
    "trained": "gradients and optimizer",
    "gather": "gathered",
    "activations": "activations",
    "head": "head",
}


def lines(choice: Choice) -> Iterator[str]:
    """One block: what was chosen, memory term by term, speed and price, and why."""
    found = choice.estimate
    setting, machine = found.setting, found.machine
    number = "bfloat16" if setting.width == 2 else "float32"
    yield f"{found.verdict.value} on {machine}: {setting.technique} of {_count(setting.shape.parameters)} parameters in {number}"
    where = "each GPU" if machine.has_gpu else "each process"
    yield f"{where}: {_terms(found)}"
    yield f"to score: {gib(found.scoring.needed)}, the weights {found.held}"
    host = f"{gib(found.host.needed)} of {gib(machine.host_memory)}"
    yield f"each node's memory: {host}; largest micro-batch that fits: {found.largest} tokens"
    yield f"{'measured' if found.measured else 'modelled'}: {speed_and_price(found)}"
    gpu, _ = deepspeed_estimate(setting, machine)
    yield f"to compare: DeepSpeed's own estimate is {gib(gpu)}, which knows neither frozen weights nor activations"
    yield from choice.reasons


def speed_and_price(found: Estimate) -> str:
    """`1,200 tokens/s, 2.4 h of training, 6.4 credits`."""
    parts = [f"{found.tokens_per_second:,.0f} tokens/s"]
    if found.hours is not None:
        parts.append(f"{duration(found.hours)} of training, loading and scoring apart")
        parts.append(f"{found.credits:.2g} credits" if found.credits is not None else "credits unknown: no rate is published")
    else:
        parts.append("hours unknown: the rows are not known yet")
    return ", ".join(parts)


def _terms(found: Estimate) -> str:
    shown = [f"{name} {gib(getattr(found.terms, term))}" for term, name in _NAMES.items() if getattr(found.terms, term) >= 5e7]
    shown.append(f"headroom {gib(found.headroom)}")
    total = gib(found.needed)
    limit = f" of {gib(found.limit)}" if found.machine.has_gpu else ""
    return f"{' + '.join(shown)} = {total}{limit}"


def duration(hours: float) -> str:
    """`40 s`, `24 min`, `3.1 h`."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h"


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.0f} million"
