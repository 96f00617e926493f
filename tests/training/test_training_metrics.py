"""Scores of single answers."""

from __future__ import annotations

import pytest

from training.metrics import mean_scores, score

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
