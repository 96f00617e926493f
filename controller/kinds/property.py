"""One field of a simple kind: what it is called in SQL and in SHOW, and how the manifest's value and the account's are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from controller.account import statements as sql
from controller.account.snapshot import Row
from controller.api.objects import DesiredObject
from controller.kinds.base import FieldChange
from controller.kinds.mark import Mark


def same(value: Any) -> Any:
    return value


def always(obj: DesiredObject) -> bool:
    return True


@dataclass(frozen=True)
class Property:
    """One field of a spec. `column` None: said at creation only and never seen again.

    `seen` makes the column's value comparable, `wanted` the manifest's. `implied` is what the account has when CREATE says nothing; an
    empty column counts as that. `read` is for a value that is not just the spec's field, such as resolved references.
    """

    field: str
    clause: str
    render: Callable[[Any], str]
    column: str | None = None
    seen: Callable[[Any], Any] = same
    wanted: Callable[[Any], Any] = same
    implied: Any = None
    mutable: bool = True
    inherits: bool = False
    way_out: str = ""
    deep: bool = False  # `column` is told by the deep read
    at_create: bool = True  # CREATE knows the clause; else ALTER sets it once the object is there
    equals: bool = True  # `KEY = value`, else `KEY value`
    unset: bool = True  # ALTER knows UNSET for it; else an empty value is rendered as any other
    action: Callable[[Any], str] | None = None  # what ALTER says in place of SET: `ENABLE MANAGED ACCESS`
    read: Callable[[DesiredObject], Any] | None = None
    applies: Callable[[DesiredObject], bool] = always

    @property
    def path(self) -> str:
        """The field as it is written in YAML."""
        return to_camel(self.field)

    def value(self, obj: DesiredObject) -> Any:
        return self.read(obj) if self.read is not None else getattr(obj.manifest.spec, self.field)

    def clause_for(self, value: Any) -> str:
        return sql.equals(self.clause, self.render(value)) if self.equals else f"{self.clause} {self.render(value)}".strip()

    def for_create(self, obj: DesiredObject) -> str | None:
        value = self.value(obj)
        said = self.at_create and self.applies(obj) and value is not None and value != self.implied and value != []
        return self.clause_for(value) if said else None

    def to_unset(self, obj: DesiredObject) -> bool:
        return self.unset and self.value(obj) in (None, [])

    def wants_deep(self, obj: DesiredObject, mark: Mark | None) -> bool:
        """Whether the object needs the deep read for this field."""
        compared = not self.inherits or self.value(obj) is not None or self.path in set_before(mark)
        return self.deep and compared and self.applies(obj)

    def drift(self, obj: DesiredObject, row: Row, mark: Mark | None) -> FieldChange | None:
        """How the row differs, or None. A column that this account does not show is not compared."""
        if self.column is None or self.column not in row or not self.applies(obj):
            return None
        value, seen = self.value(obj), self.seen(row[self.column])
        if seen is None:
            seen = self.implied
        if value is None and self.inherits:
            return FieldChange(self.path, seen, "default") if seen is not None and self.path in set_before(mark) else None
        wanted = self.wanted(value)
        return None if seen == wanted else FieldChange(self.path, seen, wanted, immutable=not self.mutable, way_out=self.way_out)


def set_before(mark: Mark | None) -> frozenset[str]:
    """Inheriting fields that the last manifest had set."""
    return frozenset(filter(None, mark.attributes.get("set", "").split(","))) if mark else frozenset()
