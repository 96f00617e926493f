"""What is wrong with the user's files, as values: the loader never raises for bad content, so that one bad file holds nothing else up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from controller.api.objects import Location, ObjectKey


class Severity(StrEnum):
    ERROR = "error"  # the object, file or folder cannot be used
    WARNING = "warning"  # worth a look; nothing is held up


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, in which field (`spec.minNodes`; empty for the whole file), what, and what to do.

    `key` is the object that it concerns, where it can be told. A message never holds the value of a secret.
    """

    location: Location
    message: str
    hint: str = ""
    field: str = ""
    key: ObjectKey | None = None
    severity: Severity = Severity.ERROR

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    def __str__(self) -> str:
        """`pools.yaml:7: spec.minNodes: expected a whole number, got 'two'; …`, with the file relative to the current folder."""
        place = place_of(self.location)
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        note = "" if self.is_error else "warning: "
        return f"{place}: {note}{self.field}: {text}" if self.field else f"{place}: {note}{text}"


def shown(path: Path) -> Path:
    """The path as a person would type it: relative to the current folder where it lies below."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def place_of(location: Location) -> str:
    """`pools.yaml:7`, the file relative to the current folder."""
    return f"{shown(location.file)}:{location.line}"


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """`did you mean X?`, or with more near names `X, Y or Z?`; an empty text when nothing is near. Case does not count."""
    names = {name.lower(): name for name in known}
    near = [names[name] for name in get_close_matches(word.lower(), names, n=most, cutoff=0.6)]
    if not near:
        return ""
    return f"did you mean {' or '.join([', '.join(near[:-1]), near[-1]] if near[1:] else near)}?"
