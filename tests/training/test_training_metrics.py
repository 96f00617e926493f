"""Scores of single answers."""

from __future__ import annotations

import random

import pytest
import torch

from training.hardware import free_gpu_memory
from training.scoring.evaluate import rows_at_once
from training.scoring.metrics import mean_scores, rouge_l, score

WANTED = '{"toy_list": ["Kite", "Red Drum"], "location": "Oslo"}'


@pytest.mark.parametrize(
    ("answer", "valid", "exact", "f1", "reason"),
    [
        (WANTED, 1, 1, 1, "the same"),
        ('{"location": " oslo ", "toy_list": ["red drum", "KITE"]}', 1, 1, 1, "order, case and space are forgiven"),
        ('{"toy_list": ["Kite"], "location": "Bern"}', 1, 0, 2 / 3, "one of two toys, another city"),
        ('{"toy_list": ["Kite", "Kite", "Kite", "Kite"], "location": "Oslo"}', 1, 1, 1 / 3, "repetition costs"),
        ('{"toy_list": "Kite", "location": "Oslo"}', 1, 1, 0, "a text is no list"),
        ("{}", 1, 0, 0, "valid, but empty"),
        ('["Kite"]', 0, 0, 0, "JSON, but no object"),
        (f"Sure! {WANTED}", 0, 0, 0, "words around it make it no JSON"),
        ("", 0, 0, 0, "nothing"),
        ("[" * 100000, 0, 0, 0, "a bomb"),
    ],
)
def test_json_answers(answer: str, valid: float, exact: float, f1: float, reason: str) -> None:
    found = score(["valid_json", "exact_match", "field_f1"], WANTED, answer)
    assert found == pytest.approx({"valid_json": valid, "exact_match": exact, "field_f1": f1}), reason


def test_text_answers() -> None:
    found = score(["valid_json", "exact_match", "field_f1"], "the red kite", "the blue kite")
    assert found == pytest.approx({"valid_json": 1, "exact_match": 0, "field_f1": 2 / 3})


def test_both_lists_empty_is_right() -> None:
    assert score(["field_f1"], '{"toy_list": []}', '{"toy_list": []}') == {"field_f1": 1.0}


def test_mean() -> None:
    assert mean_scores([{"a": 1.0}, {"a": 0.0}, {"a": 0.0}]) == {"a": 0.3333}
    assert mean_scores([]) == {}


@pytest.mark.parametrize(
    ("wanted", "answer", "expected", "reason"),
    [
        ("police killed the gunman", "police kill the gunman", 3 / 4, "Lin's example: police the gunman"),
        ("police killed the gunman", "the gunman kill police", 2 / 4, "the same words, another order"),
        ("The kite, red!", "the KITE red", 1, "neither case nor punctuation counts"),
        ("a b", "a b c d", 2 * 2 / 6, "what is too much costs"),
        ("Füße", "FÜSSE", 1, "folded, not only lowered"),
        ("a", "", 0, "nothing"),
        ("", "", 1, "nothing was wanted"),
        ("", "a", 0, "something where nothing was wanted"),
    ],
)
def test_rouge_l(wanted: str, answer: str, expected: float, reason: str) -> None:
    assert rouge_l(wanted, answer) == pytest.approx(expected), reason
    assert score(["rouge_l", "perplexity"], wanted, answer) == {"rouge_l": rouge_l(wanted, answer)}, "perplexity needs the model"


def test_rouge_l_finds_the_longest_subsequence_as_the_usual_table_does() -> None:
    chance = random.Random(5)
    for _ in range(300):
        first, second = ([chance.choice("abcd") for _ in range(chance.randrange(1, 12))] for _ in range(2))
        table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
        for i, one in enumerate(first):
            for j, other in enumerate(second):
                table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
        expected = 2 * table[-1][-1] / (len(first) + len(second))
        assert rouge_l(" ".join(first), " ".join(second)) == pytest.approx(expected), (first, second)


@pytest.mark.parametrize(
    ("wanted", "longest", "free", "rows", "reason"),
    [
        (8, 1024, 8 << 30, 8, "half a megabyte a token: 8 rows of half a gigabyte are half of what is free"),
        (8, 2048, 8 << 30, 4, "rows twice as long"),
        (2, 1024, 8 << 30, 2, "no more than wanted"),
        (8, 1024, 1 << 20, 1, "one at least: there is no smaller way to answer"),
    ],
)
def test_as_many_rows_are_answered_together_as_there_is_room_for(wanted: int, longest: int, free: float, rows: int, reason: str) -> None:
    llama = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008, "vocab_size": 32000}
    assert rows_at_once(wanted, longest, llama, 2, free) == rows, reason
    assert rows_at_once(wanted, longest, {}, 2, free) == wanted, "a model without formulas"


def test_what_torch_holds_for_nothing_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a step the allocator keeps what the activations took: nearly all of the GPU."""
    for name, value in {"mem_get_info": (1 << 30, 80 << 30), "memory_reserved": 70 << 30, "memory_allocated": 20 << 30}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert free_gpu_memory() == 51 << 30
