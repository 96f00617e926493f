"""What a plan rests on, as hashes: the files of the project, and the declared columns that were read of each object.

Two looks with the same evidence plan the same changes, whatever else has moved: states, times and counters are no part of it. Columns are
kept as hashes, one each, so that a file that holds them gives nothing away and still tells which one moved.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.account.snapshot import Row, Show
from controller.api.base import LocalPath
from controller.api.objects import DesiredObject, ObjectKey
from controller.api.project import PROJECT_FILE
from controller.kinds.base import View
from controller.kinds.image import ImageFact
from controller.manifests.fields import marked_fields
from controller.reconcile.look.facts import FileHashes
from controller.reconcile.look.files import Loaded
from controller.reconcile.look.observe import RUNTIME
from controller.reconcile.planning.change import ObjectPlan, Plan, plain
from controller.reconcile.planning.expand import Kinds, Refusal, attempt
from controller.reconcile.state import identity

_UNDECLARED = RUNTIME | {
    *("updated_on", "suspended_on", "last_suspended", "last_altered", "dropped_on", "last_successful_refresh"),
    *("rows", "bytes", "error_code", "status_message", "message", "budget", "days_to_expire", "granted_by"),
    *("is_upgrading", "num_upgrading_instances", "current_version", "live_version_location_uri"),
}
CONTEXT = "build context"
_NOT_THERE = "does not exist"


@dataclass(frozen=True)
class ObjectEvidence:
    """One object: the hash of its manifest ('' for a part of a composite or a leftover), of its files, and of its columns.

    `columns` is None for an object that was not there.
    """

    manifest: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Evidence:
    """Of a whole project. Paths are relative to its folder; objects go by their full name."""

    files: Mapping[str, str]
    objects: Mapping[str, ObjectEvidence]

    @property
    def manifests(self) -> str:
        """One hash over all that comes from the folder."""
        objects = {name: [found.manifest, dict(found.files)] for name, found in self.objects.items() if found.manifest}
        return digest([dict(self.files), objects])

    @property
    def columns(self) -> str:
        """One hash over all that comes from the account."""
        return digest({name: dict(found.columns) if found.columns is not None else None for name, found in self.objects.items()})


def collect(loaded: Loaded, view: View, plan: Plan, kinds: Kinds, hashes: FileHashes) -> Evidence:
    """The evidence of one look.

    Raises:
        OSError: a manifest has gone while it was looked at.
    """
    root = loaded.project.root
    files = {_relative(path, root): hashes.of(path) for path in (root / PROJECT_FILE, *loaded.files)}
    view = View(view.project, plan.graph, view.snapshot, view.facts)
    objects = {}
    for entry in plan:
        obj = entry.desired
        declared = obj if obj is not None and obj.parent is None else None
        objects[identity(entry.key)] = ObjectEvidence(
            digest(declared.manifest.model_dump(mode="json", by_alias=True)) if declared else "",
            dict(object_files(declared, view, root, hashes)) if declared else {},
            _columns(entry, view, kinds),
        )
    return Evidence(files, objects)


def object_files(obj: DesiredObject, view: View | None, root: Path, hashes: FileHashes) -> Iterator[tuple[str, str]]:
    """The files that a manifest names, with their hashes; an image's build context counts as one, by the hash that names its tag."""
    for _, text, marker in marked_fields(obj.manifest.spec, LocalPath):
        base = obj.location.file.parent
        if obj.key.kind == "Image":
            fact = view.facts.get(obj.key) if view is not None else None
            if isinstance(fact, ImageFact):
                yield f"{_relative((base / text).resolve(), root)} ({CONTEXT})", fact.hash
            continue
        for path in _matching(base, text, glob=marker.glob):
            try:
                yield _relative(path, root), hashes.of(path)
            except OSError:
                yield _relative(path, root), "unreadable"


def _matching(base: Path, text: str, *, glob: bool) -> Iterable[Path]:
    whole = (base / text).resolve() if "*" not in text else None
    if whole is not None and whole.is_dir():
        return sorted(path for path in whole.rglob("*") if path.is_file())
    return sorted(path for path in base.glob(text) if path.is_file()) if glob and whole is None else [whole or base / text]


# ---- the account -----------------------------------------------------------------------------------------------------------------------


def _columns(entry: ObjectPlan, view: View, kinds: Kinds) -> dict[str, str] | None:
    """The declared columns of everything that was read of one object; of one without a row of its own (an image) how it differs."""
    rows = list(_rows(entry, view, kinds))
    found = {
        f"{prefix}{column}": digest(plain(value)) for prefix, row in rows for column, value in sorted(row.items()) if _declared(column)
    }
    if found:
        return found
    seen = entry.observation
    if seen is None or not seen.exists:
        return None
    return {field.path: digest(plain(field.before)) for field in seen.drift} | {"exists": digest(True)}


def _declared(column: str) -> bool:
    return column not in _UNDECLARED


def _rows(entry: ObjectPlan, view: View, kinds: Kinds) -> Iterator[tuple[str, Row]]:
    kind, obj, snapshot = kinds[entry.key.kind], entry.desired, view.snapshot
    reads = attempt(lambda: tuple(kind.reads(obj, view.graph) if obj is not None else kind.inventory_reads()))
    for read in () if isinstance(reads, Refusal) else reads:
        if read not in snapshot.answers:
            continue
        if _is_about(read, entry.key):
            listed = sorted(
                digest({c: plain(v) for c, v in row.items() if _declared(c) and c != "created_on"})
                for row in snapshot.rows(read)
                if row.get("privilege") != "OWNERSHIP"  # what a role has made, such as the project's lease, is not its grants
            )
            yield f"{read.what.lower()} {read.scope.partition(' ')[0].lower()} ".replace("  ", " "), {"": listed}
        elif (row := snapshot.row(read, entry.key.name)) is not None:
            yield "", row
    deep = attempt(lambda: tuple(kind.deep_reads(obj, view)) if obj is not None else ())
    for question in () if isinstance(deep, Refusal) else deep:
        answer = snapshot.rows(question) if question in snapshot.answers else ()
        if len(answer) == 1:
            yield "described ", answer[0]
        for row in answer if len(answer) > 1 else ():  # one row for each property or parameter
            yield "described ", {str(row.get("property") or row.get("key") or row.get("name")): dict(row)}


def _is_about(read: Show, key: ObjectKey) -> bool:
    """Whether a question is about what one object holds, such as a role's grants, and not about its siblings."""
    return read.scope.endswith(f" {key.name.sql}") and read.what.startswith("GRANTS")


# ---- hashing ---------------------------------------------------------------------------------------------------------------------------


def digest(value: Any) -> str:
    """A short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


# ---- comparing -------------------------------------------------------------------------------------------------------------------------


def moved(saved: Evidence, now: Evidence) -> Iterator[str]:
    """What is not as it was, a line each: files first, then objects with the column that moved."""
    for path in sorted(saved.files.keys() | now.files.keys()):
        if saved.files.get(path) != now.files.get(path):
            yield _file(path, saved.files.get(path), now.files.get(path))
    files_moved = saved.files != now.files
    for name in sorted(saved.objects.keys() & now.objects.keys()):
        before, after = saved.objects[name], now.objects[name]
        for path in sorted(before.files.keys() | after.files.keys()):
            if before.files.get(path) != after.files.get(path):
                yield f"{_file(path, before.files.get(path), after.files.get(path))}, of {name}"
        if before.manifest != after.manifest and not files_moved:
            yield f"{name}: its values are others; is another --account chosen?"
        yield from _account(name, before.columns, after.columns)
    for name in sorted(saved.objects.keys() - now.objects.keys()):
        if saved.objects[name].columns is not None and not files_moved:
            yield f"{name} is gone"


def _file(path: str, before: str | None, after: str | None) -> str:
    return f"{path} {'is new' if before is None else 'is gone' if after is None else 'has changed'}"


def _account(name: str, before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> Iterator[str]:
    if before is None and after is None:
        return
    if before is None or after is None:
        yield f"{name} {'exists now' if before is None else 'is gone'}"
        return
    asked = {column.partition(" ")[0] for column in after} & {column.partition(" ")[0] for column in before}
    for column in sorted(before.keys() | after.keys()):
        if before.get(column) == after.get(column) or (column.startswith("described ") and "described" not in asked):
            continue  # a DESCRIBE that one of the two looks did not need says nothing
        yield f"{name}: {column.strip()} has changed in the account"
