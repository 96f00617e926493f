"""What is trained, and how the memory for it is spread."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from training.config.section import Positive, Section, exactly_one, later

Technique = Literal["full", "lora", "qlora"]


class Lora(Section):
    """Low-rank adapters on top of frozen weights."""

    rank: Positive = Field(default=16, description="Width of the adapters.")
    alpha: Positive = Field(default=32, le=1_000_000, description="Scale of the adapters; the effective factor is alpha / rank.")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = Field(
        default="all-linear", description="Module names that get an adapter; all-linear: every projection but the head."
    )
    dora: bool = later(
        False, description="DoRA: the length of every weight row is trained apart from its direction; closer to full training, slower."
    )


class Method(Section):
    """What is trained: all weights (`full`), adapters (`lora`, the default), or adapters on a base in 4 bits (`qlora`)."""

    full: bool = False
    lora: Lora | None = None
    qlora: Lora | None = later(
        None, description="LoRA on a base kept as nf4, double quantised: a quarter of the memory, about a quarter slower (GPU)."
    )

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: object) -> object:
        if value == "full":
            return {"full": True}
        if value == {}:
            return {"lora": {}}
        return {value: {}} if value in ("lora", "qlora") else value

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        exactly_one("method", {"full": self.full, "lora": self.lora, "qlora": self.qlora})
        return self

    @property
    def adapter(self) -> Lora | None:
        """The adapters, whatever the base is kept in; None when all weights are trained."""
        return self.lora or self.qlora

    @property
    def technique(self) -> Technique:
        """Which of the three."""
        return "full" if self.adapter is None else "lora" if self.qlora is None else "qlora"

    @property
    def name(self) -> str:
        """As people say it: full, LoRA, DoRA, QLoRA, QDoRA."""
        if self.adapter is None:
            return "full"
        return ("Q" if self.qlora is not None else "") + ("DoRA" if self.adapter.dora else "LoRA")


class DeepSpeed(Section):
    """How the optimizer's state, gradients and weights are spread over the ranks."""

    zero: Literal["auto", 0, 1, 2, 3] = Field(default="auto", description="ZeRO stage; auto chooses and says why.")
    offload: Literal["auto", "none", "optimizer", "parameters"] = later(
        "auto",
        description="Keep the optimizer's state, or the weights too, in host memory (GPU only); auto: where all weights are trained "
        "and nothing else fits.",
    )

    @model_validator(mode="after")
    def _offload_fits_the_stage(self) -> Self:
        if self.offload == "parameters" and self.zero not in ("auto", 3):
            raise ValueError("offload: parameters needs zero: 3 (or auto)")
        if self.offload == "optimizer" and self.zero == 0:
            raise ValueError("offload: optimizer needs zero: 1, 2 or 3 (or auto)")
        return self
