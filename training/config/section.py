"""What all parts of the document share: strict sections, fields that came later, fields whose work is not built yet."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Base of every part of the document: camelCase outside, unknown fields refused, values frozen."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def document(self) -> dict[str, Any]:
        """The plain JSON form, camelCase, without fields that are not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def later(default: Any, **rules: Any) -> Any:
    """A field that came after the first documents were written: left out of `document()` while it has its default.

    The identity of a run is a hash of that form, so a run made before the field existed keeps its identity.
    """
    return Field(default=default, exclude_if=lambda value: value == default, **rules)


def not_yet(*allowed: object) -> AfterValidator:
    """Refuse every value but `allowed`: the field is promised, what it asks for is not built. Better than to ignore it."""

    def check(value: object) -> object:
        if value not in allowed:
            names = ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in allowed if one is not None)
            raise ValueError("not supported by this version; leave it out" + (f" or use {names}" if names else ""))
        return value

    return AfterValidator(check)


def exactly_one(section: str, given: dict[str, object]) -> None:
    """Raise ValueError unless one of the named values is set."""
    named = [name for name, value in given.items() if value not in (None, False)]
    if len(named) != 1:
        found = " and ".join(named) if named else "none"
        raise ValueError(f"{section} needs exactly one of {', '.join(given)}; found {found}")
