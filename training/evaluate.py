"""Score a model by letting it answer: greedy, in batches of like length, every rank its share of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from training.config import Evaluation
from training.data import Row
from training.metrics import mean_scores, score
from training.model import device
from training.tokens import Tokens


@dataclass(frozen=True)
class Prediction:
    """One answered row."""

    row_id: str
    expected: str
    answer: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Scores:
    """Means over all rows and every single answer, ordered as the rows were given."""

    means: dict[str, float]
    predictions: tuple[Prediction, ...]


def answer_limit(evaluation: Evaluation, longest_answer: int) -> int:
    """Longest answer in tokens: as configured, or a quarter more than the longest one seen in training."""
    return evaluation.max_new_tokens if evaluation.max_new_tokens != "auto" else longest_answer + longest_answer // 4 + 1


def evaluate(
    model: Any,
    tokens: Tokens,
    rows: Sequence[Row],
    evaluation: Evaluation,
    limit: int,
    progress: Callable[[int], None],
) -> Scores:
    """Answer all rows and score them. All ranks must call this; all get the same result.

    `progress` is called on each rank after each of its batches with the rows that it has done so far.
    """
    encoded = [tokens.question(row.example.question) for row in rows]
    by_length = sorted(range(len(rows)), key=lambda i: -len(encoded[i]))
    mine = by_length[_rank() :: _world()]
    answers: dict[int, str] = {}
    for start in range(0, len(mine), evaluation.batch_rows):
        batch = mine[start : start + evaluation.batch_rows]
        for index, ids in zip(batch, generate(model, [encoded[i] for i in batch], limit, tokens), strict=True):
            answers[index] = tokens.text(ids)
        progress(min(len(mine), start + evaluation.batch_rows))
    for other in _gather(answers):
        answers.update(other)
    predictions = tuple(
        Prediction(row.id, row.example.answer, answers[i], score(evaluation.metrics, row.example.answer, answers[i]))
        for i, row in enumerate(rows)
    )
    return Scores(mean_scores([prediction.scores for prediction in predictions]), predictions)


@torch.inference_mode()
def generate(model: Any, questions: Sequence[Sequence[int]], limit: int, tokens: Tokens) -> list[list[int]]:
    """Greedy answers as token ids without the end token; at most `limit` tokens each.

    Questions are padded on the left by hand and masked by position, so that pad = eos does no harm.
    """
    longest = max(len(ids) for ids in questions)
    ids = torch.full((len(questions), longest), tokens.pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, question in enumerate(questions):
        ids[i, longest - len(question) :] = torch.tensor(list(question))
        mask[i, longest - len(question) :] = 1
    output = model.generate(
        input_ids=ids.to(device()),
        attention_mask=mask.to(device()),
        max_new_tokens=limit,
        do_sample=False,
        eos_token_id=tokens.eos,
        pad_token_id=tokens.pad,
    )
    return [_until(row.tolist(), tokens.eos) for row in output[:, longest:]]


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _gather(answers: dict[int, str]) -> list[dict[int, str]]:
    if _world() == 1:
        return [answers]
    gathered: list[dict[int, str]] = [{} for _ in range(_world())]
    dist.all_gather_object(gathered, answers)
    return gathered
