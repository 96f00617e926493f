"""Layers changed for speed and memory compute what they computed before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from training_packs import pack
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from training.config import Lora, Method
from training.data.packing import micro_batch
from training.loop import summed_loss
from training.model import attention, blocks, lora_fused
from training.model.forward import install
from training.model.loading import prepare

FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "head_dim": 8,
}


@pytest.fixture(scope="module")
def data() -> Any:
    return pack()


def adapted(family: str = "llama", dtype: torch.dtype = torch.float32, method: Method | None = None, **more: float) -> Any:
    """A random model whose adapters already do something."""
    torch.manual_seed(5)
    config, kind = FAMILIES[family]
    base = install(kind(config(**SHAPE, **more)).to(dtype).eval())  # as it is loaded: the trial of it must not draw
    base.config._attn_implementation = attention.choose("sdpa", dtype)
    model = prepare(base, method or Method(lora=Lora(rank=4)))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def learn(model: Any, data: Any) -> dict[str, torch.Tensor]:
    """Loss and gradients of one packed micro-batch."""
    model.zero_grad()
    loss = summed_loss(model, micro_batch(data, [0, 5, 9], 2, "answer"))
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {**found, "loss": loss.detach()}


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The relative difference of two gradients."""
    assert one.keys() == other.keys()
    first, second = (torch.cat([found[name].float().flatten() for name in one]) for found in (one, other))
    return float((first - second).norm() / second.norm())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_fused_adapters_have_the_gradients_of_pefts(family: str, dtype: torch.dtype, tolerance: float, data: Any) -> None:
    model = adapted(family, dtype)
    expected = learn(model, data)
    assert lora_fused.install(model) == 21, "seven projections of three layers"
    assert apart(learn(model, data), expected) < tolerance


@pytest.mark.parametrize(
    ("method", "taken", "reason"),
    [
        (Lora(rank=4, dropout=0.1), 0, "dropout draws for each projection"),
        (Lora(rank=4, targets=["q_proj", "v_proj"]), 0, "k has no adapter"),
        (Lora(rank=4, targets=["q_proj", "k_proj", "v_proj"]), 9, "attention only"),
    ],
)
def test_what_is_not_plain_stays_as_it_is(method: Lora, taken: int, reason: str, data: Any) -> None:
    model = adapted(method=Method(lora=method))
    assert lora_fused.install(model) == taken, reason
    assert learn(model, data)["loss"] > 0


def test_answers_come_from_pefts_own_layers(data: Any) -> None:
    model = adapted()
    ids = torch.arange(5, 40).unsqueeze(0)
    with torch.no_grad():
        before = model(input_ids=ids).logits
        assert blocks.prepare(model, stage=1, checkpointed=2, compiled=False).fused == 21
        assert torch.equal(model(input_ids=ids).logits, before)
        with model.disable_adapter():
            assert not torch.allclose(model(input_ids=ids).logits, before)


@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("layers", [1, 3, 99])
def test_a_checkpointed_layer_runs_twice_and_gives_the_same(layers: int, stage: int, data: Any) -> None:
    model = adapted()
    expected, passes = learn(model, data), [0, 0, 0]
    for number, layer in enumerate(blocks.decoder_layers(model)):
        layer.input_layernorm.register_forward_hook(lambda *_, number=number: passes.__setitem__(number, passes[number] + 1))
    done = blocks.prepare(model, stage=stage, checkpointed=layers, compiled=False)
    assert apart(learn(model, data), expected) < 1e-5
    assert passes == [2 if number < layers else 1 for number in range(3)]
    assert (done.checkpointed, done.fused) == (min(layers, 3), 21 if stage < 3 else 0)


@pytest.mark.parametrize(
    ("dropout", "more"), [(0.5, {}), (0.0, {"attention_dropout": 0.5})], ids=["of the adapters' input", "of attention's weights"]
)
def test_dropout_is_drawn_the_same_in_both_passes(dropout: float, more: dict[str, float], data: Any) -> None:
    model = adapted(method=Method(lora=Lora(rank=4, dropout=dropout)), **more)
    torch.manual_seed(3)
    expected = learn(model, data)
    assert apart(learn(model, data), expected) > 1e-2, "another draw gives other gradients"
    blocks.prepare(model, stage=1, checkpointed=3, compiled=False)
    torch.manual_seed(3)
    assert apart(learn(model, data), expected) < 1e-5


def test_a_block_compiles_into_one_graph(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captured and differentiated as on a GPU; only the generation of kernels, which takes minutes here, is left out."""
    model = adapted()
    expected = learn(model, data)
    monkeypatch.setattr(torch, "compile", _without_kernels(torch.compile))
    assert blocks.prepare(model, stage=1, checkpointed=1, compiled=True).compiled
    assert apart(learn(model, data), expected) < 1e-5


def _without_kernels(plain: Any) -> Any:
    return lambda function, **options: plain(function, backend="aot_eager", fullgraph=True, **options)


def test_the_layers_of_a_full_model(data: Any) -> None:
    torch.manual_seed(5)
    model = install(LlamaForCausalLM(LlamaConfig(**SHAPE))).train()
    model.config._attn_implementation = attention.choose("auto", torch.float32)
    expected = learn(model, data)
    assert str(blocks.prepare(model, stage=2, checkpointed=1, compiled=False)) == "1 of 3 layers checkpointed"
    assert apart(learn(model, data), expected) < 1e-5
