"""Objects as tables, JSON and YAML. Tables are for people and may change; the documents are for scripts and keep their names."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
import yaml

from controller.account.redact import redact
from controller.cli.options import Format, PlanFormat


def print_document(document: Any, output: Format | PlanFormat) -> None:
    """One JSON or YAML document on stdout."""
    if output.value == "yaml":
        typer.echo(
            redact(yaml.safe_dump(json.loads(json.dumps(document, default=str)), sort_keys=False, allow_unicode=True, width=140)), nl=False
        )
    else:
        typer.echo(redact(json.dumps(document, indent=2, ensure_ascii=False, default=str)))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns side by side; on a terminal the last one is cut at its edge."""
    cells = [[" ".join(redact(str(cell)).split()) for cell in row] for row in rows]
    lines = [list(titles), *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(titles) - 1)]
    room = shutil.get_terminal_size((10_000, 24)).columns if sys.stdout.isatty() else 10_000
    for line in lines:
        text = "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        typer.echo(text if len(text) <= room else text[: room - 1] + "…")
