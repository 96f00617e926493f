"""Checks and ceilings on this device, in one process: what it could reach, and that the fast ways compute what the plain ones do.

Prints a JSON object after `RESULT `. A check that cannot run here stands in it with the reason.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # where a GPU is lent, nothing is installed

import torch
from fine_tuning_workload import Clock, Rows, Workload
from torch.nn import functional

from training.data.batches import learning_rate
from training.data.packing import Documents, micro_batch
from training.errors import BadInputError
from training.loop import summed_loss
from training.model import attention
from training.model.forward import install
from training.model.head import head_loss

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
MOST_DIFFERENT = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def main(workload: Workload) -> dict[str, Any]:
    """All checks."""
    checks: dict[str, Callable[[], Any]] = {
        "ceilings": ceilings,
        "attention": lambda: attention_speed(workload),
        "gradients": gradients,
        "head": lambda: head(workload),
        "parity": lambda: parity(workload),
    }
    results: dict[str, Any] = {}
    for name, check in checks.items():
        started = time.perf_counter()
        try:
            results[name] = check()
        except Exception as error:  # noqa: BLE001 - what does not run here is part of the result
            results[name] = {"skipped": f"{type(error).__name__}: {error}"[:300]}
        print(f"  {name}: {time.perf_counter() - started:.0f} s  {json.dumps(results[name])[:400]}", file=sys.stderr)
        if ON_GPU:
            torch.cuda.empty_cache()
    return results


def seconds_of(work: Callable[[], Any], repeats: int) -> float:
    """The median of some repeats, after one that is not counted."""
    work()
    clock = Clock()
    clock.mark()
    for _ in range(repeats):
        work()
        clock.mark()
    return sorted(clock.seconds())[repeats // 2]


def ceilings() -> dict[str, float]:
    """What a matrix product and a copy reach here."""
    size, dtype = (8192, torch.bfloat16) if ON_GPU else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=DEVICE, dtype=dtype) for _ in range(2))
    copied = torch.empty((1 << 28) if ON_GPU else (1 << 24), device=DEVICE, dtype=torch.uint8)
    return {
        "matmulFlops": 2 * size**3 / seconds_of(lambda: a @ b, 20),
        "copyBytesPerSecond": 2 * copied.numel() / seconds_of(copied.clone, 20),
    }


def attention_speed(workload: Workload) -> dict[str, Any]:
    """Forward and backward of one layer's attention over packed documents, and its distance from plain attention in float32."""
    config, dtype = workload.config(), workload.dtype
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    lengths = Rows(workload.rows()).lengths
    chosen, total = [], 0
    while total < workload.tokens:
        chosen.append(min(lengths[len(chosen)], workload.tokens - total))
        total += chosen[-1]
    documents = Documents.of(chosen).to(DEVICE)
    width = config.hidden_size // heads
    torch.manual_seed(0)
    states = [torch.randn(1, n, total, width, device=DEVICE, dtype=dtype, requires_grad=True) for n in (heads, shared, shared)]

    def run(name: str, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        function = attention.AttentionInterface()[name]
        output = function(None, *inputs, None, scaling=width**-0.5, **attention.arguments(name, documents))[0]
        return [output, *torch.autograd.grad(output.float().square().sum(), inputs)]

    attention.register()
    exact = run(attention.PREFIX + "eager", [one.detach().float().requires_grad_() for one in states])
    found: dict[str, Any] = {}
    for backend in attention.BACKENDS:
        try:
            name = attention.choose(backend, dtype)
        except BadInputError as error:
            found[backend] = {"skipped": str(error)}
            continue
        results = run(name, states)
        seconds = seconds_of(lambda name=name: run(name, states), 10)
        found[backend] = {"milliseconds": round(1000 * seconds, 3), "error": max(map(_apart, results, exact))}
    return found


def gradients() -> dict[str, Any]:
    """A two-layer model: packed documents against one at a time through transformers' own attention and whole logits."""
    workload = Workload("tiny", "lab", tokens=1024, warmup=0, steps=1, documents=6, scale=4)
    rows = Rows(workload.rows())
    found: dict[str, Any] = {}
    for dtype in MOST_DIFFERENT:
        model = install(workload.model("eager").to(dtype))
        expected = _gradient(model, [_plain_loss(model, row) for row in rows.rows])
        for backend in attention.BACKENDS:
            label = f"{backend} {str(dtype).removeprefix('torch.')}"
            try:
                model.config._attn_implementation = attention.choose(backend, dtype)
            except BadInputError as error:
                found[label] = {"skipped": str(error)}
                continue
            packed = _gradient(model, [summed_loss(model, micro_batch(rows, range(6), 2, "answer", width=workload.tokens))])
            error = _apart(packed, expected)
            found[label] = {"error": error, "right": error < MOST_DIFFERENT[dtype]}
    return found


def head(workload: Workload) -> dict[str, Any]:
    """The head in chunks against whole logits, on as many positions as a micro-batch has tokens (loss: all)."""
    config = workload.config()
    linear = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False, device=DEVICE, dtype=workload.dtype).requires_grad_(False)
    hidden = torch.randn(workload.tokens, config.hidden_size, device=DEVICE, dtype=workload.dtype, requires_grad=True)
    targets = torch.randint(0, config.vocab_size, (workload.tokens,), device=DEVICE)
    ways = {
        "chunked": lambda: head_loss(linear, hidden, targets),
        "whole": lambda: functional.cross_entropy(linear(hidden).float(), targets, reduction="sum"),
    }
    found: dict[str, Any] = {}
    for name, loss in ways.items():
        if ON_GPU:
            torch.cuda.reset_peak_memory_stats()
        found[name] = {"milliseconds": round(1000 * seconds_of(lambda loss=loss: torch.autograd.grad(loss(), hidden), 5), 2)}
        if ON_GPU:
            found[name]["memoryBytes"] = torch.cuda.max_memory_allocated()
    found["error"] = _apart(*(torch.autograd.grad(loss(), hidden)[0] for loss in ways.values()))
    return found


def parity(workload: Workload) -> dict[str, Any]:
    """The same adapters, documents and rate: our loop against documents one at a time through transformers and PEFT, loss by loss.

    Adapters of rank 64 and a high rate, so that the loss falls and a difference would grow.
    """
    from fine_tuning_ours import Plain, Setting, adapted, configuration, started

    steps = 50 if ON_GPU else 12
    hard = Workload(**{**workload.document(), "rank": 64, "learning_rate": 1e-3, "warmup": 0, "steps": steps, "documents": 64})
    hard = Workload(**{**hard.document(), "tokens": min(workload.tokens, 2048)})
    rows = Rows(hard.rows())
    curves: dict[str, list[float]] = {"ours": [], "reference": []}
    for name, losses in curves.items():
        if name == "ours":
            trainer, plan, config, _ = started(hard, Setting(layers="none", stage=None), rows)
        else:
            trainer = Plain(adapted(hard, "sdpa"), configuration(hard, Setting()), plan.accumulation)
        for step in range(steps):
            for group in trainer.optimizer.param_groups:
                group["lr"] = learning_rate(config.training, step, steps)
            chosen = [row for batch in plan.step(step)[0] for row in batch]
            trained = sum(rows.rows[row].answer_tokens for row in chosen)
            total = 0.0
            if name == "ours":
                loss = summed_loss(trainer, micro_batch(rows, chosen, 2, "answer", width=plan.capacity))
                total = float(loss.detach())
                trainer.backward(loss / trained)
            else:
                for row in chosen:
                    loss = _plain_loss(trainer.module, rows.rows[row])
                    total += float(loss.detach())
                    trainer.backward(loss / trained)
            trainer.step()
            losses.append(total / trained)
        del trainer
        if ON_GPU:
            torch.cuda.empty_cache()
    differences = [abs(one - two) / two for one, two in zip(curves["ours"], curves["reference"], strict=True)]
    means = [sum(losses[-10:]) for losses in curves.values()]
    return {
        "steps": steps,
        "first": curves["reference"][0],
        "last": curves["reference"][-1],
        "worstStep": max(differences),
        "lastTenMean": abs(means[0] - means[1]) / means[1],
        "right": max(differences) < 5e-3 and abs(means[0] - means[1]) / means[1] < 2e-3,
    }


def _plain_loss(model: Any, row: Any) -> torch.Tensor:
    ids = torch.from_numpy(row.ids).long().unsqueeze(0).to(DEVICE)
    logits = model(input_ids=ids, use_cache=False).logits[0, row.answer_start - 1 : -1]
    return functional.cross_entropy(logits.float(), ids[0, row.answer_start :], reduction="sum")


def _gradient(model: Any, losses: list[torch.Tensor]) -> torch.Tensor:
    model.zero_grad()
    for loss in losses:
        loss.backward()
    return torch.cat([p.grad.float().flatten() for p in model.parameters() if p.grad is not None])


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.detach().float() - other.float()).norm() / other.float().norm())


if __name__ == "__main__":
    print("RESULT " + json.dumps(main(Workload(**json.loads(sys.argv[1])))), flush=True)
