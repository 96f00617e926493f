"""Names → objects: full names, references, containers, duplicates and cycles. The result is the graph that everything else works on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from controller.api.base import SIBLING, Manifest, Ref, Scope
from controller.api.names import SYSTEM_ROLES, Identifier, NameProblem, QualifiedName
from controller.api.objects import DesiredObject, Graph, Location, ObjectKey
from controller.api.project import ProjectSettings
from controller.api.registry import KINDS
from controller.manifests.decode import Broken, Draft
from controller.manifests.fields import marked_fields
from controller.manifests.memory import Memory
from controller.manifests.nodes import dotted
from controller.manifests.problems import Problem, did_you_mean, shown

_PUBLIC = Identifier("PUBLIC")
_NEAR = 3  # names that are offered in place of one that is nowhere


@dataclass(frozen=True)
class Candidate:
    """A manifest with its full name, before its references are looked at."""

    key: ObjectKey
    manifest: Manifest
    location: Location
    draft: Draft

    def line_of(self, path: tuple[str | int, ...]) -> Location:
        return self.draft.location(path)


@dataclass(frozen=True)
class Resolved:
    graph: Graph
    problems: tuple[Problem, ...]


class _Lookup:
    """Finds the object that a name means."""

    def __init__(
        self,
        keys: Iterable[ObjectKey],
        existing: Iterable[ObjectKey],
        troubled: Mapping[tuple[str, Identifier], Location],
        unread: Iterable[Location],
    ) -> None:
        self.keys = set(keys)
        self.existing = set(existing)
        self.troubled = troubled  # kind and name of documents that are wrong → where
        self.unread = sorted({str(shown(place.file)) for place in unread})  # files with a document whose kind or name nobody can tell

    def find(self, kind: str, text: str, home: QualifiedName | None) -> ObjectKey:
        """The key that `text` means when it stands in an object of the schema or database `home`.

        Raises:
            LookupError: nothing, or more than one thing, is meant; the message and hint are its arguments.
        """
        try:
            name = QualifiedName.parse(text)
        except NameProblem as error:
            raise LookupError(str(error), "") from None
        depth = {Scope.ACCOUNT: 1, Scope.DATABASE: 2, Scope.SCHEMA: 3}[KINDS[kind].scope]
        if len(name.parts) > depth:
            raise LookupError(f"{text!r} has too many parts for a {kind}", "")
        for candidate in _nearest_first(name, depth, home):
            key = ObjectKey(kind, candidate)
            if key in self.keys or key in self.existing:
                return key
        tail = len(name.parts)
        anywhere = sorted(k for k in self.keys | self.existing if k.kind == kind and k.name.parts[-tail:] == name.parts)
        if len(anywhere) == 1:
            return anywhere[0]
        if anywhere:
            raise LookupError(f"{text!r} may be any of {', '.join(str(k.name) for k in anywhere)}", "write database.schema.name")
        raise self._missing(kind, text, name)

    def own(self, kind: str, text: str, home: QualifiedName | None) -> ObjectKey | None:
        """The declared object that a name means, None when it is somebody else's."""
        try:
            key = self.find(kind, text, home)
        except LookupError:
            return None
        return key if key in self.keys else None

    def _missing(self, kind: str, text: str, name: QualifiedName) -> LookupError:
        place = self.troubled.get((kind, name.name))
        if place:
            return LookupError(f"the {kind} {text!r} has a problem of its own", f"see {shown(place.file)}:{place.line}")
        names = sorted(str(k).split("/", 1)[1] for k in self.keys | self.existing if k.kind == kind)
        other = sorted({k.kind for k in self.keys if k.name.name == name.name})
        hint = did_you_mean(text, names, _NEAR) or (f"there is a {other[0]} of that name" if other else self.elsewhere(kind, text))
        return LookupError(f"there is no {kind} {text!r} among the manifests", hint)

    def elsewhere(self, kind: str, text: str) -> str:
        """Where an object may be that no manifest declares."""
        if self.unread:
            return f"it may stand in {', '.join(self.unread)}, which cannot be read"
        return f"declare it, or list {kind}/{text} under 'existing' of snowcat.yaml"


def _nearest_first(name: QualifiedName, depth: int, home: QualifiedName | None) -> Iterable[QualifiedName]:
    missing = depth - len(name.parts)
    if missing == 0:
        yield name
    elif home is not None and len(home.parts) >= missing:
        yield QualifiedName((*home.parts[:missing], *name.parts))


def existing_objects(settings: ProjectSettings) -> tuple[set[ObjectKey], list[str]]:
    """Objects of others that may be referred to, and the entries under `existing` that are not `Kind/name`."""
    keys = {ObjectKey("Role", QualifiedName((Identifier(role),))) for role in SYSTEM_ROLES}
    keys.add(ObjectKey("Role", QualifiedName.parse(settings.role)))
    if settings.home:
        home = QualifiedName.parse(settings.home)
        keys |= {ObjectKey("Schema", home), ObjectKey("Database", QualifiedName(home.parts[:1]))}
    if settings.warehouse:
        keys.add(ObjectKey("Warehouse", QualifiedName.parse(settings.warehouse)))
    wrong = []
    for entry in settings.existing:
        kind, _, text = entry.partition("/")
        try:
            if kind not in KINDS:
                raise NameProblem(f"unknown kind {kind!r}")
            keys.add(ObjectKey(kind, QualifiedName.parse(text)))
        except NameProblem as error:
            wrong.append(f"{entry!r} is not Kind/name: {error}")
    return keys, wrong


def place(draft: Draft, schemas: Iterable[QualifiedName]) -> Candidate | Problem:
    """Give a manifest its full name. A schema without its database is looked up among the project's schemas."""
    key = draft.key
    if key is None:
        schema = draft.manifest.metadata.schema_
        found = sorted(s for s in schemas if s.name == QualifiedName.parse(schema or "").name)
        if len(found) != 1:
            field = ("metadata", "schema")
            said = "is in several databases" if found else "is no Schema of the project"
            return Problem(draft.location(field), f"{schema!r} {said}", "write database.schema", dotted(field))
        key = ObjectKey(draft.manifest.kind, found[0].child(draft.name))
    return Candidate(key, draft.manifest, draft.named_at, draft)


def concerned(part: Broken, schemas: Iterable[QualifiedName]) -> ObjectKey | None:
    """The object that a wrong document is about, where that can be told."""
    if part.name is None or part.kind not in KINDS:
        return None
    scope = KINDS[part.kind].scope
    if scope is Scope.ACCOUNT:
        return ObjectKey(part.kind, QualifiedName((part.name,)))
    depth, text = (1, part.database) if scope is Scope.DATABASE else (2, part.schema)
    try:
        parent = QualifiedName.parse(text or "")
    except NameProblem:
        return None
    if depth == 2 and len(parent.parts) == 1:
        found = [schema for schema in schemas if schema.name == parent.name]
        parent = found[0] if len(found) == 1 else parent
    return ObjectKey(part.kind, parent.child(part.name)) if len(parent.parts) == depth else None


def resolve(candidates: list[Candidate], broken: list[Broken], settings: ProjectSettings, memory: Memory) -> Resolved:
    """Resolve the references of all candidates; what has a problem is left out of the graph."""
    unique, problems = _without_duplicates(candidates)
    drafts = {key: candidate.draft for key, candidate in unique.items()}
    known = memory.objects(drafts) if not broken and not problems else None
    existing, _ = existing_objects(settings)
    troubled = {(b.kind, b.name): b.problems[0].location for b in broken if b.name and b.problems}
    troubled |= {(p.key.kind, p.key.name.name): p.location for p in problems if p.key}
    unread = [b.problems[0].location for b in broken if b.problems and not (b.kind and b.name)]
    lookup = _Lookup(unique, existing, troubled, unread)
    while True:  # an object that refers to a wrong one is wrong too, and so on until nothing new is found
        objects, found = _references(unique, lookup, settings, known)
        known = None
        found = found or ([] if memory.waits_alike(objects) else _cycle(objects))
        if not found:
            return Resolved(memory.resolved(drafts, Graph(objects), right=not broken and not problems), tuple(problems))
        problems += found
        for key in {problem.key for problem in found if problem.key}:
            lookup.troubled = {**lookup.troubled, (key.kind, key.name.name): unique[key].location}
            del unique[key]
        lookup.keys = set(unique)


def resolve_edited(drafts: Sequence[Draft], settings: ProjectSettings, memory: Memory) -> Graph | None:
    """The graph of the last load with the manifests that were edited since, of all that is right by itself; others are not looked at.

    None where more has moved than what single manifests say, or something is wrong: then `resolve` tells.
    """
    edited = memory.edited(drafts)
    if edited is None:
        return None
    graph, changed = edited
    candidates = {key: Candidate(key, draft.manifest, draft.named_at, draft) for key, draft in changed.items()}
    lookup = _Lookup(graph.objects, existing_objects(settings)[0], {}, ())
    objects, problems = _references(candidates, lookup, settings, None)
    if problems or any(obj.depends_on != graph.objects[key].depends_on for key, obj in objects.items()):
        return None
    return memory.patched(changed, objects)


def _without_duplicates(candidates: list[Candidate]) -> tuple[dict[ObjectKey, Candidate], list[Problem]]:
    """Objects by key. What is declared twice is left out: nobody can tell which one is meant."""
    by_key: dict[ObjectKey, list[Candidate]] = {}
    for candidate in candidates:
        by_key.setdefault(candidate.key, []).append(candidate)
    problems = []
    for key, group in by_key.items():
        for candidate in group if len(group) > 1 else ():
            other = next(c for c in group if c is not candidate)
            line = candidate.line_of(("metadata", "name"))
            message = f"{key} is declared twice, also in {shown(other.location.file)}:{other.location.line}"
            problems.append(
                Problem(line, message, "names that differ only in case are the same to Snowflake; remove one", "metadata.name", key)
            )
    return {key: group[0] for key, group in by_key.items() if len(group) == 1}, problems


def _references(
    unique: Mapping[ObjectKey, Candidate], lookup: _Lookup, settings: ProjectSettings, known: Graph | None
) -> tuple[dict[ObjectKey, DesiredObject], list[Problem]]:
    objects, problems = {}, []
    for key, candidate in unique.items():
        same = known.get(key) if known is not None else None
        if same is not None:
            objects[key] = same
            continue
        found: dict[str, ObjectKey] = {}
        needs: set[ObjectKey] = set()
        wrong: list[Problem] = []

        def look(kind: str, text: str, path: tuple[str | int, ...], key: ObjectKey = key, c: Candidate = candidate) -> ObjectKey | None:
            try:
                return lookup.find(kind, text, key.name.parent)
            except LookupError as error:
                message, hint = error.args
                wrong.append(Problem(c.line_of(path), message, hint, dotted(path), key))  # noqa: B023 - called within this turn only
                return None

        for path, text, ref in marked_fields(candidate.manifest.spec, Ref, ("spec",)):
            if ref.kind == "Image" and text.startswith("/"):
                continue
            if ref.path:
                target = lookup.own(ref.kind, text.removeprefix("@").partition("/")[0], key.name.parent)
                if target:
                    found[dotted(path[1:])] = target
                continue
            kind = _sibling_kind(candidate.manifest, path) if ref.kind == SIBLING else ref.kind
            if kind not in KINDS:
                hint = did_you_mean(kind, KINDS)
                wrong.append(
                    Problem(candidate.line_of((*path[:-1], "kind")), f"unknown kind {kind!r}", hint, dotted((*path[:-1], "kind")), key)
                )
                continue
            target = look(kind, text, path)
            if target:
                found[dotted(path[1:])] = target
        for index, text in enumerate(candidate.manifest.metadata.depends_on):
            kind, _, name = text.partition("/")
            path = ("metadata", "dependsOn", index)
            if kind not in KINDS or not name:
                hint = did_you_mean(kind, KINDS) or "such as ComputePool/my_pool"
                wrong.append(Problem(candidate.line_of(path), f"{text!r} is not Kind/name", hint, dotted(path), key))
                continue
            target = look(kind, name, path)
            if target == key:
                wrong.append(Problem(candidate.line_of(path), f"{key} depends on itself", "remove this entry", dotted(path), key))
            elif target:
                needs.add(target)
        container = _container(key, lookup)
        if isinstance(container, str):
            path = ("metadata", "schema" if len(key.name.parts) == 3 else "database")
            wrong.append(Problem(candidate.line_of(path), *_container_message(key, container, lookup), dotted(path), key))
        elif container is not None:
            needs.add(container)
        if candidate.manifest.uses_warehouse and settings.warehouse and "warehouse" not in found:
            needs.add(ObjectKey("Warehouse", QualifiedName.parse(settings.warehouse)))
        needs |= set(found.values())
        problems += wrong
        ours = frozenset(k for k in needs if k in lookup.keys and k != key)
        objects[key] = DesiredObject(key, candidate.manifest, candidate.location, found, ours)
    return objects, problems


def _sibling_kind(manifest: Manifest, path: tuple[str | int, ...]) -> str:
    value: Any = manifest.model_dump(by_alias=True)
    for segment in path[:-1]:
        value = value[segment]
    return str(value["kind"])


def _container(key: ObjectKey, lookup: _Lookup) -> ObjectKey | str | None:
    """The schema or database that an object lives in; None at account level, the missing kind's name when it is nowhere."""
    parent = key.name.parent
    if parent is None:
        return None
    kind = "Schema" if len(parent.parts) == 2 else "Database"
    container = ObjectKey(kind, parent)
    if container in lookup.keys or container in lookup.existing:
        return container
    if kind == "Schema" and parent.name == _PUBLIC:
        database = ObjectKey("Database", QualifiedName(parent.parts[:1]))
        if database in lookup.keys or database in lookup.existing:
            return database
    return kind


def _container_message(key: ObjectKey, kind: str, lookup: _Lookup) -> tuple[str, str]:
    parent = key.name.parent
    text = str(parent).lower()
    place = lookup.troubled.get((kind, parent.name)) if parent else None
    if place:
        return f"the {kind} {text} has a problem of its own", f"see {shown(place.file)}:{place.line}"
    near = did_you_mean(text, sorted(str(k.name).lower() for k in lookup.keys | lookup.existing if k.kind == kind), _NEAR)
    return f"there is no {kind} {text} among the manifests", near or lookup.elsewhere(kind, text)


def _cycle(objects: Mapping[ObjectKey, DesiredObject]) -> list[Problem]:
    """One cycle, as a problem of each object on it; empty when there is none."""
    try:
        TopologicalSorter({key: obj.depends_on for key, obj in objects.items()}).prepare()
    except CycleError as error:
        around: list[ObjectKey] = list(reversed(error.args[1]))
        message = f"objects wait for each other: {' → '.join(str(key) for key in around)}"
        problems = []
        for key, following in pairwise(around):
            field = next((f"spec.{path}" for path, target in objects[key].references.items() if target == following), "metadata.dependsOn")
            problems.append(Problem(objects[key].location, message, "remove one of these references", field, key))
        return problems
    return []
