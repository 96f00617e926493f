"""Methods on every architecture of the family: which layers get adapters, what is trained, and that merging changes no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_tiny import tiny_tokenizer
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from training.config import Lora, Method
from training.errors import BadInputError
from training.model.adapters import linear_layers, targets
from training.model.loading import load_model, merge, parameter_counts, prepare, tuned_model

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": len(tiny_tokenizer()),
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3_ROPE["original_max_position_embeddings"] = 64
FAMILIES = {
    "llama 2": LlamaConfig(**SIZES, tie_word_embeddings=False),
    "llama 3": LlamaConfig(**SIZES, num_key_value_heads=2, rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True),
    "mistral": MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=64),
    "qwen 2": Qwen2Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen 3": Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=16),
    "smollm 3": SmolLM3Config(**SIZES, num_key_value_heads=2),
}
METHODS = {
    "lora": Method(lora=Lora(rank=4)),
    "dora": Method(lora=Lora(rank=4, dora=True)),
    "qlora": Method(qlora=Lora(rank=4)),
    "qdora": Method(qlora=Lora(rank=4, dora=True)),
}
PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
IDS = torch.arange(5, 45).unsqueeze(0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    def write(name: str, config: PreTrainedConfig) -> Path:
        torch.manual_seed(7)
        folder = tmp_path_factory.mktemp(name.replace(" ", ""))
        AutoModelForCausalLM.from_config(config).save_pretrained(str(folder))
        return folder

    return {name: write(name, config) for name, config in FAMILIES.items()}


def stirred(model: Any) -> Any:
    """The adapters away from zero, so that they change something."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
        if "magnitude" in name:
            parameter.data *= 1.1
    return model


def trained_weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_a_merged_model_answers_as_the_one_with_adapters(folders: dict[str, Path], family: str, method: str) -> None:
    adapted = stirred(prepare(load_model(folders[family], torch.float32), METHODS[method]))
    found = {name.split(".")[-4] for name in trained_weights(adapted) if "lora_A" in name}
    assert found == PROJECTIONS, "every projection, and not the head"
    adapted(input_ids=IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapted.parameters() if p.requires_grad)
    again = tuned_model(folders[family], METHODS[method], trained_weights(adapted), torch.float32)
    logits = adapted.eval()(input_ids=IDS).logits
    base = load_model(folders[family], torch.float32)(input_ids=IDS).logits
    assert (logits - base).abs().max() > 0.01, "else equal answers would prove nothing"
    assert torch.allclose(merge(again)(input_ids=IDS).logits, logits, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_weights_are_trained_with_method_full(folders: dict[str, Path], family: str) -> None:
    model = prepare(load_model(folders[family], torch.float32), Method(full=True))
    trained, total = parameter_counts(model)
    assert trained == total
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("family", ["llama 3", "qwen 3"])
@pytest.mark.parametrize("method", ["qlora", "qdora"])
def test_adapters_trained_on_four_bits_merge_into_the_whole_base(folders: dict[str, Path], family: str, method: str) -> None:
    whole = load_model(folders[family], torch.float32)
    quantised = load_model(folders[family], torch.float32, four_bit=True)
    names = linear_layers(quantised)
    assert {name.rpartition(".")[2] for name in names} == PROJECTIONS
    kept = {name: quantised.get_submodule(name).weight for name in names}
    assert all(weight.quant_state.quant_type == "nf4" and weight.quant_state.nested for weight in kept.values())
    assert sum(weight.nbytes for weight in kept.values()) * 8 == sum(whole.get_submodule(name).weight.nbytes for name in names)

    adapted = prepare(quantised, METHODS[method])
    assert parameter_counts(adapted) == parameter_counts(
        prepare(load_model(folders[family], torch.float32), METHODS[method.removeprefix("q")])
    )
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(4):
        loss = adapted(input_ids=IDS, labels=IDS).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0], losses

    trained = trained_weights(adapted)
    with_adapters = tuned_model(folders[family], METHODS[method], trained, torch.float32)
    expected = with_adapters(input_ids=IDS).logits
    merged = merge(with_adapters)
    assert torch.allclose(merged(input_ids=IDS).logits, expected, atol=2e-5)
    assert {p.dtype for p in merged.parameters()} == {torch.float32}, "nothing of the four bits is left"
    if method == "qlora":
        change = merged.get_submodule(names[0]).weight - whole.get_submodule(names[0]).weight
        up, down = (trained[f"base_model.model.{names[0]}.lora_{part}.default.weight"] for part in "BA")
        assert torch.allclose(change, 32 / 4 * up @ down, atol=1e-6), "alpha / rank times B A, on the weights of the file"


def test_a_look_in_between_leaves_four_bits_as_they_were(folders: dict[str, Path]) -> None:
    adapted = stirred(prepare(load_model(folders["llama 3"], torch.float32, four_bit=True), METHODS["qlora"]))
    before = adapted(input_ids=IDS, labels=IDS).loss
    adapted.eval()
    with torch.no_grad():
        seen = adapted(input_ids=IDS, labels=IDS).loss
    after = adapted.train()(input_ids=IDS, labels=IDS).loss
    assert before.item() == seen.item() == after.item()


@pytest.mark.parametrize(
    ("wanted", "family", "words"),
    [
        (["q_proj", "vproj"], "llama 2", "no module 'vproj'; its linear layers are down_proj, gate_proj"),
        (["lm_head"], "llama 3", "tied"),
        (["embed_tokens"], "qwen 2", "tied"),
    ],
)
def test_targets_that_would_not_do_what_they_say(folders: dict[str, Path], wanted: list[str], family: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        prepare(load_model(folders[family], torch.float32), Method(lora=Lora(targets=wanted)))


def test_named_targets_are_taken_and_no_others(folders: dict[str, Path]) -> None:
    model = load_model(folders["llama 2"], torch.float32)
    assert targets(model, Lora(targets=["layers.1.self_attn.q_proj"])) == ["model.layers.1.self_attn.q_proj"]
    adapted = prepare(model, Method(lora=Lora(rank=2, targets=["layers.1.self_attn.q_proj"])))
    assert {name.partition(".lora_")[0] for name in trained_weights(adapted)} == {"base_model.model.model.layers.1.self_attn.q_proj"}


def test_an_untied_head_can_be_a_target(folders: dict[str, Path]) -> None:
    adapted = stirred(
        prepare(load_model(folders["llama 2"], torch.float32), Method(lora=Lora(rank=2, targets=["q_proj", "lm_head"])))
    ).eval()
    before = adapted(input_ids=IDS).logits
    assert torch.allclose(merge(adapted)(input_ids=IDS).logits, before, atol=2e-5)


def test_four_bits_without_the_library_say_what_to_do(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.model.loading.find_spec", lambda name: None)
    with pytest.raises(BadInputError, match="needs bitsandbytes"):
        load_model(folders["llama 2"], torch.float32, four_bit=True)
