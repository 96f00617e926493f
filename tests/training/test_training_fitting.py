"""Rows longer than the limit: what is kept of them, and that each of them is counted once."""

from __future__ import annotations

import pytest
from training_tiny import select_rows, tiny_rows, tiny_tokenizer

from training.config import Data, Prompt, TooLong
from training.data.encoded import Counts
from training.data.examples import Encoding
from training.data.fitting import fitted
from training.data.tokens import Encoded, Tokens
from training.errors import BadInputError


def row(question: int, answer: int) -> Encoded:
    return Encoded.of(list(range(question + answer)), [(question, question + answer)])


def kept(one: Encoded, rule: TooLong, limit: int, loss: str = "answer") -> tuple[list[list[int]], Counts]:
    counts = Counts(limit)
    return [piece.ids.tolist() for piece in fitted(one, rule, loss, counts)], counts


@pytest.mark.parametrize("rule", ["drop", "truncate", "split"])
def test_a_row_that_just_fits_stays_as_it_is(rule: TooLong) -> None:
    assert kept(row(6, 4), rule, 10) == ([list(range(10))], Counts(10))


@pytest.mark.parametrize(
    ("rule", "question", "answer", "pieces", "reason"),
    [
        ("drop", 9, 2, [], "left out"),
        ("truncate", 9, 2, [[0, 1, 2, 3, 5, 6, 7, 8, 9, 10]], "the middle of the question goes"),
        ("truncate", 20, 4, [[0, 1, 2, 17, 18, 19, 20, 21, 22, 23]], "the answer stays whole"),
        (
            "truncate",
            20,
            9,
            [[0, 1, 17, 18, 19, 20, 21, 22, 23, 24]],
            "half stays with the question, the answer loses its end",
        ),
        ("truncate", 2, 12, [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]], "a short question stays whole"),
        ("truncate", 0, 12, [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]], "a plain text loses its end"),
        ("split", 15, 3, [[10, 11, 12, 13, 14, 15, 16, 17]], "a piece of the question alone teaches nothing"),
        ("split", 8, 4, [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [10, 11]], "an answer on both sides"),
        ("split", 0, 21, [list(range(10)), list(range(10, 20))], "the first token of a piece is not learned, so one alone is left out"),
    ],
)
def test_a_row_that_is_too_long(rule: TooLong, question: int, answer: int, pieces: list[list[int]], reason: str) -> None:
    found, counts = kept(row(question, answer), rule, 10)
    assert found == pieces, reason
    assert all(len(piece) <= 10 for piece in found)
    assert (counts.too_long, counts.dropped + counts.truncated + counts.split) == (1, 1)


def test_with_loss_on_all_every_piece_is_kept() -> None:
    assert len(kept(row(15, 3), "split", 10, "all")[0]) == 2


def test_a_conversation_loses_its_end() -> None:
    turns = Encoded.of(list(range(20)), [(3, 6), (15, 20)])
    [(piece)] = fitted(turns, "truncate", "assistant", Counts(10))
    assert piece.ids.tolist() == list(range(10))
    assert piece.answer_tokens == 3


@pytest.mark.parametrize(
    ("rule", "told"),
    [("drop", "left out"), ("truncate", "cut"), ("split", "split into")],
)
def test_long_rows_are_counted_and_told(rule: TooLong, told: str) -> None:
    tokens = Tokens(tiny_tokenizer())
    rows = select_rows(tiny_rows(), Data(table="T"), Prompt(), 4).train
    lengths = sorted(len(tokens.example(one.example).ids) for one in rows)
    data = Encoding(tokens, lengths[8], too_long=rule).encode(rows)
    assert data.too_long == sum(length > lengths[8] for length in lengths) > 0
    counts = data.counts
    assert len(data.rows) == len(rows) - counts.dropped - counts.split + counts.pieces
    assert {"drop": counts.dropped, "truncate": counts.truncated, "split": counts.split}[rule] == data.too_long
    assert told in str(data.counts)
    assert max(data.lengths) <= lengths[8]


def test_nothing_left_says_what_to_do() -> None:
    rows = select_rows(tiny_rows(), Data(table="T"), Prompt(), 4).train
    with pytest.raises(BadInputError, match=r"all 18 rows are longer than 5 tokens.*data\.tooLong"):
        Encoding(Tokens(tiny_tokenizer()), 5).encode(rows)
