"""The rows of a run as all ranks see them: encoded once on each node, mapped by every rank of it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import torch.distributed as dist

from training.config import TrainingConfig
from training.data.encoded import TrainingSet
from training.data.examples import Chosen, Encoding, Row, choose_rows, render
from training.data.rows import open_rows
from training.data.tokens import A_DAY, Tokens
from training.errors import BadInputError
from training.files import Folders
from training.model.folder import context_length
from training.scoring.evaluate import HeldOut


@dataclass(frozen=True)
class Dataset:
    """The rows of a run, and what the reports say of them."""

    train: TrainingSet
    held_out: HeldOut
    tokens: Tokens
    fingerprint: str
    splits: dict[str, int]
    unscored: int  # rows of the eval split whose question leaves no room for an answer

    def __str__(self) -> str:
        """In words, for the log."""
        counted = f" ({self.train.counts})" if self.train.too_long else ""
        many, mean = len(self.train.rows), self.train.mean_length
        left = [f"{self.unscored} left out, their questions are too long"] if self.unscored else []
        left += [f"for the loss {self.held_out.encoded.counts}"] if self.held_out.encoded.too_long else []
        noted = f" ({'; '.join(left)})" if left else ""
        scored = f"{len(self.held_out.rows)} rows to score{noted}; splits {self.splits}"
        return f"{many} rows to train on{counted}, {mean:.0f} tokens on average; {scored}"


def prepare(config: TrainingConfig, folders: Folders) -> Dataset:
    """Choose, render and encode. All ranks must call this; when one of them finds the rows unusable, all raise BadInputError."""
    wanted = config.training.max_length
    limit = context_length(folders.base) if wanted == "auto" else wanted
    tokens = Tokens.load(folders.base, A_DAY)
    encoding = Encoding(tokens, limit, config.prompt.loss, config.data.too_long)
    table = open_rows(folders.rows)
    chosen = choose_rows(table, config.data, config.evaluation.rows)
    file = folders.work / "encoded.arrow"
    problem = None
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        try:
            encoding.encode(render(table, chosen.train, config.data, config.prompt), file)
        except BadInputError as error:
            problem = str(error)
    _agree(problem)
    train = TrainingSet.open(file)
    # a tokenizer of its own: nothing that generation does to it may reach the training rows
    apart = Tokens.load(folders.base, A_DAY)
    rows = _scored(config, table, chosen, apart, limit)
    encoded = Encoding(apart, limit, config.prompt.loss, "truncate").encode(rows)
    held_out = HeldOut(rows, encoded, apart, config, train.longest_answer)
    both = train.counts.fingerprint + encoded.counts.fingerprint
    return Dataset(train, held_out, tokens, hashlib.sha256(both.encode()).hexdigest(), chosen.splits, len(chosen.eval) - len(rows))


def _scored(config: TrainingConfig, table: object, chosen: Chosen, tokens: Tokens, limit: int) -> tuple[Row, ...]:
    """The rows that models are compared on: those whose question leaves room for an answer."""
    rows = tuple(render(table, chosen.eval, config.data, config.prompt))
    fitting = tuple(row for row in rows if len(tokens.question(row.example.question)) < limit)
    if not fitting:
        raise BadInputError(f"the questions of all {len(rows)} rows to score are longer than {limit} tokens; raise training.maxLength")
    return fitting


def _agree(problem: str | None) -> None:
    found: list[str | None] = [problem]
    if dist.is_initialized() and dist.get_world_size() > 1:
        found = [None] * dist.get_world_size()
        dist.all_gather_object(found, problem)
    for text in found:
        if text is not None:
            raise BadInputError(text)
