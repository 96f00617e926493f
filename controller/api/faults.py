"""What a validator finds wrong in fields below the part that it checks, told with their places.

A plain ValueError is told at the part itself. These say which field of it is meant, so that a message has the line of that field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class FieldFault:
    """One field is wrong. `path` leads to it from the part that is checked; `known` are the names of which `word` may be a misspelt one."""

    path: Path
    message: str
    word: str = ""
    known: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, eq=False)
class DerivedFault:
    """A document that was made from the checked part is wrong, such as one run of a sweep.

    `sources` tells which field of the part each field of the document comes from; all that is wrong elsewhere in the document comes from
    `whole`, and `said` tells what is special about this document.
    """

    model: type[pydantic.BaseModel]
    document: Mapping[str, Any]
    error: pydantic.ValidationError
    sources: Mapping[Path, Path]
    whole: Path
    said: str

    def __str__(self) -> str:
        found = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in self.error.errors(include_url=False)]
        return f"with {self.said}: {'; '.join(found)}"


class Faults(ValueError):
    """Raised by a validator in place of a ValueError when it knows the fields."""

    def __init__(self, *faults: FieldFault | DerivedFault) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults
