"""What all contestants train on: the same random model, the same documents, the same adapters.

Weights and tokens are random, so nothing has to be downloaded. Lengths follow the lab's transcripts (a mean of 520 tokens, of which 26 are
the answer) or a wide distribution. On a CPU everything is small and the figures are good as ratios only.
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

MARK = "RESULT "  # before what a process has found, on its standard output

SIZES: dict[str, dict[str, int]] = {
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000},
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": 32000,
    },
    "small": {"hidden_size": 320, "intermediate_size": 896, "num_hidden_layers": 5, "num_attention_heads": 5, "vocab_size": 12000},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 500},
}


@dataclass(frozen=True)
class Workload:
    """One contest. `tokens` is what a step takes: one micro-batch of packed documents, or about as many padded ones."""

    size: str
    lengths: str  # lab | wide
    tokens: int
    warmup: int
    steps: int
    documents: int
    scale: int  # documents are shorter by this factor
    rank: int = 16
    learning_rate: float = 2e-4
    seed: int = 0

    @classmethod
    def standard(cls, size: str, lengths: str) -> Workload:
        """The contest's own settings for a model size."""
        if size in ("small", "tiny"):
            return cls(size, lengths, tokens=1024, warmup=2, steps=6, documents=160, scale=4)
        return cls(size, lengths, tokens=8192, warmup=10, steps=20, documents=2000, scale=1)

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if torch.cuda.is_available() else torch.float32

    def document(self) -> dict[str, Any]:
        return asdict(self)

    def rows(self) -> list[Document]:
        """Documents with random tokens; the last tokens of each are its answer."""
        random = np.random.default_rng(self.seed)
        drawn = random.normal(520, 95, self.documents) if self.lengths == "lab" else random.lognormal(5.9, 0.8, self.documents)
        longest = 900 if self.lengths == "lab" else 4096
        lengths = np.clip(drawn, 64, longest).astype(int) // self.scale
        vocabulary = SIZES[self.size]["vocab_size"]
        return [Document(random.integers(3, vocabulary, n, dtype=np.int32), max(4, 26 // self.scale)) for n in lengths]

    def config(self) -> Any:
        from transformers import LlamaConfig

        return LlamaConfig(**SIZES[self.size], max_position_embeddings=8192, bos_token_id=1, eos_token_id=2, pad_token_id=2)

    def model(self, attention: str) -> Any:
        """A Llama of this size with random weights, drawn where they are used."""
        from transformers import AutoModelForCausalLM

        torch.manual_seed(self.seed)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            return AutoModelForCausalLM.from_config(self.config(), dtype=self.dtype, attn_implementation=attention)

    def folder(self, path: Path) -> Path:
        """A folder with the model's config.json, for the planner."""
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps(self.config().to_dict(), default=str))
        return path


@dataclass(frozen=True)
class Document:
    """An encoded row, as the loop wants it."""

    ids: Any
    answer_tokens: int

    @property
    def answer_start(self) -> int:
        return len(self.ids) - self.answer_tokens

    def learned(self, loss: str) -> Any:
        return np.arange(self.answer_start if loss == "answer" else 1, len(self.ids))


@dataclass(frozen=True)
class Rows:
    """The documents as a training set."""

    rows: list[Document]

    @property
    def lengths(self) -> list[int]:
        return [len(row.ids) for row in self.rows]


class Clock:
    """Marks the ends of steps: by events on a GPU, read when all is done; elsewhere by the CPU time of this process.

    CPU time, because the ratios of one thread's work stay much the same on a machine that has other things to do.
    """

    def __init__(self) -> None:
        self.marks: list[Any] = []

    def mark(self) -> None:
        if torch.cuda.is_available():
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.process_time())

    def seconds(self) -> list[float]:
        """Of each step, between its mark and the one before."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            return [one.elapsed_time(two) / 1000 for one, two in zip(self.marks, self.marks[1:], strict=False)]
        return [two - one for one, two in zip(self.marks, self.marks[1:], strict=False)]


def memory_bytes() -> int:
    """The most that was held: on the GPU, else by this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
