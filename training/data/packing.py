"""Documents laid end to end, so that no position is spent on padding.

A micro-batch is one row of tokens that holds several whole documents. What keeps them apart is in `Documents`: where
each one ends (for attention) and positions that start again at 0 (for the rotary embedding). Both are needed: with one
of them missing a document reads its neighbour, and nothing but the scores would tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from training.data.encoded import TrainingSet

ROUND_LENGTH = 32  # few distinct shapes: a CPU prepares its kernels once for each


@dataclass(frozen=True)
class Documents:
    """Where the documents of one row of T tokens lie.

    `ends` is int32: 0, the end of each document, then T repeated up to a power of two of entries; `longest` is rounded
    up to a power of two. So a compiled block sees few distinct shapes; a kernel takes the repeated ends for empty
    documents.
    """

    lengths: tuple[int, ...]
    positions: torch.Tensor
    ends: torch.Tensor
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int], padding: int = 0) -> Documents:
        """Documents of these lengths, one after the other; the last `padding` tokens of the last one are padding.

        Their position is 0, or a model that turns by other angles in long texts would take the last document for one.
        """
        ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        more = _power_of_two(len(lengths), least=16) - len(lengths)
        positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0)
        positions[0, positions.shape[1] - padding :] = 0
        return cls(tuple(lengths), positions, torch.cat([ends, ends[-1:].expand(more)]), _power_of_two(max(lengths), least=256))

    def to(self, device: torch.device) -> Documents:
        """The same on another device."""
        return replace(self, positions=_move(self.positions, device), ends=_move(self.ends, device))


@dataclass(frozen=True)
class MicroBatch:
    """What a rank takes at once: `ids` (1, T); at the positions `keep` (k) the tokens `targets` (k) are to be foretold.

    `tokens` counts the documents' tokens without the padding behind them, `trained` = k.
    """

    ids: torch.Tensor
    documents: Documents
    keep: torch.Tensor
    targets: torch.Tensor
    tokens: int
    trained: int

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device; a GPU takes it while it still computes the one before."""
        ids, keep, targets = (_move(tensor, device) for tensor in (self.ids, self.keep, self.targets))
        return replace(self, ids=ids, documents=self.documents.to(device), keep=keep, targets=targets)


def micro_batch(data: TrainingSet, rows: Sequence[int], pad: int, loss: str, *, width: int = 0) -> MicroBatch:
    """Lay `rows` end to end and fill up to `width` tokens, in multiples of 32.

    The padding counts to the last document: it stands behind it, and no token looks to its right. What is learned is
    decided by position alone, because the padding token may be the end token. No rows make a micro-batch without loss.
    """
    chosen = [data.rows[row] for row in rows]
    ids = [np.asarray(row.ids) for row in chosen]
    learned = [np.asarray(row.learned(loss)) for row in chosen]
    lengths = [len(one) for one in ids] or [0]
    starts = np.cumsum([0, *lengths])
    tokens = sum(lengths)
    padding = -(-max(width, tokens, 1) // ROUND_LENGTH) * ROUND_LENGTH - tokens
    lengths[-1] += padding
    return MicroBatch(
        ids=_tensor([*ids, np.full(padding, pad)]).unsqueeze(0),
        documents=Documents.of(lengths, padding),
        keep=_tensor([start + positions - 1 for start, positions in zip(starts, learned, strict=False)]),
        targets=_tensor([one[positions] for one, positions in zip(ids, learned, strict=True)]),
        tokens=tokens,
        trained=sum(len(positions) for positions in learned),
    )


def best_fit(lengths: Sequence[int], order: Sequence[int], capacity: int) -> list[list[int]]:
    """Put documents whole into bins of `capacity` tokens: longest first, each into the fullest bin that has room.

    `order` decides between documents of one length. Fills 98 % and more where lengths vary, and the number of bins
    depends on the lengths only. About 2 µs a document.
    """
    bins: list[list[int]] = []
    by_space: dict[int, list[int]] = {}  # bins by their free tokens
    spaces = 0  # bit n is set when a bin has n free tokens
    for document in sorted(order, key=lambda index: -lengths[index]):
        length = lengths[document]
        fitting = spaces >> length
        if fitting:
            space = length + (fitting & -fitting).bit_length() - 1
            chosen = by_space[space].pop()
            if not by_space[space]:
                spaces &= ~(1 << space)
        else:
            space, chosen = max(capacity, length), len(bins)
            bins.append([])
        bins[chosen].append(document)
        left = space - length
        by_space.setdefault(left, []).append(chosen)
        spaces |= 1 << left
    return bins


def _tensor(parts: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([np.zeros(0, dtype=np.int64), *parts]).astype(np.int64))


def _power_of_two(number: int, *, least: int) -> int:
    return max(least, 1 << (number - 1).bit_length())


def _move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # pageable memory would make the copy wait
