"""LoRA's projections with less traffic: q, k and v together, and the whole MLP, each as one step of autograd.

An adapter next to a matrix is little arithmetic, but written plainly it costs two extra passes over every output and
one over every input's gradient, and the MLP keeps four wide tensors where two are enough. Here the adapter's product is
added inside the matrix multiplication that follows it, the input is kept once for all projections that read it, and the
MLP computes its cheap product again. The results are those of PEFT's own layers.

Only plain adapters are taken: no dropout, no DoRA, no quantised weights, one number format. Others stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

QKV = ("q_proj", "k_proj", "v_proj")
OUTPUT = ("o_proj",)
MLP = ("gate_proj", "up_proj", "down_proj")

Tensors = tuple[torch.Tensor | None, ...]


@dataclass(frozen=True)
class Adapted:
    """A frozen matrix W (out, in) with its bias and its adapter: y = x·Wᵀ + bias + scale · x·Aᵀ·Bᵀ."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    a: torch.Tensor
    b: torch.Tensor
    scale: float


def install(model: Any) -> int:
    """Take over the projections of a PEFT model where they are plain; returns how many were taken."""
    taken = 0
    for module in list(model.modules()):
        if (parts := _group(module, MLP)) and _is_silu(module.act_fn):
            module.forward = while_training(module, module.forward, _mlp_forward(parts))
            taken += len(parts)
        elif parts := _group(module, QKV):
            _install_qkv([getattr(module, name) for name in QKV], parts)
            taken += len(parts)
        if parts := _group(module, OUTPUT):
            layer = getattr(module, *OUTPUT)
            layer.forward = while_training(layer, layer.forward, _single(parts))
            taken += len(parts)
    return taken


def _group(module: Any, names: Sequence[str]) -> list[Adapted]:
    """The parts of these projections of a module, or nothing unless all of them are plain."""
    found = [_adapted(getattr(module, name, None)) for name in names]
    return [part for part in found if part is not None] if all(found) else []


def _is_silu(function: Any) -> bool:
    probe = torch.tensor([-1.5, 0.3, 2.0])
    return torch.equal(function(probe), functional.silu(probe))  # transformers has several classes for it


def _adapted(layer: Any) -> Adapted | None:
    """The parts of a plain adapted projection, or None."""
    from peft.tuners.lora import Linear

    kind: type = type(layer)
    if kind is not Linear or type(layer.base_layer) is not torch.nn.Linear or len(layer.active_adapters) != 1:
        return None
    name = layer.active_adapters[0]
    if name not in layer.lora_A or name in layer.lora_variant or layer.lora_bias.get(name):
        return None
    a: torch.Tensor = layer.lora_A[name].weight
    b: torch.Tensor = layer.lora_B[name].weight
    base = layer.base_layer
    if type(layer.lora_dropout[name]) is not torch.nn.Identity or base.weight.requires_grad or a.dtype != base.weight.dtype:
        return None
    return Adapted(base.weight, base.bias, a, b, float(layer.scaling[name]))


def while_training(module: Any, plain: Callable[..., Any], fast: Callable[..., Any]) -> Callable[..., Any]:
    """The fast way when gradients are wanted; the plain one, which knows answers of any length, merging and disabling, for all else."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        return fast(*args, **kwargs) if module.training and torch.is_grad_enabled() else plain(*args, **kwargs)

    return forward


def _install_qkv(layers: Sequence[Any], parts: Sequence[Adapted]) -> None:
    """q_proj computes all three; k_proj and v_proj, which a model calls next and with the same input, hand theirs out."""
    waiting: dict[int, torch.Tensor] = {}
    flat, scales = _flat(parts)

    def first(x: torch.Tensor) -> torch.Tensor:
        q, waiting[1], waiting[2] = _projections(x, scales, *flat)
        return q

    def other(place: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: waiting.pop(place)

    for layer, fused in zip(layers, (first, other(1), other(2)), strict=True):
        layer.forward = while_training(layer, layer.forward, fused)


def _single(parts: Sequence[Adapted]) -> Callable[[torch.Tensor], torch.Tensor]:
    flat, scales = _flat(parts)

    def forward(x: torch.Tensor) -> torch.Tensor:
        (output,) = _projections(x, scales, *flat)
        return output

    return forward


def _mlp_forward(parts: Sequence[Adapted]) -> Callable[[torch.Tensor], torch.Tensor]:
    flat, scales = _flat(parts)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return _mlp(x, scales, *flat)

    return forward


def _flat(parts: Sequence[Adapted]) -> tuple[list[torch.Tensor | None], tuple[float, ...]]:
    tensors = [tensor for part in parts for tensor in (part.weight, part.bias, part.a, part.b)]
    return tensors, tuple(part.scale for part in parts)


def _parts(flat: Sequence[Any], scales: Sequence[float]) -> list[Adapted]:
    return [Adapted(flat[4 * i], flat[4 * i + 1], flat[4 * i + 2], flat[4 * i + 3], scale) for i, scale in enumerate(scales)]


def _project(x: torch.Tensor, xa: torch.Tensor, part: Adapted) -> torch.Tensor:
    """x (T, in), xa = x·Aᵀ (T, r) → (T, out). Not in place: a custom step may not change what autograd was shown."""
    return torch.addmm(functional.linear(x, part.weight, part.bias), xa, part.b.t(), alpha=part.scale)


def _shared_backward(
    x: torch.Tensor, xas: Sequence[torch.Tensor], grads: Sequence[torch.Tensor], parts: Sequence[Adapted]
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Gradients of x, of every A and of every B, for projections of one input."""
    inner = [(grad @ part.b).mul_(part.scale) for grad, part in zip(grads, parts, strict=True)]
    b_grads = [(grad.t() @ xa).mul_(part.scale) for grad, xa, part in zip(grads, xas, parts, strict=True)]
    together = torch.cat(inner, dim=1)
    a_grads = list(torch.split(together.t() @ x, [part.a.shape[0] for part in parts]))
    x_grad = together @ torch.cat([part.a for part in parts])
    for grad, part in zip(grads, parts, strict=True):
        x_grad.addmm_(grad, part.weight)
    return x_grad, a_grads, b_grads


def _ordered(a_grads: Sequence[torch.Tensor], b_grads: Sequence[torch.Tensor]) -> Tensors:
    """In the order of `_flat`: nothing for weight and bias, which are frozen."""
    return tuple(tensor for a, b in zip(a_grads, b_grads, strict=True) for tensor in (None, None, a, b))


class _Projections(torch.autograd.Function):
    """Several adapted projections of one input."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scales: tuple[float, ...], *flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = _parts(flat, scales)
        rows = x.reshape(-1, x.shape[-1])
        xas = torch.split(rows @ torch.cat([part.a for part in parts]).t(), [part.a.shape[0] for part in parts], dim=1)
        ctx.scales, ctx.shape = scales, x.shape
        ctx.save_for_backward(rows, *xas, *flat)
        return tuple(_project(rows, xa, part).view(*x.shape[:-1], -1) for xa, part in zip(xas, parts, strict=True))

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> Any:
        count, (rows, *others) = len(ctx.scales), ctx.saved_tensors
        xas, parts = others[:count], _parts(others[count:], ctx.scales)
        grads = [grad.reshape(-1, grad.shape[-1]) for grad in outer]
        x_grad, a_grads, b_grads = _shared_backward(rows, xas, grads, parts)
        return x_grad.view(ctx.shape), None, *_ordered(a_grads, b_grads)


class _Mlp(torch.autograd.Function):
    """down(silu(gate(x)) · up(x)). Keeps gate and up; their product is computed again."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scales: tuple[float, ...], *flat: torch.Tensor) -> torch.Tensor:
        gate, up, down = _parts(flat, scales)
        rows = x.reshape(-1, x.shape[-1])
        gate_xa, up_xa = torch.split(rows @ torch.cat([gate.a, up.a]).t(), [gate.a.shape[0], up.a.shape[0]], dim=1)
        gated, raised = _project(rows, gate_xa, gate), _project(rows, up_xa, up)
        product = functional.silu(gated) * raised
        down_xa = product @ down.a.t()
        ctx.scales, ctx.shape = scales, x.shape
        ctx.save_for_backward(rows, gate_xa, up_xa, down_xa, gated, raised, *flat)
        return _project(product, down_xa, down).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> Any:
        rows, gate_xa, up_xa, down_xa, gated, raised, *flat = ctx.saved_tensors
        gate, up, down = _parts(flat, ctx.scales)
        active = functional.silu(gated)
        product = active * raised
        grad = outer[0].reshape(-1, outer[0].shape[-1])
        product_grad, (down_a,), (down_b,) = _shared_backward(product, [down_xa], [grad], [down])
        gated_grad = torch.ops.aten.silu_backward(product_grad * raised, gated)
        raised_grad = product_grad * active
        x_grad, a_grads, b_grads = _shared_backward(rows, [gate_xa, up_xa], [gated_grad, raised_grad], [gate, up])
        return x_grad.view(ctx.shape), None, *_ordered([*a_grads, down_a], [*b_grads, down_b])


_projections: Callable[..., tuple[torch.Tensor, ...]] = _Projections.apply
_mlp: Callable[..., torch.Tensor] = _Mlp.apply
