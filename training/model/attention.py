"""Attention that keeps the documents of one row of tokens apart, in four ways that give the same result.

`varlen` is one kernel for all documents (FlashAttention-2, part of PyTorch since 2.10; a GPU and bfloat16). `sdpa` and
`eager` go through the documents one by one: no work is spent on pairs of tokens that may not see each other, which a
mask over the whole row would only hide. `flex` compiles a kernel from a description of the mask.

Each is registered with transformers under a name of ours, and gets what it needs from `arguments`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch.nn import functional
from transformers import AttentionInterface

from training.data.packing import Documents
from training.errors import BadInputError

varlen_attn: Any
try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # before PyTorch 2.10
    varlen_attn = None

# its signature moved: is_causal became window_size after 2.10, enable_gqa came with 2.12
VARLEN_TAKES = frozenset(inspect.signature(varlen_attn).parameters) if varlen_attn is not None else frozenset()
PREFIX = "snowcat_"  # names of transformers' own do not keep packed documents apart in all cases
BACKENDS = ("varlen", "sdpa", "flex", "eager")
FLEX = PREFIX + "flex"


def choose(wanted: str, dtype: torch.dtype, dropout: float = 0.0) -> str:
    """The attention's name for `attn_implementation`; `dropout` is the model's. Raises BadInputError for what does not run here."""
    register()
    on_gpu = torch.cuda.is_available()
    if wanted in ("varlen", "flex") and dropout:
        raise BadInputError(
            f"training.attention: {wanted} cannot leave out attention weights, as this model does while it trains (attention_dropout: "
            f"{dropout:g} in its config.json); use attention: auto"
        )
    if wanted == "auto":
        fast = "varlen" if varlen_attn is not None and dtype == torch.bfloat16 and not dropout else "sdpa"
        # a CPU's fused attention is slow in bfloat16's backward pass (short rows: twice the time), and fast in float32
        return PREFIX + (fast if on_gpu else "eager" if dtype == torch.bfloat16 else "sdpa")
    if wanted == "varlen" and (not on_gpu or varlen_attn is None or dtype != torch.bfloat16):
        raise BadInputError("training.attention: varlen needs a GPU, PyTorch 2.10 or later and dtype: bfloat16; use attention: auto")
    if wanted == "flex" and not on_gpu:
        raise BadInputError("training.attention: flex cannot train on a CPU; use attention: auto")
    return PREFIX + wanted


def register() -> None:
    """Make the four known to transformers. It makes no mask for names that are not in its table of masks."""
    for name, function in (("varlen", _varlen), ("flex", _flex), ("sdpa", _each(_sdpa)), ("eager", _each(_eager))):
        AttentionInterface.register(PREFIX + name, function)


def arguments(name: str, documents: Documents) -> dict[str, Any]:
    """What the attention called `name` wants to know of the documents, as arguments of the model's forward."""
    if name == PREFIX + "varlen":
        return {"document_ends": documents.ends, "longest_document": documents.longest}
    if name == FLEX:
        return {"document_mask": _block_mask(documents)}
    return {"document_lengths": documents.lengths}


def compiles(wanted: Literal["auto"] | bool, name: str) -> bool:
    """What `training.compile` means for layers with the attention called `name`; `auto` is for a GPU.

    Those that go through the documents one by one are told lengths, and would be compiled anew for nearly every micro-batch.
    """
    return (torch.cuda.is_available() if wanted == "auto" else wanted) and name in (PREFIX + "varlen", FLEX)


@contextmanager
def plain(config: Any) -> Iterator[None]:
    """transformers' own attention for a while: to generate answers in the middle of a training."""
    name = config._attn_implementation
    if name.startswith(PREFIX):
        config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        if name.startswith(PREFIX):
            config._attn_implementation = name


def _varlen(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    document_ends: torch.Tensor,
    longest_document: int,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """query (1, heads, T, d); key, value (1, kv heads, T, d) → (1, T, heads, d)."""
    more: dict[str, Any] = {"scale": scaling} if "scale" in VARLEN_TAKES else {}
    if "window_size" in VARLEN_TAKES:
        more["window_size"] = ((sliding_window or 0) - 1, 0)  # (-1, 0): all that came before
    elif sliding_window:
        raise BadInputError("this PyTorch's varlen attention has no sliding window; use attention: sdpa")
    else:
        more["is_causal"] = True
    if "enable_gqa" in VARLEN_TAKES:
        more["enable_gqa"] = key.shape[1] != query.shape[1]
    else:
        key, value = _repeated(key, query), _repeated(value, query)
    if "scale" not in VARLEN_TAKES:  # it divides by the root of d by itself
        query = query * (scaling * query.shape[-1] ** 0.5)
    ends, longest = document_ends, longest_document
    packed = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))
    return varlen_attn(*packed, ends, ends, longest, longest, **more).unsqueeze(0), None


def _each(inner: Callable[..., torch.Tensor]) -> Callable[..., tuple[torch.Tensor, None]]:
    """Attention over the documents one by one."""

    def attend(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *,
        scaling: float,
        dropout: float = 0.0,
        document_lengths: tuple[int, ...],
        sliding_window: int | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        key, value = _repeated(key, query), _repeated(value, query)
        parts = zip(*(torch.split(states, list(document_lengths), dim=2) for states in (query, key, value)), strict=True)
        outputs = [inner(*part, scaling, dropout, _window(part[0], sliding_window)) for part in parts]
        return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None

    return attend


def _sdpa(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, dropout: float, window: torch.Tensor | None
) -> torch.Tensor:
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=window, dropout_p=dropout, is_causal=window is None, scale=scaling
    )


def _eager(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, dropout: float, window: torch.Tensor | None
) -> torch.Tensor:
    length = query.shape[2]
    seen = window if window is not None else torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    scores = (query @ key.transpose(2, 3) * scaling).masked_fill(~seen, float("-inf"))
    weights = functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return functional.dropout(weights, dropout) @ value


def _window(query: torch.Tensor, size: int | None) -> torch.Tensor | None:
    """The mask of a model that looks back `size` tokens only, where a document is longer than that."""
    length = query.shape[2]
    if not size or length <= size:
        return None
    return torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - size)


def _flex(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    document_mask: Any,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    if sliding_window and sliding_window < query.shape[2]:
        raise BadInputError("this model looks back a limited number of tokens, which attention: flex does not do here; use attention: auto")
    output = _compiled_flex()(query, key, value, block_mask=document_mask, scale=scaling, enable_gqa=key.shape[1] != query.shape[1])
    return output.transpose(1, 2).contiguous(), None


def _block_mask(documents: Documents) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    total, device = sum(documents.lengths), documents.ends.device
    owner = torch.searchsorted(documents.ends[1:].contiguous(), torch.arange(total, dtype=torch.int32, device=device), right=True)

    def seen(batch: Any, head: Any, query: Any, key: Any) -> Any:
        return (owner[query] == owner[key]) & (query >= key)

    return create_block_mask(seen, None, None, total, total, device=str(device))


@cache
def _compiled_flex() -> Callable[..., torch.Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    compiled: Callable[..., torch.Tensor] = torch.compile(flex_attention, dynamic=False)
    return compiled


def _repeated(states: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Key or value heads, each repeated for the query heads that share it."""
    times = query.shape[1] // states.shape[1]
    return states if times == 1 else states.repeat_interleave(times, dim=1)
