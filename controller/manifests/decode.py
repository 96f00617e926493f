"""One document of a file → one checked manifest with its name, or the problems that it has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pydantic

from controller.api.base import API_VERSION, LocalPath, Manifest, Scope
from controller.api.names import Identifier, NameProblem, QualifiedName
from controller.api.objects import Location, ObjectKey
from controller.api.registry import KINDS
from controller.manifests.explain import findings
from controller.manifests.fields import marked_fields
from controller.manifests.nodes import Node, YamlProblem, dotted
from controller.manifests.plain_secrets import HINT, plain_secrets
from controller.manifests.problems import Problem, did_you_mean
from controller.manifests.values import Values


@dataclass(frozen=True)
class Draft:
    """A manifest that is right by itself. Its references are still text."""

    manifest: Manifest
    node: Node
    file: Path
    name: Identifier

    def location(self, path: tuple[str | int, ...] = ()) -> Location:
        return Location(self.file, self.node.find(path)[0])

    @cached_property
    def named_at(self) -> Location:
        """Where its name stands."""
        return self.location(("metadata", "name"))

    @cached_property
    def key(self) -> ObjectKey | None:
        """Its full name, made once, where the manifest itself tells it; None where its schema is named without a database."""
        meta = self.manifest.metadata
        if self.manifest.scope is Scope.ACCOUNT:
            return ObjectKey(self.manifest.kind, QualifiedName((self.name,)))
        database = self.manifest.scope is Scope.DATABASE
        parent = QualifiedName.parse((meta.database if database else meta.schema_) or "")
        return ObjectKey(self.manifest.kind, parent.child(self.name)) if database or len(parent.parts) != 1 else None


@dataclass(frozen=True)
class Broken:
    """A document that is wrong. Kind, name and what it lives in (`schema` or `database`, as written) are there when they could be told."""

    problems: tuple[Problem, ...]
    kind: str = ""
    name: Identifier | None = None
    schema: str | None = None
    database: str | None = None


def decode(node: Node, file: Path, values: Values, root: Path) -> Draft | Broken:
    """Check one document by itself: its values, its secrets, its kind, its fields, its name and the files that it names.

    `root` is the project's folder.
    """
    envelope = _Envelope(node, file)
    problem = envelope.problem()
    if problem:
        return envelope.broken(problem)
    try:
        filled = values.apply(node)
    except YamlProblem as error:
        field = error.field or dotted(_path_of_line(node, error.line))
        return envelope.broken(Problem(Location(file, error.line), error.message, error.hint, field))
    envelope = _Envelope(filled, file)
    secrets = [
        Problem(Location(file, filled.find(path)[0]), "a secret stands here in plain text", HINT, dotted(path))
        for path in plain_secrets(filled, envelope.kind)
    ]
    if secrets:
        return envelope.broken(*secrets)
    model = KINDS[envelope.kind]
    data = filled.plain
    if data.get("spec", ...) is None:
        data["spec"] = {}
    try:
        manifest = model.model_validate(data, by_alias=True, by_name=False)
    except pydantic.ValidationError as error:
        found = findings(error, model, filled)
        return envelope.broken(*(Problem(Location(file, f.line), f.message, f.hint, f.field) for f in found))
    problems = [*_name_problems(manifest, filled, file), *_path_problems(manifest, filled, file, root)]
    if problems:
        return envelope.broken(*problems)
    return Draft(manifest, filled, file, Identifier.parse(manifest.metadata.name))


class _Envelope:
    """What can be told about a document before it is checked: kind and name."""

    def __init__(self, node: Node, file: Path) -> None:
        self.node = node
        self.file = file
        fields = node.value if isinstance(node.value, dict) else {}
        self.kind = fields["kind"].value if "kind" in fields and isinstance(fields["kind"].value, str) else ""
        metadata = fields["metadata"].value if "metadata" in fields and isinstance(fields["metadata"].value, dict) else {}
        texts = {field: node.value for field, node in metadata.items() if isinstance(node.value, str)}
        self.schema = texts.get("schema")
        self.database = texts.get("database")
        self.name: Identifier | None = None
        if "name" in texts:
            try:
                self.name = Identifier.parse(texts["name"])
            except NameProblem:
                self.name = None

    def problem(self) -> Problem | None:
        """Why this is no manifest of ours at all."""
        if not isinstance(self.node.value, dict):
            return self._at((), "expected a manifest (apiVersion, kind, metadata, spec)", "one mapping for each object, separated by ---")
        version = self.node.value.get("apiVersion")
        if version is None:
            return self._at(
                (), "this is not a Snowcat manifest: apiVersion is missing", f"add 'apiVersion: {API_VERSION}', or keep it elsewhere"
            )
        if version.value != API_VERSION:
            return self._at(("apiVersion",), f"unknown apiVersion {version.value!r}", f"this version of Snowcat reads {API_VERSION}")
        if self.kind == "Project":
            return self._at(("kind",), "kind Project belongs into snowcat.yaml", "one such file in the folder of the manifests")
        if self.kind not in KINDS:
            said = f"unknown kind {self.node.value['kind'].plain!r}" if "kind" in self.node.value else "kind is missing"
            return self._at(("kind",), said, did_you_mean(self.kind, KINDS) or f"known kinds: {', '.join(KINDS)}")
        return None

    def broken(self, *problems: Problem) -> Broken:
        return Broken(problems, self.kind, self.name, self.schema, self.database)

    def _at(self, path: tuple[str, ...], message: str, hint: str) -> Problem:
        line, present = self.node.find(path)
        return Problem(Location(self.file, line), message, hint, dotted(present))


def _name_problems(manifest: Manifest, node: Node, file: Path) -> list[Problem]:
    """Names that Snowflake cannot take, and containers that the kind does not have."""
    problems: list[Problem] = []

    def problem(field: str, message: str, hint: str = "") -> None:
        problems.append(Problem(Location(file, node.find(("metadata", field))[0]), message, hint, f"metadata.{field}"))

    meta, kind = manifest.metadata, manifest.kind
    try:
        name = Identifier.parse(meta.name)
        if manifest.bare_name and not name.is_bare:
            problem("name", f"Snowflake takes only an unquoted name for a {kind}", "letters, digits and '_'")
        elif manifest.bare_name and name.is_reserved:
            message = f"{meta.name!r} is a reserved word of SQL, and Snowflake takes only an unquoted name for a {kind}"
            problem("name", message, f"such as '{meta.name}_1'")
    except NameProblem as error:
        dots = meta.name.count(".")
        problem("name", str(error), "database and schema stand in metadata.schema" if dots and '"' not in meta.name else "")
    wanted = {Scope.ACCOUNT: None, Scope.DATABASE: "database", Scope.SCHEMA: "schema"}[manifest.scope]
    for field, value in (("schema", meta.schema_), ("database", meta.database)):
        if field == wanted and value is None:
            form = "database.schema" if field == "schema" else "the name of a Database"
            problem(field, f"a {kind} needs metadata.{field}", form)
        elif field != wanted and value is not None:
            home = f"has metadata.{wanted}" if wanted else "lives in the account itself"
            problem(field, f"a {kind} {home}", f"remove metadata.{field}")
        elif value is not None:
            problems += _container_problems(manifest, field, value, Location(file, node.find(("metadata", field))[0]))
    for index, path in enumerate(meta.ignore):
        top = path.removeprefix("spec.").split(".")[0].split("[")[0]
        known = [info.alias or name for name, info in type(manifest.spec).model_fields.items()]
        known += manifest.seen_beside
        if top not in known:
            line = node.find(("metadata", "ignore", index))[0]
            hint = did_you_mean(top, known) or f"known: {', '.join(known)}"
            problems.append(Problem(Location(file, line), f"{path!r} is no field of a {kind}'s spec", hint, f"metadata.ignore[{index}]"))
    return problems


def _container_problems(manifest: Manifest, field: str, value: str, location: Location) -> list[Problem]:
    try:
        parts = QualifiedName.parse(value).parts
    except NameProblem as error:
        return [Problem(location, str(error), field=f"metadata.{field}")]
    if len(parts) > (2 if field == "schema" else 1):
        return [
            Problem(location, f"{value!r} has too many parts", "database.schema" if field == "schema" else "one name", f"metadata.{field}")
        ]
    if manifest.bare_name and not all(part.is_bare for part in parts):
        message = f"Snowflake takes a {manifest.kind} only in a database and schema with unquoted names"
        return [Problem(location, message, field=f"metadata.{field}")]
    if manifest.bare_name and (word := next((part.text.lower() for part in parts if part.is_reserved), None)):
        message = f"{word!r} is a reserved word of SQL, and Snowflake takes a {manifest.kind} only where names need no quotes"
        return [Problem(location, message, field=f"metadata.{field}")]
    return []


def _leaves(path: Path, root: Path) -> bool:
    """Whether a path or pattern leads out of a folder, by its text or by a link. Files that a pattern matches are looked at when read."""
    fixed = Path(str(path).partition("*")[0])
    return not (Path(os.path.normpath(path)).is_relative_to(os.path.normpath(root)) and fixed.resolve().is_relative_to(root.resolve()))


def _path_problems(manifest: Manifest, node: Node, file: Path, root: Path) -> list[Problem]:
    """Files of the user's that a manifest names and that are not there; for a stage, that are not the project's to upload."""
    problems = []
    for path, value, marker in marked_fields(manifest.spec, LocalPath, ("spec",)):
        if manifest.kind == "Stage" and _leaves(file.parent / value, root):
            hint = f"a stage keeps files of the project: move it below {root}"
            problems.append(Problem(Location(file, node.find(path)[0]), f"{value!r} leaves the project's folder", hint, dotted(path)))
            continue
        found = any(file.parent.glob(value)) if marker.glob and not Path(value).is_absolute() else (file.parent / value).exists()
        if not found:
            line = node.find(path)[0]
            what = "no file matches" if marker.glob else "there is no file or folder"
            problems.append(Problem(Location(file, line), f"{what} {value!r}", f"it is looked for in {file.parent}", dotted(path)))
    return problems


def _path_of_line(node: Node, line: int) -> tuple[str | int, ...]:
    """The path of the first scalar on a line, for messages about its text."""
    stack: list[tuple[tuple[str | int, ...], Node]] = [((), node)]
    while stack:
        path, current = stack.pop()
        if isinstance(current.value, dict):
            stack.extend(((*path, key), child) for key, child in current.value.items())
        elif isinstance(current.value, list):
            stack.extend(((*path, index), child) for index, child in enumerate(current.value))
        elif current.line == line and isinstance(current.value, str) and "${" in current.value:
            return path
    return ()
