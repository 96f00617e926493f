"""Desired objects and the graph between them: what the loader hands to the planner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from controller.api.base import Manifest
from controller.api.names import QualifiedName


@dataclass(frozen=True, order=True)
class ObjectKey:
    """Identity of an object within a project: its kind and full name as Snowflake stores it."""

    kind: str
    name: QualifiedName

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Worked out once: keys are looked up many times in each cycle."""
        return hash((self.kind, self.name))

    @property
    def rank(self) -> tuple[str, tuple[str, ...]]:
        """What keys are sorted by; sorting by the key itself is the same, and slow."""
        return self.kind, self.name.texts

    def __str__(self) -> str:
        """`Kind/name` with the last part of the name, in lower case where that is the same identifier."""
        last = self.name.name
        return f"{self.kind}/{last.text.lower() if last.is_bare else last.sql}"


@dataclass(frozen=True)
class Location:
    """Where in the user's files something was written. Lines count from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class DesiredObject:
    """One manifest after values and references are resolved.

    `references` maps the dotted path of a field (`computePool`, `output.stage`) to the key it names; `depends_on` holds all keys that must
    be ready first: references, containers (database, schema) and `metadata.dependsOn`. `parent` is the composite object this one was
    expanded from.
    """

    key: ObjectKey
    manifest: Manifest
    location: Location
    references: Mapping[str, ObjectKey] = field(default_factory=dict)
    depends_on: frozenset[ObjectKey] = frozenset()
    parent: ObjectKey | None = None


@dataclass(frozen=True)
class Graph:
    """All desired objects of a project, by key. Acyclic (the loader refuses cycles)."""

    objects: Mapping[ObjectKey, DesiredObject]

    def __iter__(self) -> Iterator[DesiredObject]:
        return iter(self.objects.values())

    def __contains__(self, key: object) -> bool:
        return key in self.objects

    def get(self, key: ObjectKey) -> DesiredObject | None:
        return self.objects.get(key)

    def of_kind(self, kind: str) -> list[DesiredObject]:
        return list(self._by_kind.get(kind, ()))

    @cached_property
    def _by_kind(self) -> Mapping[str, list[DesiredObject]]:
        """Sorted out once: each pool asks for all services."""
        found: dict[str, list[DesiredObject]] = {}
        for obj in self:
            found.setdefault(obj.key.kind, []).append(obj)
        return found

    def referred(self, obj: DesiredObject, path: str) -> DesiredObject | None:
        """The object that a field of `obj` refers to, or None when the field is unset or the object is not ours (`existing`)."""
        key = obj.references.get(path)
        return self.objects.get(key) if key else None

    def dependents(self, key: ObjectKey) -> list[DesiredObject]:
        return [o for o in self if key in o.depends_on]

    def with_objects(self, extra: Iterable[DesiredObject]) -> Graph:
        return Graph({**self.objects, **{o.key: o for o in extra}})
