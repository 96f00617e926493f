"""Internal stages, with the files of the repository that are kept on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Row
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph
from controller.api.stage import Stage
from controller.kinds.base import FieldChange, Gatherer, Observation, Sql, Step, View
from controller.kinds.comments import renewed_comment
from controller.kinds.image_repository import encryption
from controller.kinds.mark import is_lease, mark_of
from controller.kinds.properties import TableKind, as_bool, as_upper
from controller.kinds.property import Property
from controller.kinds.stage_files import UploadFiles, UploadSet, find_uploads, fingerprint


def _seen_encryption(value: Any) -> str:
    """SHOW tells it by the stage's type: `INTERNAL NO CSE` has server-side encryption only."""
    text = as_upper(value) or ""
    if text == "INTERNAL NO CSE":
        return "SNOWFLAKE_SSE"
    return "SNOWFLAKE_FULL" if text == "INTERNAL" else text


def _directory(value: bool) -> str:
    return f"({sql.equals('ENABLE', sql.flag(value))})"


_NO_FILES = UploadSet()


class StageKind(TableKind):
    name: ClassVar[str] = "Stage"
    manifest: ClassVar[type[Stage]] = Stage
    what: ClassVar[str] = "STAGE"
    plural: ClassVar[str] = "STAGES"
    properties: ClassVar[tuple[Property, ...]] = (
        Property(
            "encryption",
            "ENCRYPTION",
            encryption,
            "type",
            _seen_encryption,
            mutable=False,
            way_out="a stage keeps the encryption it was made with: put the old value back in the manifest, or choose another name",
        ),
        Property("directory", "DIRECTORY", _directory, "directory_enabled", as_bool),
    )

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> UploadSet:
        if not obj.manifest.spec.files:
            return _NO_FILES
        uploads = find_uploads(obj.manifest.spec.files, obj.location.file.parent, gatherer.project.root)
        content = gatherer.hash_files([upload.file for upload in uploads]) if uploads else ""
        return UploadSet(uploads, fingerprint(uploads, content))

    def attributes(self, obj: DesiredObject, view: View) -> dict[str, str]:
        row = self.row(obj, view)
        mark = mark_of(row)
        left = row is not None and "files" in obj.manifest.metadata.ignore  # the note stays that of the files that were uploaded
        files = (mark.attributes.get("files", "") if mark is not None else "") if left else _files(obj, view).fingerprint
        return {**super().attributes(obj, view), "files": files}

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        files = _files(obj, view)
        mark = mark_of(row)
        if files.uploads and (mark is None or mark.attributes.get("files") != files.fingerprint):
            yield FieldChange("files", "other files, or none", f"{len(files.uploads)} files, {files.fingerprint}")

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        """The mark names the files only when all of them are there, so that an upload cut short is done again."""
        files = _files(obj, view)
        if not files.uploads:
            return super().create(obj, view)
        before = renewed_comment(obj, view, None, **{**self.attributes(obj, view), "files": ""})
        after = renewed_comment(obj, view, None, **self.attributes(obj, view))
        return (
            Sql(sql.create(self.what, obj.key.name, [*self.clauses(obj, view), sql.equals("COMMENT", sql.text(before))])),
            UploadFiles(obj.key.name, files.uploads),
            Sql(sql.alter_set(self.what, obj.key.name, [sql.equals("COMMENT", sql.text(after))])),
        )

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        steps = self.alterations(obj, seen, view)
        if "files" in {change.path for change in seen.drift}:
            return [UploadFiles(obj.key.name, _files(obj, view).uploads), *steps]
        return steps

    def exported_name(self, row: Row) -> QualifiedName | None:
        """Internal stages that last, without the leases of projects."""
        lasting = as_upper(row.get("type")) in ("INTERNAL", "INTERNAL NO CSE")
        return super().exported_name(row) if lasting and not is_lease(row.get("comment")) else None

    def observed(self, row: Row) -> Mapping[str, Any]:
        return {column: row.get(column) for column in ("type", "directory_enabled")}


def _files(obj: DesiredObject, view: View) -> UploadSet:
    fact = view.fact(obj.key)
    return fact if isinstance(fact, UploadSet) else UploadSet()
