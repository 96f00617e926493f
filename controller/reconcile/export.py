"""What an account has, as manifests: the way in for accounts that were made by hand. Nothing in the account is changed by it.

What carries no mark is exported with `managementPolicy: observe`: a project that is made of the export only reports, and its plan is empty.
With `adopt` it says `adopt: true` instead, where taking over writes the mark and nothing else; secrets (whose values nobody can read),
roles and what another project has made stay observed. What this project has made keeps its own rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pydantic

from controller.account.redact import redact
from controller.account.snapshot import Missing, Row, Show, Snapshot
from controller.api.base import API_VERSION, SIBLING, Manifest, Ref, Scope
from controller.api.names import SYSTEM_ROLES, NameProblem, QualifiedName
from controller.api.objects import ObjectKey
from controller.api.registry import KINDS as MANIFESTS
from controller.kinds.exporting import identifier_text, written_name
from controller.kinds.mark import Mark, mark_of
from controller.manifests.fields import marked_fields
from controller.manifests.nodes import node_of
from controller.manifests.plain_secrets import plain_secrets
from controller.reconcile.look.deep import Ask
from controller.reconcile.planning.expand import Kinds
from controller.reconcile.planning.ownership import parent_of

_DATABASES = Show("DATABASES")
_OBSERVED = frozenset({"Secret", "Role"})


@dataclass(frozen=True)
class Exported:
    """`document` is the manifest; `notes` are what a reader should know, for a comment above it."""

    key: ObjectKey
    document: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Export:
    """`existing` are objects that the manifests refer to and that are not among them; `left_out` what could not be exported → why."""

    objects: tuple[Exported, ...]
    existing: tuple[str, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class _Candidate:
    key: ObjectKey
    row: Row
    mark: Mark | None


@dataclass(frozen=True)
class Exporter:
    """`project` is the project whose marks count as its own, '' for none; `matches` says which objects are wanted."""

    kinds: Kinds
    ask: Ask
    project: str = ""
    adopt: bool = False
    matches: Callable[[ObjectKey], bool] = lambda key: True
    schema: QualifiedName | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self) -> Export:
        """Look, and write down what is there.

        Raises:
            AccountError: the account could not be read.
        """
        wide = self._wide()
        found = [candidate for candidate in self._candidates(wide) if self.matches(candidate.key) and self._in_scope(candidate.key)]
        details = {read for c in found for read in self.kinds[c.key.kind].export_details(c.key.name, c.row)}
        snapshot = Snapshot({**wide, **self.ask(sorted(details, key=lambda read: read.sql))})
        objects = [exported for candidate in found if (exported := self._export(candidate, snapshot)) is not None]
        objects.sort(key=lambda one: (list(MANIFESTS).index(one.key.kind), one.key))
        return Export(tuple(objects), tuple(sorted(self._existing(objects))), dict(sorted(self.left_out.items())))

    # ---- looking ---------------------------------------------------------------------------------------------------------------------

    def _wide(self) -> dict[Any, tuple[Row, ...] | Missing]:
        reads = [_DATABASES, *(read for kind in self.kinds.values() for read in kind.export_reads())]
        return dict(self.ask(list(dict.fromkeys(reads))))

    def _candidates(self, wide: Mapping[Any, tuple[Row, ...] | Missing]) -> Iterator[_Candidate]:
        databases = {name.name.text for row in _rows(wide, _DATABASES) if (name := self.kinds["Database"].exported_name(row)) is not None}
        for kind in self.kinds.values():
            if kind.name not in MANIFESTS:
                continue
            for read in kind.export_reads():
                for row in _rows(wide, read):
                    name = kind.exported_name(row)
                    if name is None or (kind.manifest.scope is not Scope.ACCOUNT and name.parts[0].text not in databases):
                        continue
                    yield _Candidate(ObjectKey(kind.name, name), row, mark_of(row))

    def _in_scope(self, key: ObjectKey) -> bool:
        return self.schema is None or key.name.parts[:-1] == self.schema.parts or (key.kind == "Schema" and key.name == self.schema)

    # ---- writing ---------------------------------------------------------------------------------------------------------------------

    def _export(self, candidate: _Candidate, snapshot: Snapshot) -> Exported | None:
        """The manifest of one object; None for one that is left out."""
        answer = self._written(candidate, snapshot)
        if isinstance(answer, str):
            self.left_out[f"{candidate.key.kind}/{written_name(candidate.key.name)}"] = answer
            return None
        return answer

    def _written(self, candidate: _Candidate, snapshot: Snapshot) -> Exported | str:
        """The same, or why it is left out."""
        key, mark = candidate.key, candidate.mark
        if mark is not None and mark.project == self.project and parent_of(mark):
            return f"it is part of {parent_of(mark)}, whose manifest makes it"
        kind = self.kinds[key.kind]
        spec = kind.export(key.name, candidate.row, snapshot)
        if spec is None:
            return "the account does not show this role enough of it"
        if any(True for _ in plain_secrets(node_of(spec, 1), key.kind, ("spec",))) or redact(str(spec)) != str(spec):
            return "what looks like a secret stands in it in plain text"
        metadata, notes = self._metadata(key, mark, kind.manifest)
        document: dict[str, Any] = {"apiVersion": API_VERSION, "kind": key.kind, "metadata": metadata}
        if spec:
            document["spec"] = spec
        try:
            kind.manifest.model_validate(document)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        return Exported(key, document, tuple(notes))

    def _metadata(self, key: ObjectKey, mark: Mark | None, manifest: type[Manifest]) -> tuple[dict[str, Any], list[str]]:
        """Who it is, and whose: so that nothing is changed by applying it."""
        *above, last = key.name.parts
        metadata: dict[str, Any] = {"name": identifier_text(last)}
        if manifest.scope is Scope.SCHEMA:
            metadata["schema"] = ".".join(identifier_text(part) for part in above)
        elif manifest.scope is Scope.DATABASE:
            metadata["database"] = identifier_text(above[0])
        if mark is not None and mark.project == self.project:
            deletable = mark.attributes.get("delete") == "yes"
            if deletable == manifest.holds_data:
                metadata["deletionPolicy"] = "delete" if deletable else "orphan"
            return metadata, []
        if mark is None and self.adopt and key.kind not in _OBSERVED:
            metadata["adopt"] = True
            return metadata, []
        metadata["managementPolicy"] = "observe"
        if mark is not None:
            return metadata, [f"project {mark.project} keeps it; here it is only looked at"]
        if key.kind == "Secret":
            return metadata, ["its value cannot be read: name where it comes from before you let Snowcat keep it"]
        return metadata, []

    # ---- references ------------------------------------------------------------------------------------------------------------------

    def _existing(self, objects: Iterable[Exported]) -> set[str]:
        """References and containers that are in no exported manifest."""
        objects = list(objects)
        known = {one.key for one in objects}
        system = {ObjectKey("Role", QualifiedName.parse(role)) for role in SYSTEM_ROLES}
        needed = {key for one in objects for key in (*_referred(one), *_containers(one.key))}
        return {f"{key.kind}/{written_name(key.name)}" for key in needed - known - system}


def _rows(answers: Mapping[Any, tuple[Row, ...] | Missing], read: Show) -> tuple[Row, ...]:
    answer = answers.get(read, ())
    return () if isinstance(answer, Missing) else answer


def _containers(key: ObjectKey) -> Iterator[ObjectKey]:
    parts = key.name.parts
    if len(parts) > 1:
        yield ObjectKey("Database", QualifiedName(parts[:1]))
    if len(parts) > 2:
        yield ObjectKey("Schema", QualifiedName(parts[:2]))


def _referred(one: Exported) -> Iterator[ObjectKey]:
    manifest = MANIFESTS[one.key.kind].model_validate(one.document)
    for path, text, ref in marked_fields(manifest.spec, Ref, ("spec",)):
        kind = _sibling(manifest, path) if ref.kind == SIBLING else ref.kind
        if kind not in MANIFESTS or (ref.kind == "Image" and text.startswith("/")):
            continue
        try:
            yield ObjectKey(kind, QualifiedName.parse(text))
        except NameProblem:
            continue


def _sibling(manifest: Manifest, path: tuple[str | int, ...]) -> str:
    """What the field `kind` beside a reference says, or stands at."""
    value: Any = manifest.model_dump(by_alias=True)
    for segment in path[:-1]:
        value = value[segment]
    return str(value["kind"])
