"""A model is tried as soon as it is loaded: two short texts in one row must not see each other.

Attention and positions are kept apart here for all models that leave them to transformers. Some do not, or carry a state from token to
token besides (convolutions, linear attention, state spaces). Their training would look well, and be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from training.data.packing import Documents
from training.errors import BadInputError

LENGTH = 64  # of each text, in tokens
# how far states may be apart: with other neighbours (experts round otherwise beside other tokens), and by another attention
LIMITS = {torch.float32: (1e-4, 1e-2)}
LIMITS_HALF = (5e-3, 0.25)


@torch.no_grad()
def check(model: Any, packed: Callable[[Documents, torch.Tensor], torch.Tensor], plain: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Raise BadInputError unless `packed` gives a text the states (1, T, h) that `plain` gives it, whatever stands before it."""
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        return  # spread over ranks: nothing can be computed before DeepSpeed has it
    place = next(model.parameters()).device
    first, other, text = ((torch.arange(LENGTH, device=place) * step + step).unsqueeze(0) % model.config.vocab_size for step in (7, 11, 13))
    try:
        two = Documents.of([LENGTH, LENGTH]).to(place)
        behind = [packed(two, torch.cat([before, text], dim=1))[:, LENGTH:] for before in (first, other)]
        alone = plain(text)
    except (TypeError, AttributeError, KeyError, IndexError, ValueError) as error:
        raise BadInputError(f"models of type {model.config.model_type} compute in a way that training does not know: {error}") from error
    neighbours, ways = LIMITS.get(alone.dtype, LIMITS_HALF)
    if _apart(behind[0], behind[1]) > neighbours or _apart(behind[0], alone) > ways:
        raise BadInputError(
            f"models of type {model.config.model_type} cannot be trained here: rows that are packed together would see each other, "
            "or their attention is not the one that was computed; take a model of the Llama family (Llama, Mistral, Qwen, SmolLM, …)"
        )


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far the states of the middlemost token are from each other: where experts are chosen, rounding may choose others for a few."""
    sizes = other.float().norm(dim=-1).clamp_min(1e-12)
    return float(((one - other).float().norm(dim=-1) / sizes).median())
