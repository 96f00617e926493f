"""Rotary embeddings that turn by other angles once a text is longer than the model was made for: one document at a time.

With `rope_scaling` of type dynamic or longrope the angles of all tokens depend on the longest position in a call. In a row of several
documents a short one would get the angles of its longest neighbour. And transformers keeps the angles of the longest text seen so far
(dynamic), so a document would get those of an earlier one, and a resumed run others than an unbroken one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

TYPES = ("dynamic", "longrope")


def install(decoder: Any) -> list[Any]:
    """Make such embeddings of a decoder forget what they have seen; returns them, for `one_by_one`."""
    found = [module for module in decoder.modules() if any(name in str(getattr(module, "rope_type", "")) for name in TYPES)]
    for module in found:
        module.documents = None
        module.forward = _forgetful(module)
    return found


@contextmanager
def one_by_one(embeddings: Sequence[Any], lengths: tuple[int, ...]) -> Iterator[None]:
    """For a while a row of tokens consists of documents of these lengths."""
    for embedding in embeddings:
        embedding.documents = lengths
    try:
        yield
    finally:
        for embedding in embeddings:
            embedding.documents = None


def _forgetful(module: Any) -> Any:
    plain = module.forward

    def forward(x: torch.Tensor, position_ids: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        parts = []
        for positions in torch.split(position_ids, list(module.documents or position_ids.shape[1:]), dim=1):
            _forget(module)
            parts.append(plain(x, positions, *args, **kwargs))
        return tuple(torch.cat(part, dim=1) for part in zip(*parts, strict=True))

    return forward


def _forget(module: Any) -> None:
    """Back to the angles of short texts."""
    for name, original in [*module.named_buffers(recurse=False), *vars(module).items()]:
        if name.endswith("original_inv_freq"):
            setattr(module, name.replace("original_", ""), original.clone())
    for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
        setattr(module, name, module.original_max_seq_len)
