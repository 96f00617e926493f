"""`make demo`: the lab from YAML on this machine, then base and tuned model asked through SQL and compared.

Exits 0 only if every object is healthy and the tuned model beats the base on all three scores. The account's state stays under
.snowcat/local, so `.venv/bin/snowcat get --local` works afterwards.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from lab import MANIFESTS, ROOT, SCHEMA, Clock, Lab, rows
from rich.console import Console
from rich.table import Table

from training.config import Metric
from training.scoring.metrics import mean_scores, score

METRICS: tuple[Metric, ...] = ("valid_json", "exact_match", "field_f1")
TITLES = {"valid_json": "valid JSON", "exact_match": "location exact", "field_f1": "toy list F1"}


@dataclass
class Answers:
    """What one SQL function said about the asked rows."""

    function: str
    texts: list[str | None] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    seconds_a_row: float = 0.0


def ask(lab: Lab, function: str, count: int) -> tuple[list[dict[str, str]], Answers]:
    """Call the function on rows of the test split, in one statement; the rows with what was wanted, and the answers."""
    with lab.connect() as connection:
        rows(connection, f"USE SCHEMA {SCHEMA}")
        start = time.monotonic()
        found = rows(
            connection,
            f"SELECT language, input, output, {function}(input) AS answer FROM"
            f" (SELECT * FROM transcripts WHERE _split = 'test' ORDER BY _row_id LIMIT {count}) ORDER BY _row_id",
        )
    answers = Answers(function, [row["answer"] for row in found])
    answers.seconds_a_row = (time.monotonic() - start) / max(1, len(found))
    answers.scores = mean_scores([score(METRICS, row["output"], row["answer"] or "") for row in found])
    return found, answers


def scores_table(base: Answers, tuned: Answers, count: int) -> Table:
    table = Table(title=f"{count} calls of the test split, asked through SQL")
    for column in ("", f"{base.function} (base)", f"{tuned.function} (fine-tuned)"):
        table.add_column(column, justify="left" if not column else "right")
    for metric in METRICS:
        table.add_row(TITLES[metric], f"{base.scores[metric]:.2f}", f"{tuned.scores[metric]:.2f}")
    table.add_row("seconds a row", f"{base.seconds_a_row:.1f}", f"{tuned.seconds_a_row:.1f}")
    return table


def samples_table(found: list[dict[str, str]], base: Answers, tuned: Answers) -> Table:
    table = Table(title="Two of them side by side", show_lines=True)
    for column in ("call", "wanted", "base", "fine-tuned"):
        table.add_column(column, ratio=4 if column == "call" else 3, overflow="fold")
    for index in dict.fromkeys((0, next((i for i, row in enumerate(found) if row["language"] != "EN"), 1))):
        row = found[index]
        table.add_row(json.loads(row["input"]), row["output"], base.texts[index] or "NULL", tuned.texts[index] or "NULL")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the lab on an embedded account and compare base and tuned model.")
    parser.add_argument("--rows", type=int, default=24, help="rows of the test split to ask about")
    arguments = parser.parse_args()
    console, clock = Console(), Clock()
    lab = Lab(MANIFESTS, ROOT / ".snowcat" / "local")

    if (lab.state / "account.json").exists():
        lab.snowcat("local", "stop")
    shutil.rmtree(lab.state, ignore_errors=True)
    lab.state.mkdir(parents=True)
    console.print("An embedded account with nothing in it, and the lab's manifests. What is made, and what takes its time, as it happens:")
    try:
        if code := lab.snowcat("apply", str(lab.manifests), "--local"):
            return code
        objects = lab.objects()
        unhealthy = [item for item in objects if item["health"] != "Healthy" or item["sync"] != "Synced"]
        for item in unhealthy:
            console.print(f"{item['object']} is {item['sync']}, {item['health']}: {item['message']}", style="red", markup=False)
        console.print(
            f"\n{len(objects) - len(unhealthy)} of {len(objects)} objects are healthy after {clock}. Now the questions, over SQL:"
        )
        with ThreadPoolExecutor(2) as both:  # each service has a core of its own
            asked = [both.submit(ask, lab, name, arguments.rows) for name in ("llama_base_predict", "llama_predict")]
        (found, base), (_, tuned) = (future.result() for future in asked)
    finally:
        lab.snowcat("local", "stop")
    console.print(scores_table(base, tuned, len(found)), samples_table(found, base, tuned))
    better = all(tuned.scores[metric] > base.scores[metric] for metric in METRICS)
    console.print(f"The tuned model {'beats' if better else 'does not beat'} the base on all three scores. All in all {clock}.")
    console.print("The account is stopped, its state is kept: .venv/bin/snowcat get --local")
    return 0 if better and not unhealthy else 1


if __name__ == "__main__":
    sys.exit(main())
