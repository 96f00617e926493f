"""All kinds by name. To add one: write its manifest in `controller.api`, its four verbs in a module here, and add it to the list below."""

from __future__ import annotations

from controller.kinds.base import Kind

KINDS: dict[str, Kind] = {}
"""Kind name → the one instance (kinds hold no state)."""


def kind_of(name: str) -> Kind:
    """The kind of a name.

    Raises:
        KeyError: no such kind (the loader refuses unknown ones, so this is a bug).
    """
    return KINDS[name]
