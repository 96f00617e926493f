"""Packed documents: laid out rightly, kept apart by every attention, with the gradients of one document at a time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from training_packs import pack
from transformers import Lfm2Config, Lfm2ForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from training.config import Lora, Method
from training.data.packing import Documents, best_fit, micro_batch
from training.errors import BadInputError
from training.loop import summed_loss
from training.model import attention, head
from training.model.forward import install
from training.model.loading import load_model, prepare

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
ON_A_CPU = ["eager", "sdpa"]
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
}


@pytest.fixture(scope="module")
def data() -> Any:
    return pack(vocabulary=250)


def gradients(model: Any, losses: Sequence[torch.Tensor]) -> torch.Tensor:
    model.zero_grad()
    for loss in losses:
        loss.backward()
    return torch.cat([p.grad.float().flatten() for p in model.parameters() if p.grad is not None])


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def document_by_document(model: Any, data: Any, rows: Sequence[int], loss: str) -> torch.Tensor:
    """The reference: transformers' own attention and whole logits, each document alone."""
    losses = []
    for row in rows:
        ids = torch.tensor([data.rows[row].ids.tolist()])
        first = data.rows[row].answer_start if loss == "answer" else 1
        logits = model(input_ids=ids, use_cache=False).logits
        losses.append(functional.cross_entropy(logits[0, first - 1 : -1].float(), ids[0, first:], reduction="sum"))
    return gradients(model, losses)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("loss", ["answer", "all"])
@pytest.mark.parametrize("name", ON_A_CPU)
def test_gradients_of_packed_documents(tiny_base: Path, data: Any, name: str, loss: str, dtype: torch.dtype) -> None:
    rows = [0, 5, 9, 3, 11]
    chosen = attention.choose(name, dtype)
    model = load_model(tiny_base, dtype, attention=chosen).train()
    expected = document_by_document(model, data, rows, loss)
    found = gradients(model, [summed_loss(model, micro_batch(data, rows, 2, loss, width=1024))])
    assert apart(found, expected) < TOLERANCE[dtype]


NEWEST = frozenset({"scale", "window_size", "enable_gqa"})


@pytest.mark.parametrize("takes", [NEWEST, NEWEST - {"enable_gqa"}, frozenset({"is_causal"})], ids=["2.12", "2.11", "2.10"])
def test_what_the_varlen_kernel_is_told(tiny_base: Path, data: Any, takes: frozenset[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel needs a GPU; here a slow one takes the same arguments, in the forms that PyTorch gave them over time."""

    def kernel(q: Any, k: Any, v: Any, ends_q: Any, ends_k: Any, longest_q: int, longest_k: int, **more: Any) -> torch.Tensor:
        assert more.keys() <= takes
        assert more.get("window_size", (-1, 0)) == (-1, 0)
        assert more.get("is_causal", True)
        assert more.get("enable_gqa", False) or k.shape[1] == q.shape[1]
        scale = more.get("scale", q.shape[-1] ** -0.5)
        outputs = []
        for start, end in itertools.pairwise(ends_q.tolist()):
            assert 0 <= end - start <= longest_q
            if end > start:
                part = [states[start:end].transpose(0, 1) for states in (q, k, v)]
                outputs.append(functional.scaled_dot_product_attention(*part, is_causal=True, scale=scale, enable_gqa=True).transpose(0, 1))
        return torch.cat(outputs)

    monkeypatch.setattr(attention, "varlen_attn", kernel)
    monkeypatch.setattr(attention, "VARLEN_TAKES", takes)
    model = load_model(tiny_base, torch.float32).train()
    expected = document_by_document(model, data, [0, 5, 9], "answer")
    model.config._attn_implementation = attention.PREFIX + "varlen"
    assert apart(gradients(model, [summed_loss(model, micro_batch(data, [0, 5, 9], 2, "answer"))]), expected) < 1e-4


def test_a_document_that_sees_its_neighbour_would_be_found(tiny_base: Path, data: Any) -> None:
    model = load_model(tiny_base, torch.float32, attention=attention.choose("sdpa", torch.float32)).train()
    batch = micro_batch(data, [0, 5, 9], 2, "answer")
    merged = Documents(lengths=(sum(batch.documents.lengths),), positions=batch.documents.positions, ends=batch.documents.ends, longest=512)
    together = model(input_ids=batch.ids, documents=merged, keep=batch.keep, targets=batch.targets)
    assert apart(gradients(model, [together]), document_by_document(model, data, [0, 5, 9], "answer")) > 0.01


@pytest.mark.parametrize("name", ON_A_CPU)
def test_a_model_that_looks_back_a_few_tokens_only(data: Any, name: str) -> None:
    torch.manual_seed(3)
    config = MistralConfig(**SHAPE, sliding_window=16)
    model = install(MistralForCausalLM(config).train())
    model.config._attn_implementation = "eager"
    expected = document_by_document(model, data, [0, 5], "answer")
    model.config._attn_implementation = attention.PREFIX + name
    found = gradients(model, [summed_loss(model, micro_batch(data, [0, 5], 2, "answer"))])
    assert apart(found, expected) < 1e-4


@pytest.mark.parametrize("context", [64, 200], ids=["rows longer than the context", "padding longer than the context"])
@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_a_model_that_turns_by_other_angles_in_long_texts(data: Any, kind: str, context: int) -> None:
    """Rows have 41 to 130 tokens: what is beside a row, or came before it, must not choose its angles."""
    torch.manual_seed(3)
    angles: dict[str, Any] = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0}
    if kind == "longrope":
        angles |= {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "original_max_position_embeddings": context}
    config = LlamaConfig(**SHAPE, max_position_embeddings=context, rope_parameters=angles, initializer_range=0.2)
    model, rows, parts = LlamaForCausalLM(config).train(), [2, 1, 5, 7], []
    for row in rows:
        model.model.rotary_emb = LlamaRotaryEmbedding(config)  # one that has seen no other row
        parts.append(document_by_document(model, data, [row], "answer"))
    model.config._attn_implementation = attention.choose("sdpa", torch.float32)
    found = gradients(install(model), [summed_loss(model, micro_batch(data, rows, 2, "answer", width=1024))])
    assert apart(found, torch.stack(parts).sum(0)) < 1e-4


def test_a_model_that_carries_a_state_from_row_to_row_is_refused() -> None:
    torch.manual_seed(3)
    model = Lfm2ForCausalLM(Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"], initializer_range=0.2)).eval()
    with pytest.raises(BadInputError, match="lfm2 cannot be trained here: rows that are packed together would see each other"):
        install(model)


def test_a_model_in_training_answers_as_always(tiny_base: Path) -> None:
    ids = torch.arange(5, 40).unsqueeze(0)
    plain = load_model(tiny_base, torch.float32)
    ours = load_model(tiny_base, torch.float32, attention=attention.choose("eager", torch.float32))
    assert torch.allclose(ours(input_ids=ids).logits, plain(input_ids=ids).logits, atol=1e-6)
    assert ours.generate(input_ids=ids, max_new_tokens=5).tolist() == plain.generate(input_ids=ids, max_new_tokens=5).tolist()
    assert ours.config._attn_implementation == attention.PREFIX + "eager"


@pytest.mark.parametrize(("wanted", "words"), [("varlen", "needs a GPU"), ("flex", "cannot train on a CPU")], ids=["varlen", "flex"])
def test_attention_that_does_not_run_here_is_refused(wanted: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        attention.choose(wanted, torch.float32)


@pytest.mark.parametrize("wanted", ["varlen", "flex"])
def test_attention_that_cannot_drop_out_is_refused_for_models_that_do(wanted: str) -> None:
    with pytest.raises(BadInputError, match=f"{wanted} cannot leave out attention weights.*attention_dropout: 0.1"):
        attention.choose(wanted, torch.bfloat16, dropout=0.1)
    assert attention.choose("auto", torch.float32, dropout=0.1) == attention.PREFIX + "sdpa"


@pytest.mark.parametrize("backend", attention.BACKENDS)
def test_layers_that_are_told_lengths_are_not_compiled(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them would be compiled in."""
    name = attention.PREFIX + backend
    told = attention.arguments(name, Documents.of([3, 4]))
    assert attention.compiles(True, name) is ("document_lengths" not in told)
    assert not attention.compiles("auto", name), "here is no GPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert attention.compiles("auto", name) is attention.compiles(True, name)
    assert not attention.compiles(False, name)


@pytest.mark.parametrize("trained", [False, True], ids=["frozen head", "trained head"])
def test_the_loss_in_chunks(trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CHUNK", 7)
    torch.manual_seed(1)
    linear = torch.nn.Linear(16, 50, bias=False).requires_grad_(trained)
    hidden, targets = torch.randn(23, 16, requires_grad=True), torch.randint(0, 50, (23,))
    expected = functional.cross_entropy(linear(hidden), targets, reduction="sum")
    wanted = torch.autograd.grad(expected * 0.3, [hidden, *([linear.weight] if trained else [])])
    found = head.head_loss(linear, hidden, targets)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for one, other in zip(torch.autograd.grad(found * 0.3, [hidden, *([linear.weight] if trained else [])]), wanted, strict=True):
        assert apart(one, other) < 1e-5


def test_a_head_with_an_adapter_of_its_own(data: Any) -> None:
    torch.manual_seed(3)
    config = MistralConfig(**SHAPE)
    model = prepare(install(MistralForCausalLM(config)), Method(lora=Lora(rank=4, targets=["q_proj", "lm_head"])))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    expected = document_by_document(model, data, [3], "answer")
    assert apart(gradients(model, [summed_loss(model, micro_batch(data, [3], 2, "answer"))]), expected) < 1e-4


def test_a_micro_batch_without_rows_has_no_loss_and_no_gradient(tiny_base: Path, data: Any) -> None:
    model = load_model(tiny_base, torch.float32, attention=attention.choose("auto", torch.float32)).train()
    batch = micro_batch(data, [], 2, "answer")
    loss = summed_loss(model, batch)
    assert (loss.item(), batch.trained, batch.tokens) == (0.0, 0, 0)
    assert gradients(model, [loss]).abs().max() == 0


def test_documents_tell_a_kernel_where_they_end() -> None:
    documents = Documents.of([5, 3, 300])
    assert documents.ends[:5].tolist() == [0, 5, 8, 308, 308]
    assert len(documents.ends) == 17
    assert documents.positions[0, :9].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0]
    assert documents.longest == 512


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=80), capacity=st.integers(60, 200), shift=st.integers(0, 79))
def test_best_fit(lengths: list[int], capacity: int, shift: int) -> None:
    order = list(range(len(lengths)))
    bins = best_fit(lengths, order, capacity)
    turned = best_fit(lengths, order[shift:] + order[:shift], capacity)
    assert sorted(document for rows in bins for document in rows) == order
    sums = [sum(lengths[row] for row in rows) for rows in bins]
    assert max(sums) <= capacity
    assert len(turned) == len(bins), "all epochs have as many bins"
    assert sum(sum(pair) <= capacity for pair in zip(sorted(sums), sorted(sums)[1:], strict=False)) == 0, "two bins would fit into one"


def test_packing_fills_its_bins() -> None:
    torch.manual_seed(0)
    lengths = torch.randint(100, 900, (500,)).tolist()
    bins = best_fit(lengths, range(500), 4096)
    assert sum(lengths) / (4096 * len(bins)) > 0.97
