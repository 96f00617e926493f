"""Scores of answers, row by row. Pure text; no model in sight.

All scores of a row lie between 0 and 1, and a run's score is the mean over its rows. Names are compared without regard to case
and surrounding space, nothing else is forgiven.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.config import Metric


@dataclass(frozen=True)
class Prediction:
    """One answered row."""

    row_id: str
    question: str
    expected: str
    answer: str
    scores: dict[str, float]


def score(metrics: Iterable[Metric], expected: str, answer: str) -> dict[str, float]:
    """The scores of one answer by those of the metrics that compare texts (perplexity needs the model, see `evaluate`).

    `valid_json`: the answer is a JSON object (or the expected answer is none, and it is not empty).
    `exact_match`: share of the expected plain fields (such as a city) that the answer has right; for an expected
    text the whole text. `field_f1`: F1 over the items of the expected list fields; for a text over its words.
    `rouge_l`: F1 over the longest common subsequence of words.
    """
    wanted, found = _object(expected), _object(answer)
    scores: dict[str, float] = {}
    for metric in metrics:
        match metric:
            case "valid_json":
                scores[metric] = float(found is not None if wanted is not None else bool(answer.strip()))
            case "exact_match":
                scores[metric] = _fields_right(wanted, found) if wanted is not None else float(_key(expected) == _key(answer))
            case "field_f1":
                scores[metric] = _lists_f1(wanted, found) if wanted is not None else _f1(expected.split(), answer.split())
            case "rouge_l":
                scores[metric] = rouge_l(expected, answer)
            case "perplexity":
                pass
    return scores


def rouge_l(expected: str, answer: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004, equal weights), without regard to case and punctuation."""
    wanted, found = re.findall(r"\w+", expected.casefold()), re.findall(r"\w+", answer.casefold())
    if not wanted or not found:
        return float(wanted == found)
    return 2 * _common_subsequence(wanted, found) / (len(wanted) + len(found))


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    One row of the usual table is held as the bits of one number, in which a zero is where the length grows (Hyyrö
    2004): a thousand words against a thousand take a millisecond instead of a tenth of a second.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(first) - row.bit_count()


def mean_scores(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over the rows, to four decimals; empty for no rows."""
    if not rows:
        return {}
    return {name: round(sum(row[name] for row in rows) / len(rows), 4) for name in rows[0]}


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _fields_right(wanted: Mapping[str, Any], found: Mapping[str, Any] | None) -> float:
    plain = {name: value for name, value in wanted.items() if not isinstance(value, list)}
    if not plain:
        return float(wanted == found)
    right = sum(found is not None and name in found and _key(value) == _key(found[name]) for name, value in plain.items())
    return right / len(plain)


def _lists_f1(wanted: Mapping[str, Any], found: Mapping[str, Any] | None) -> float:
    lists = {name: value for name, value in wanted.items() if isinstance(value, list)}
    if not lists:
        return _fields_right(wanted, found)
    total = 0.0
    for name, value in lists.items():
        given = (found or {}).get(name)
        total += _f1(value, given) if isinstance(given, list) else 0.0
    return total / len(lists)


def _f1(wanted: Sequence[Any], found: Sequence[Any]) -> float:
    if not wanted and not found:
        return 1.0
    common = sum((Counter(map(_key, wanted)) & Counter(map(_key, found))).values())
    return 2 * common / (len(wanted) + len(found))


def _key(value: Any) -> str:
    return str(value).strip().casefold()
