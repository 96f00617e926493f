"""What all parts of the document share: strict sections, and fields that came later."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]  # torch takes 64 bits, of which step and rank need a part


class Section(BaseModel):
    """Base of every part of the document: camelCase outside, unknown fields refused, values frozen."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def document(self) -> dict[str, Any]:
        """The plain JSON form, camelCase, without fields that are not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def later(default: Any, **rules: Any) -> Any:
    """A field that came after the first documents were written: left out of `document()` while it has its default.

    The identity of a run is a hash of that form, so a run made before the field existed keeps its identity.
    """
    return Field(default=default, exclude_if=lambda value: value == default, **rules)


def exactly_one(section: str, given: dict[str, object]) -> None:
    """Raise ValueError unless one of the named values is set."""
    named = [name for name, value in given.items() if value not in (None, False)]
    if len(named) != 1:
        found = " and ".join(named) if named else "none"
        raise ValueError(f"{section} needs exactly one of {', '.join(given)}; found {found}")
