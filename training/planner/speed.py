"""Tokens in a second, from the arithmetic of the model and what hardware reaches in practice. Modelled, until a probe has measured it."""

from __future__ import annotations

from dataclasses import replace

from training.planner.machine import Machine
from training.planner.memory import Setting
from training.planner.shape import Shape

REACHED = 0.40  # of the data sheet's FLOP/s; 0.40 to 0.45 is what careful loops get, see docs/planner.md
UNPACKING = 0.78  # QLoRA unpacks its weights in every pass; published runs lose 22 to 26 %
HALF_SPEED_TOKENS = 512  # a micro-batch of so few tokens leaves half of a GPU idle
_ADAM_CPU = 4e9 / 28  # numbers a second and core: AdamW moves 28 bytes for each, a node's cores share about 4 GB/s each
_PCIE = 12e9


def flops_per_token(shape: Shape, full: bool, document: float) -> float:
    """Of one token, forward and backward, causal attention over `document` tokens; nothing is counted twice. MFU is measured by it."""
    weights = 6.0 if full else 4.0  # frozen weights need no gradient of their own
    return weights * shape.matmul + 6.0 * shape.layers * shape.heads * shape.head_dim * document


def model_flops(setting: Setting) -> float:
    """The same for a setting."""
    return flops_per_token(setting.shape, setting.technique == "full", setting.document)


def recomputed_flops(setting: Setting) -> float:
    """Of one token: the second forward pass of the checkpointed layers."""
    shape = setting.shape
    forward = 2.0 * shape.linear + 2.0 * shape.layers * shape.heads * shape.head_dim * setting.document
    return forward * setting.checkpointed / shape.layers


def rate(setting: Setting, machine: Machine, reached: float | None = None) -> float:
    """FLOP/s of one rank. `reached` is a measured share of the peak, at many tokens."""
    if not machine.has_gpu:
        return machine.peak * (reached if reached is not None else 1.0)
    share = reached if reached is not None else REACHED * (UNPACKING if setting.technique == "qlora" else 1.0)
    return machine.peak * share * setting.tokens / (setting.tokens + HALF_SPEED_TOKENS)


def tokens_per_second(setting: Setting, machine: Machine, tokens_per_step: float, reached: float | None = None) -> float:
    """Of all ranks together. Talking is not assumed to hide behind computing."""
    world = machine.world
    filled = replace(setting, tokens=max(1, min(setting.tokens, round(tokens_per_step / world))))  # a step may have less than fits
    micro = filled.tokens * (model_flops(filled) + recomputed_flops(filled)) / rate(filled, machine, reached)
    other = 1 - 1 / world
    if setting.zero == 3:
        gathered = 2.0 * (
            setting.width * setting.shape.parameters + (setting.width * setting.trained if setting.technique == "full" else 0)
        )
        micro += gathered * other / machine.link if machine.has_gpu else 0.0
    micro_batches = max(1.0, tokens_per_step / (filled.tokens * world))
    step = micro_batches * (micro + _moved(filled, machine)) + _stepped(filled, machine)
    if machine.has_gpu:
        step += 2.0 * setting.width * setting.trained * other / machine.link
    return micro_batches * filled.tokens * world / step


def _moved(setting: Setting, machine: Machine) -> float:
    """Seconds of a micro-batch between host and GPU: gradients on their way down, weights up for the forward and the backward pass."""
    if setting.offload == "none" or not machine.has_gpu:
        return 0.0
    fetched = 2.0 * setting.shape.parameters if setting.offload == "parameters" else 0.0
    return setting.width * (setting.trained + fetched) / machine.world / _PCIE


def _stepped(setting: Setting, machine: Machine) -> float:
    """Seconds of a step for the optimizer on the host, and for the new weights on their way up."""
    if setting.offload == "none" or not machine.has_gpu:
        return 0.0
    mine = setting.trained / machine.world
    return setting.width * mine / _PCIE + mine / (_ADAM_CPU * max(1.0, machine.cores / machine.ranks))
