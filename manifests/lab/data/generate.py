"""Writes the lab's sample data: short calls to a holiday wish line, with the answer that a model shall extract.

    python manifests/lab/data/generate.py [--out FOLDER]

The same script and `vocabulary.json` always give the same bytes. Calls are built from turns (greeting, name and city, wish, a toy that is
turned down, small talk that may name another city, confirmation), so that the right answer is always in the call, and copying the first
city or every toy is not enough. Toys are made-up names, a brand and a product, of which there are more than rows that use each: a part of
every split is made of toys and cities that the training rows never show.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
SEED = 20240111
INSTRUCTION = (
    "Extract JSON response with 'location' and 'toy_list' as keys. 'location': Location of the caller. Include city only."
    "'toy_list': List of toy names from the caller."
)
T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One call and its right answer. `turns` are (speaker, text)."""

    language: str
    name: str
    city: str
    toys: tuple[str, ...]
    turns: tuple[tuple[str, str], ...]

    @property
    def transcript(self) -> str:
        return "\n".join(f"{speaker}: {text}" for speaker, text in self.turns)


class Dice:
    """Choices by `random()` alone: the one method whose sequence Python promises for all versions."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  sample data, not a secret

    def chance(self, share: float) -> bool:
        return self._random.random() < share

    def pick(self, items: Sequence[T], *, tail: float = 1.0) -> T:
        """One item; `tail` above 1 favours the front, so that the last ones are rare."""
        return items[int(len(items) * self._random.random() ** tail)]

    def distinct(self, items: Sequence[T], count: int) -> list[T]:
        found: list[T] = []
        while len(found) < count:
            item = self.pick(items)
            if item not in found:
                found.append(item)
        return found

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return [item for _, item in sorted(((self._random.random(), index), item) for index, item in enumerate(items))]


def make_call(language: str, words: dict[str, Any], toys: Sequence[str], dice: Dice) -> Call:
    """One call: an opening, the wish, up to two distractions, and the confirmation that names every wanted toy in full."""
    name, city = dice.pick(words["names"]), dice.pick(words["cities"], tail=1.6)
    other = dice.pick([place for place in words["cities"] if place != city])
    wanted = dice.distinct(toys, dice.pick((1, 1, 1, 2, 2, 3)))
    unwanted = dice.pick([toy for toy in toys if toy not in wanted])
    fields = {
        "name": name,
        "city": city,
        "other": other,
        "no": unwanted,
        "child": dice.pick(words["children"]),
        "toys": words["and"].join([*([", ".join(wanted[:-1])] if wanted[:-1] else []), wanted[-1]]),
        "wish": words["and"].join(_spoken(toy, dice) for toy in wanted),
    }

    def turn(speaker: str, slot: str) -> tuple[str, str]:
        return speaker, dice.pick(words[slot]).format(**fields)

    turns = [turn("frosty", "greet")] if dice.chance(0.7) else []
    if dice.chance(0.3):
        turns += [turn("caller", "intro_name"), turn("frosty", "ask_city"), turn("caller", "answer_city")]
    else:
        turns += [turn("caller", "intro_moved" if dice.chance(0.15) else "intro")]
    turns += [turn("frosty", "ask_wish"), turn("caller", "wish")]
    if dice.chance(0.25):
        speaker, text = turns.pop()
        turns.append((speaker, f"{turn('caller', 'consider')[1]} {text}"))
    elif dice.chance(0.35):
        turns += [turn("frosty", "offer"), turn("caller", "refuse")]
    small = [turn("frosty", "ask_small"), turn("caller", "small_city" if dice.chance(0.5) else "small")] if dice.chance(0.5) else []
    confirm = [turn("frosty", "confirm")]
    turns += [*confirm, *small] if dice.chance(0.3) else [*small, *confirm]
    if dice.chance(0.6):
        turns.append(turn("caller", "close"))
    if turns[-1][0] == "caller" and dice.chance(0.5):
        turns.append(turn("frosty", "goodbye"))
    return Call(language, name, city, tuple(wanted), tuple(turns))


def _spoken(toy: str, dice: Dice) -> str:
    """How a caller says it: mostly the whole name, sometimes without the brand, in lower case."""
    return toy if dice.chance(0.7) else toy.split(" ", 1)[1].lower()


def calls() -> Iterator[Call]:
    """All calls, languages mixed, none twice."""
    vocabulary = json.loads((HERE / "vocabulary.json").read_text(encoding="utf-8"))
    dice = Dice(SEED)
    toys = dice.shuffled([f"{brand} {product}" for brand in vocabulary["brands"] for product in vocabulary["products"]])[:480]
    order = dice.shuffled([language for language, words in vocabulary["languages"].items() for _ in range(words["rows"])])
    seen: set[str] = set()
    for language in order:
        call = make_call(language, vocabulary["languages"][language], toys, dice)
        while call.transcript in seen:
            call = make_call(language, vocabulary["languages"][language], toys, dice)
        seen.add(call.transcript)
        yield call


def lab2_row(call: Call) -> dict[str, str]:
    """The columns of the table that the fine-tune reads; `input` is a JSON string literal, as in the lab's own file."""
    answer = {"toy_list": list(call.toys), "location": call.city}
    return {
        "instruction": INSTRUCTION,
        "input": json.dumps(call.transcript),
        "output": json.dumps(answer, ensure_ascii=False),
        "language": call.language,
    }


def lab1_row(number: int, call: Call) -> dict[str, Any]:
    """The columns of Lab 1's table."""
    return {
        "LANGUAGE": call.language,
        "TRANSCRIPT": call.transcript,
        "NAME": call.name,
        "LOCATION": call.city,
        "TOY_LIST": list(call.toys),
        "ID": number,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write transcripts.jsonl and frosty_transcripts.jsonl.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: beside this script)")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(calls())
    for file, lines in (
        ("transcripts.jsonl", [json.dumps(lab2_row(call)) for call in rows]),
        ("frosty_transcripts.jsonl", [json.dumps(lab1_row(number, call), separators=(",", ":")) for number, call in enumerate(rows)]),
    ):
        (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
