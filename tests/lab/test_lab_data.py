"""The sample data is what the generator writes, and is varied enough that memorising it does not win."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "manifests" / "lab" / "data"
FILES = ("transcripts.jsonl", "frosty_transcripts.jsonl")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def test_generator_reproduces_the_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DATA / "generate.py", "--out", tmp_path], check=True, timeout=60)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), f"{name} is not what generate.py writes"


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        ("transcripts.jsonl", ["instruction", "input", "output", "language"]),
        ("frosty_transcripts.jsonl", ["LANGUAGE", "TRANSCRIPT", "NAME", "LOCATION", "TOY_LIST", "ID"]),
    ],
)
def test_columns_are_the_labs(file: str, columns: list[str]) -> None:
    assert {tuple(row) for row in rows(file)} == {tuple(columns)}


def test_both_files_hold_the_same_calls() -> None:
    for lab2, lab1 in zip(rows(FILES[0]), rows(FILES[1]), strict=True):
        assert json.loads(lab2["input"]) == lab1["TRANSCRIPT"]
        assert json.loads(lab2["output"]) == {"toy_list": lab1["TOY_LIST"], "location": lab1["LOCATION"]}


def test_size_and_languages() -> None:
    languages = Counter(row["language"] for row in rows(FILES[0]))
    assert languages.total() >= 640
    assert set(languages) == {"EN", "ES", "DE", "FR"}
    assert min(languages.values()) >= 100


def test_calls_are_short() -> None:
    # measured with SmolLM2's tokenizer: 3.3 characters a token in English, 2.5 in the others, so 53 to 203 tokens
    for row in rows(FILES[1]):
        tokens = len(row["TRANSCRIPT"]) / (3.3 if row["LANGUAGE"] == "EN" else 2.5)
        assert 50 <= tokens <= 215, row["TRANSCRIPT"]


def test_every_answer_is_in_the_call_in_full() -> None:
    for row in rows(FILES[1]):
        assert row["LOCATION"] in row["TRANSCRIPT"]
        assert all(toy in row["TRANSCRIPT"] for toy in row["TOY_LIST"])


def test_no_call_appears_twice() -> None:
    calls = [row["TRANSCRIPT"] for row in rows(FILES[1])]
    assert len(set(calls)) == len(calls)


def test_many_calls_hold_a_distraction() -> None:
    cities = {row["LOCATION"] for row in rows(FILES[1])}
    toys = {toy for row in rows(FILES[1]) for toy in row["TOY_LIST"]}
    other_city = [row for row in rows(FILES[1]) if any(city in row["TRANSCRIPT"] for city in cities - {row["LOCATION"]})]
    other_toy = [row for row in rows(FILES[1]) if any(toy in row["TRANSCRIPT"] for toy in toys - set(row["TOY_LIST"]))]
    assert len(other_city) >= 150
    assert len(other_toy) >= 200


def test_held_out_rows_show_unseen_toys_and_cities() -> None:
    """With any split by hash a part of the held-out toys is never seen in training; here a hash of the call, eight to two."""

    def held_out(row: dict[str, Any]) -> bool:
        return int(sha256(row["TRANSCRIPT"].encode()).hexdigest(), 16) % 10 >= 8

    train = [row for row in rows(FILES[1]) if not held_out(row)]
    test = [row for row in rows(FILES[1]) if held_out(row)]
    seen_toys = {toy for row in train for toy in row["TOY_LIST"]}
    seen_answers = {(row["LOCATION"], *row["TOY_LIST"]) for row in train}
    mentions = [toy for row in test for toy in row["TOY_LIST"]]
    assert sum(toy not in seen_toys for toy in mentions) / len(mentions) >= 0.08
    assert {row["LOCATION"] for row in test} - {row["LOCATION"] for row in train}
    assert all((row["LOCATION"], *row["TOY_LIST"]) not in seen_answers for row in test)
    assert len({toy for row in rows(FILES[1]) for toy in row["TOY_LIST"]}) >= 150
    assert len({row["LOCATION"] for row in rows(FILES[1])}) >= 100
