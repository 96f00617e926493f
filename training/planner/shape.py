"""The sizes of a language model of the Llama family, read from its `config.json`, and what can be counted from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_CONTEXT = 2048


class UnknownShapeError(ValueError):
    """The model is of a make that the planner has no formulas for. The message says what is missing."""


@dataclass(frozen=True)
class Shape:
    """Llama, Mistral, Qwen, SmolLM and their like: gated feed-forward, grouped attention. Counts are of numbers, not of bytes."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool = False
    context: int = DEFAULT_CONTEXT
    dropout: float = 0.0  # of attention's weights, while it trains

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """From the document in `config.json`.

        Raises:
            UnknownShapeError: a size is missing, or it is a mixture of experts.
        """
        if config.get("num_local_experts") or config.get("num_experts"):
            raise UnknownShapeError(f"{config.get('model_type') or 'the model'} is a mixture of experts, which the planner does not know")
        try:
            hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
            return cls(
                hidden=hidden,
                layers=int(config["num_hidden_layers"]),
                heads=heads,
                kv_heads=int(config.get("num_key_value_heads") or heads),
                head_dim=int(config.get("head_dim") or hidden // heads),
                ffn=int(config["intermediate_size"]),
                vocab=int(config["vocab_size"]),
                tied=bool(config.get("tie_word_embeddings", False)),
                context=int(config.get("max_position_embeddings") or DEFAULT_CONTEXT),
                dropout=float(config.get("attention_dropout") or 0.0),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UnknownShapeError(f"config.json does not say what a model of the Llama family does: {error}") from None

    @classmethod
    def read(cls, folder: Path) -> Shape | None:
        """Of the model in a folder; None for one without formulas."""
        try:
            return cls.of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        except UnknownShapeError:
            return None

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """The linear maps of one layer, (numbers in, numbers out)."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.ffn),
            "up_proj": (self.hidden, self.ffn),
            "down_proj": (self.ffn, self.hidden),
        }

    @property
    def linear(self) -> int:
        """Weights of all layers' linear maps: what QLoRA packs."""
        return self.layers * sum(wide * high for wide, high in self.projections.values())

    @property
    def block(self) -> int:
        """Weights of one layer."""
        return self.linear // self.layers + 2 * self.hidden

    @property
    def embedding(self) -> int:
        return self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        return self.layers * self.block + self.hidden + self.embedding * (1 if self.tied else 2)

    @property
    def matmul(self) -> int:
        """Weights that every token is multiplied with, the head's among them."""
        return self.linear + self.embedding

    @property
    def largest(self) -> int:
        """Weights of the largest single matrix, which ZeRO-3 gathers whole."""
        return max(self.embedding, *(wide * high for wide, high in self.projections.values()))

    def adapters(self, rank: int, targets: str | Iterable[str] = "all-linear", *, dora: bool = False) -> int:
        """Trained numbers of LoRA of a rank; DoRA adds one magnitude for each number that a target puts out."""
        chosen = self.projections
        if not isinstance(targets, str):
            wanted = tuple(targets)
            chosen = {name: size for name, size in chosen.items() if name.endswith(wanted)}
        return self.layers * sum(rank * (wide + high) + (high if dora else 0) for wide, high in chosen.values())
