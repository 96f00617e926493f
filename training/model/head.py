"""The output head and its loss, on the positions that are learned, in chunks.

The head is the widest matrix of a model: logits of 8,192 tokens over a vocabulary of 128,000 take 2 GB in bfloat16, and
two or three times that again on the way to a gradient. Here they exist for one chunk at a time. The gradient of a chunk
is known as soon as its logits are, so it is taken at once and nothing is computed twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

CHUNK = 1024  # positions; the memory is bounded by CHUNK × vocabulary × 8 bytes


def head_loss(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed in float32: hidden (k, h), targets (k)."""
    if type(head) is torch.nn.Linear and head.bias is None:
        loss: torch.Tensor = _HeadLoss.apply(hidden, head.weight, targets)
        return loss
    return functional.cross_entropy(head(hidden).float(), targets, reduction="sum")  # a head with an adapter of its own


class _HeadLoss(torch.autograd.Function):
    """Loss and gradients chunk by chunk, in one pass."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wants_hidden, wants_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if wants_hidden else None
        # float32: rounding each chunk's share to bfloat16 biases the training of a head
        weight_grad = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        for start in range(0, len(hidden), CHUNK):
            part, wanted = hidden[start : start + CHUNK], targets[start : start + CHUNK].unsqueeze(1)
            logits = (part @ weight.t()).float()
            normal = logits.logsumexp(dim=1, keepdim=True)
            loss += (normal - logits.gather(1, wanted)).sum()
            if hidden_grad is None and weight_grad is None:
                continue
            # probabilities minus one at the wanted token: the gradient by the logits, in the logits' own memory
            slope = logits.sub_(normal).exp_().scatter_add_(1, wanted, -torch.ones_like(normal)).to(weight.dtype)
            if hidden_grad is not None:
                hidden_grad[start : start + CHUNK] = slope @ weight
            if weight_grad is not None:
                weight_grad += slope.t() @ part
        ctx.save_for_backward(hidden_grad, None if weight_grad is None else weight_grad.to(weight.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        scaled = [None if grad is None else grad * grads[0] for grad in (hidden_grad, weight_grad)]
        return scaled[0], scaled[1], None
