"""Score a model on held-out rows: by letting it answer, and by how much the wanted answers surprise it.

Answers are greedy, in batches of like length, every rank its share of the rows. The loss needs no answers, only one
forward pass, so it is what is looked at while the model trains. Nothing here draws a random number or leaves a mark on
the model: a run with looks in between goes on exactly as one without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist

from training.config import Evaluation, TrainingConfig
from training.data.encoded import TrainingSet
from training.data.examples import Row
from training.data.packing import best_fit, micro_batch
from training.data.prompts import Question
from training.data.tokens import Tokens
from training.errors import BadInputError
from training.hardware import device, free_gpu_memory, least
from training.loop import summed_loss
from training.model import attention
from training.planner import Shape, UnknownShapeError
from training.scoring.metrics import Prediction, mean_scores, score

Which = Literal["base", "tuned"]
_ADVICE: dict[Which, str] = {
    "base": "nothing was trained yet: use training.dtype: float32, look at these rows, or take another base model",
    "tuned": "lower training.learningRate, or use training.dtype: float32",
}
LARGEST = 700.0  # of a loss: e to much more than that is no number
Measured = Callable[[int, int], None]
"""Is told of how many batches the loss is known, and how many there are."""


def _untold(done: int, of: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Scores:
    """Means over all rows and every single answer, ordered as the rows were given."""

    means: dict[str, float]
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class HeldOut:
    """The rows that models are compared on. `encoded` is what the loss is of: they are cut to the length of a training row."""

    rows: tuple[Row, ...]
    encoded: TrainingSet
    tokens: Tokens
    config: TrainingConfig
    longest_answer: int  # in tokens, of the training rows

    def score(
        self, model: Any, which: Which, progress: Callable[[int], None], *, measured: Measured = _untold, sharded: bool = False
    ) -> Scores:
        """All scores of a model: the loss, and what the configuration names. `progress` and `sharded` as in `evaluate`.

        Raises BadInputError when the loss is no number, with advice for the base or the tuned model, `which` this is.
        """
        found = self._answer(model, progress, sharded=sharded) if self._answers_wanted() else Scores({}, ())
        loss = self._loss(model, measured)
        if not math.isfinite(loss):
            raise BadInputError(f"the loss of the {which} model on the rows to score is {loss}; {_ADVICE[which]}")
        more = {"perplexity": round(_perplexity(loss), 4)} if "perplexity" in self.config.evaluation.metrics else {}
        return Scores(found.means | more | {"loss": round(loss, 5)}, found.predictions)

    def look(self, engine: Any, *, sharded: bool) -> dict[str, float]:
        """Scores of a model that is being trained: the loss, and what early stopping goes by."""
        early = self.config.evaluation.early_stopping
        loss = self._loss(engine)
        if early is None or early.metric == "loss":
            return {"loss": loss}
        if early.metric == "perplexity":
            return {"loss": loss, "perplexity": _perplexity(loss)}
        trained = engine.training
        engine.eval()
        found = self._answer(engine.module, lambda _: None, sharded=sharded).means
        engine.train(trained)
        return {"loss": loss, **found}

    def _answers_wanted(self) -> bool:
        evaluation = self.config.evaluation
        return set(evaluation.metrics) != {"perplexity"} or bool(evaluation.sql) or self.config.predictions is not None

    def _loss(self, model: Any, measured: Measured = _untold) -> float:
        return answer_loss(model, self.encoded, self.tokens.pad, self.config.evaluation.batch_rows, measured)

    def _answer(self, model: Any, progress: Callable[[int], None], *, sharded: bool = False) -> Scores:
        evaluation = self.config.evaluation
        limit = evaluation.max_new_tokens if evaluation.max_new_tokens != "auto" else self.longest_answer * 5 // 4 + 1
        return evaluate(model, self.tokens, self.rows, evaluation, limit, progress, sharded=sharded)


def evaluate(
    model: Any,
    tokens: Tokens,
    rows: Sequence[Row],
    evaluation: Evaluation,
    limit: int,
    progress: Callable[[int], None],
    *,
    sharded: bool = False,
) -> Scores:
    """Answer all rows and score them. All ranks must call this; all get the same result.

    `progress` is called on each rank after each of its batches with the rows that it has done so far. `sharded`: no
    rank holds all weights (ZeRO-3), so all must compute in step and are given as many batches.
    """
    encoded = [tokens.question(row.example.question) for row in rows]
    by_length = sorted(range(len(rows)), key=lambda i: -len(encoded[i]))
    mine, most = by_length[_rank() :: _world()], len(by_length[:: _world()])
    at_once = evaluation.batch_rows
    if torch.cuda.is_available():
        longest = max(map(len, encoded)) + limit
        at_once = rows_at_once(at_once, longest, model.config.to_dict(), model.dtype.itemsize, least(free_gpu_memory()))
    answers: dict[int, str] = {}
    for start in range(0, most if sharded else len(mine), at_once):
        batch = mine[start : start + at_once]
        asked_now = [encoded[i] for i in batch] or [encoded[by_length[-1]]]  # a rank without rows answers one in vain
        found = generate(model, asked_now, limit, tokens, sharded=sharded)
        answers.update((index, tokens.text(ids)) for index, ids in zip(batch, found, strict=False))
        progress(min(most, start + at_once))
    for other in _gather(answers):
        answers.update(other)
    predictions = tuple(
        Prediction(
            row.id, asked(row.example.question), row.example.answer, answers[i], score(evaluation.metrics, row.example.answer, answers[i])
        )
        for i, row in enumerate(rows)
    )
    return Scores(mean_scores([prediction.scores for prediction in predictions]), predictions)


def rows_at_once(wanted: int, longest: int, config: dict[str, Any], width: int, free: float) -> int:
    """How many rows of `longest` tokens are answered together: fewer than wanted where keys and values would take half of the free bytes.

    `config` is the model's, `width` the bytes of one of its numbers.
    """
    try:
        shape = Shape.of(config)
    except UnknownShapeError:
        return wanted
    each = 2.0 * shape.layers * shape.kv_heads * shape.head_dim * width * longest
    return max(1, min(wanted, int(free / 2 / each)))


def asked(question: Question) -> str:
    """A question as people read it: the conversation without its markers."""
    return question.text or "\n\n".join(message.content for message in question.messages)


@torch.no_grad()
def answer_loss(model: Any, held_out: TrainingSet, pad: int, batch_rows: int, measured: Measured = _untold) -> float:
    """Mean loss per answer token (nats) over the rows. All ranks must call this; all get the same result.

    With flex attention all batches are filled to one length, that of `batch_rows` average rows: its kernel is compiled for each length
    anew, while the layers run as they are.
    """
    lengths = held_out.lengths.tolist()
    capacity = max(*lengths, round(batch_rows * held_out.mean_length), 1)
    batches = best_fit(lengths, range(len(lengths)), capacity)
    width = capacity if getattr(model, "module", model).config._attn_implementation == attention.FLEX else 0
    sums = torch.zeros(2, dtype=torch.float64)
    trained = model.training
    model.eval()
    for first in range(0, len(batches), _world()):
        mine = first + _rank()
        # with weights spread over ranks (ZeRO-3) all must compute as often: a rank without a batch repeats one in vain
        batch = micro_batch(held_out, batches[min(mine, len(batches) - 1)], pad, "answer", width=width)
        loss = float(summed_loss(model, batch))
        if mine < len(batches):
            sums += torch.tensor([loss, batch.trained], dtype=torch.float64)
        measured(min(first + _world(), len(batches)), len(batches))
    model.train(trained)
    if _world() > 1:
        sums = sums.to(device())
        dist.all_reduce(sums)
    return float(sums[0] / sums[1])


@torch.no_grad()
def generate(model: Any, questions: Sequence[Sequence[int]], limit: int, tokens: Tokens, *, sharded: bool = False) -> list[list[int]]:
    """Greedy answers as token ids without the end token; at most `limit` tokens each.

    Questions are padded on the left by hand and masked by position, so that pad = eos does no harm. `sharded`: a rank
    whose answers have ended goes on computing until those of all ranks have.
    """
    questions = [ids or [tokens.eos] for ids in questions]  # an empty question begins where another text has ended
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
        synced_gpus=sharded,
    )
    return [_until(row.tolist(), tokens.eos) for row in output[:, longest:]]


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, LARGEST) if math.isfinite(loss) else loss)


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
