"""Databases and schemas. A drop takes all that is inside along, so it is refused while anything in there is not ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Row, Show
from controller.api.database import Database
from controller.api.objects import ObjectKey
from controller.api.schema import Schema
from controller.kinds.base import View
from controller.kinds.mark import split_comment
from controller.kinds.properties import Property, TableKind, as_int

INSIDE: Mapping[str, str] = {
    "OBJECTS": "table or view",
    "STAGES": "stage",
    "SERVICES": "service",
    "IMAGE REPOSITORIES": "image repository",
    "SECRETS": "secret",
    "NETWORK RULES": "network rule",
    "USER FUNCTIONS": "function",
}
"""What is looked for before a drop: the plural as SHOW takes it, and what one is called."""

_BUILT_IN = frozenset({"INFORMATION_SCHEMA", "PUBLIC"})
_RETENTION = Property(
    "data_retention_days", "DATA_RETENTION_TIME_IN_DAYS", sql.number, "retention_time", as_int, inherits=True
)  # fmt: skip


class _Container(TableKind):
    """What a database and a schema have in common."""

    properties: ClassVar[tuple[Property, ...]] = (_RETENTION,)

    def observed(self, row: Row) -> Mapping[str, Any]:
        return {column: row.get(column) for column in ("retention_time", "created_on")}

    def drop_reads(self, key: ObjectKey) -> Iterable[Show]:
        return tuple(Show(plural, f"{self.what} {key.name.sql}") for plural in INSIDE)

    def foreign_inside(self, key: ObjectKey, view: View) -> Iterable[str]:
        for plural, called in INSIDE.items():
            for row in view.snapshot.rows(Show(plural, f"{self.what} {key.name.sql}")):
                if not _is_ours(row, view) and row.get("schema_name") != "INFORMATION_SCHEMA":
                    yield f"{called} {row.get('name')}"


class DatabaseKind(_Container):
    name: ClassVar[str] = "Database"
    manifest: ClassVar[type[Database]] = Database
    what: ClassVar[str] = "DATABASE"
    plural: ClassVar[str] = "DATABASES"

    def drop_reads(self, key: ObjectKey) -> Iterable[Show]:
        return (Show("SCHEMAS", f"DATABASE {key.name.sql}"), *super().drop_reads(key))

    def foreign_inside(self, key: ObjectKey, view: View) -> Iterable[str]:
        schemas = Show("SCHEMAS", f"DATABASE {key.name.sql}")
        for row in view.snapshot.rows(schemas):
            if row.get("name") not in _BUILT_IN and not _is_ours(row, view):
                yield f"schema {row.get('name')}"
        yield from super().foreign_inside(key, view)


class SchemaKind(_Container):
    name: ClassVar[str] = "Schema"
    manifest: ClassVar[type[Schema]] = Schema
    what: ClassVar[str] = "SCHEMA"
    plural: ClassVar[str] = "SCHEMAS"


def _is_ours(row: Row, view: View) -> bool:
    """A mark of this project in the comment; functions show theirs as `description`."""
    mark = split_comment(row.get("comment") or row.get("description"))[1]
    return mark is not None and mark.project == view.project.name
