"""Rows longer than the limit: left out, cut, or split. Nothing of this happens without being counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.config import TooLong
from training.data.encoded import Counts
from training.data.tokens import Encoded


def fitted(row: Encoded, rule: TooLong, loss: str, counts: Counts) -> Iterator[Encoded]:
    """The row as it is when it fits into `counts.max_length` tokens, else what the rule makes of it; adds to `counts`."""
    if len(row.ids) <= counts.max_length:
        yield row
        return
    counts.too_long += 1
    if rule == "drop":
        made = []
    elif rule == "truncate":
        made = [_truncated(row, counts.max_length)]
    else:
        starts = range(0, len(row.ids), counts.max_length)
        made = [Encoded(row.ids[at : at + counts.max_length], row.answer[at : at + counts.max_length]) for at in starts]
    made = [piece for piece in made if len(piece.learned(loss))]  # a piece of a question alone teaches nothing
    if not made:
        counts.dropped += 1
    elif rule == "truncate":
        counts.truncated += 1
    else:
        counts.split += 1
        counts.pieces += len(made)
    yield from made


def _truncated(row: Encoded, limit: int) -> Encoded:
    """Cut to `limit` tokens: the middle of the question goes first, then the end.

    A question's beginning says what to do and its last tokens open the answer, so both stay. At least half of the
    limit is left to the question. A conversation with several learned turns, and plain text, lose their end.
    """
    first = int(np.argmax(row.answer))
    one_answer = bool(row.answer[first:].all())
    kept = max(limit - (len(row.ids) - first), limit // 2)
    if not one_answer or first <= kept:
        return Encoded(row.ids[:limit], row.answer[:limit])
    head = kept // 2
    places = np.concatenate([np.arange(head), np.arange(first - (kept - head), len(row.ids))])[:limit]
    return Encoded(row.ids[places], row.answer[places])
