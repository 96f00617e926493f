"""One model, one worker thread, many callers.

Rows of all requests meet in one queue. The worker takes what waits, up to a batch, and answers it in one padded
generation; rows that come meanwhile form the next batch. So ten callers with one row each cost about as much as one
caller with ten rows. An idle worker blocks on the queue and uses no CPU.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from training.data.tokens import Tokens
from training.hardware import device
from training.model.folder import context_length
from training.model.loading import load_model

BATCH_ROWS = 16


class BusyError(Exception):
    """Too many rows are waiting; the caller should come again."""


class PromptError(Exception):
    """This one prompt cannot be answered; the message says why."""


@dataclass(frozen=True)
class Answer:
    """A finished answer with its counts of tokens; `finished` is `stop` at the model's own end, `length` at the limit."""

    text: str
    tokens: int
    prompt_tokens: int
    finished: str


@dataclass(eq=False)
class Job:
    """One row on its way through the model. `on_token` and `on_done` are called from the worker thread."""

    ids: Sequence[int]
    limit: int
    on_done: Callable[[Answer | Exception], None]
    on_token: Callable[[int], None] | None = None
    temperature: float = 0.0
    seed: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)


class Generator:
    """The model with its queue. `submit` may be called from any thread."""

    def __init__(self, folder: Path, *, waiting_rows: int, batch_rows: int = BATCH_ROWS) -> None:
        self.folder = folder
        self.waiting_rows = waiting_rows
        self.batch_rows = batch_rows
        self.context = context_length(folder)
        self.tokens = Tokens.load(folder)
        self._model: Any = None
        self._queue: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def load(self, dtype: torch.dtype) -> None:
        """Read the weights; without them the worker has nothing to work with."""
        self._model = load_model(self.folder, dtype)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue rows, all or none. Raises BusyError when they would not fit, PromptError for one that is too long."""
        for job in jobs:
            self.check(job.ids, job.limit)
        with self._changed:
            if len(self._queue) + len(jobs) > self.waiting_rows:
                raise BusyError(f"{len(self._queue)} rows are waiting, {self.waiting_rows} are the limit")
            self._queue.extend(jobs)
            self._changed.notify()

    def check(self, ids: Sequence[int], limit: int) -> None:
        """Raise PromptError unless prompt and answer fit into the model's context."""
        if not ids:
            raise PromptError("the prompt is empty")
        if len(ids) + limit > self.context:
            raise PromptError(f"the prompt has {len(ids)} tokens; with {limit} for the answer the model takes {self.context - limit}")

    def work(self) -> None:
        """Answer batches until `close`. Runs in a thread of its own."""
        while batch := self._take():
            try:
                self._answer(batch)
            except Exception as error:  # noqa: BLE001 - one bad batch must not end the server
                for job in batch:
                    job.on_done(error)

    def close(self) -> None:
        """End the worker after the batch that it is at; rows that wait are told."""
        with self._changed:
            self._closed = True
            left = list(self._queue)
            self._queue.clear()
            self._changed.notify()
        for job in left:
            job.on_done(BusyError("the server is stopping"))

    def _take(self) -> list[Job]:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            # like lengths together waste the least padding; the oldest row is always among them, so none starves
            if not self._queue:
                return []
            oldest = self._queue[0]
            nearest = sorted(self._queue, key=lambda job: abs(len(job.ids) - len(oldest.ids)))[: self.batch_rows]
            batch = [oldest, *(job for job in nearest if job is not oldest)][: self.batch_rows]
            chosen = set(map(id, batch))
            self._queue = deque(job for job in self._queue if id(job) not in chosen)
            return batch

    @torch.inference_mode()
    def _answer(self, batch: list[Job]) -> None:
        longest = max(len(job.ids) for job in batch)
        ids = torch.full((len(batch), longest), self.tokens.pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, job in enumerate(batch):
            ids[i, longest - len(job.ids) :] = torch.tensor(list(job.ids))
            mask[i, longest - len(job.ids) :] = 1
        rows = _Rows(batch, self.tokens)
        processors = [_Sampling(batch)] if any(job.temperature > 0 for job in batch) else []
        self._model.generate(
            input_ids=ids.to(device()),
            attention_mask=mask.to(device()),
            max_new_tokens=max(job.limit for job in batch),
            do_sample=False,
            eos_token_id=self.tokens.eos,
            pad_token_id=self.tokens.pad,
            stopping_criteria=StoppingCriteriaList([rows]),
            logits_processor=LogitsProcessorList(processors),
        )


class _Rows(StoppingCriteria):
    """Follows each row of a batch: streams its tokens, and ends it at its own limit, at the end token or on cancel."""

    def __init__(self, batch: list[Job], tokens: Tokens) -> None:
        self.batch = batch
        self.tokens = tokens
        self.answers: list[list[int]] = [[] for _ in batch]
        self.done = [False] * len(batch)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """(rows,) booleans: which rows need no further token."""
        for i, token in enumerate(input_ids[:, -1].tolist()):
            if not self.done[i]:
                self._take(i, token)
        return torch.tensor(self.done, device=input_ids.device)

    def _take(self, i: int, token: int) -> None:
        job, answer = self.batch[i], self.answers[i]
        if token != self.tokens.eos:
            answer.append(token)
            if job.on_token is not None:
                job.on_token(token)
        self.done[i] = token == self.tokens.eos or len(answer) >= job.limit or job.cancelled.is_set()
        if self.done[i]:
            finished = "stop" if token == self.tokens.eos else "length"
            job.on_done(Answer(self.tokens.text(answer), len(answer), len(job.ids), finished))


class _Sampling(LogitsProcessor):
    """Sampling at a temperature of its own for each row of a batch that is decoded greedily.

    The largest of `logits / T + Gumbel noise` is an exact draw from softmax(logits / T), so rows that sample and rows
    that do not can share a batch.
    """

    def __init__(self, batch: list[Job]) -> None:
        self.rows = [(i, job.temperature, torch.Generator().manual_seed(job.seed)) for i, job in enumerate(batch) if job.temperature > 0]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary) scores with noise on the rows that sample."""
        scores = scores.float().clone()
        for i, temperature, source in self.rows:
            uniform = torch.rand(scores.shape[1], generator=source).clamp_min(1e-20).to(scores.device)
            scores[i] = scores[i] / temperature - torch.log(-torch.log(uniform))
        return scores
