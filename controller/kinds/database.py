"""Databases and schemas. A drop takes all that is inside along, so it is refused while anything in there is not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Read, Row, Show
from controller.api.database import Database
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, ObjectKey
from controller.api.schema import Schema
from controller.kinds.base import View
from controller.kinds.mark import split_comment
from controller.kinds.properties import TableKind, as_int, as_upper
from controller.kinds.property import Property

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

ELSEWHERE: Mapping[str, str] = {
    "USER PROCEDURES": "procedure",
    "SEQUENCES": "sequence",
    "FILE FORMATS": "file format",
    "TASKS": "task",
    "STREAMS": "stream",
    "PIPES": "pipe",
    "ALERTS": "alert",
    "MODELS": "model",
    "NOTEBOOKS": "notebook",
    "STREAMLITS": "streamlit",
    "GIT REPOSITORIES": "git repository",
    "SNAPSHOTS": "snapshot of a block volume",
    "GATEWAYS": "gateway",
    "TAGS": "tag",
}
"""The same for what not every account has: where the statement itself is refused there can be none."""

SYSTEM_DATABASE = "SNOWFLAKE"
_BUILT_IN = frozenset({"INFORMATION_SCHEMA", "PUBLIC"})


def _option(word: str) -> Callable[[Any], bool]:
    """SHOW lists switches in one column: `TRANSIENT, MANAGED ACCESS`."""
    return lambda value: word in [part.strip() for part in (as_upper(value) or "").split(",")]


def _managed(on: bool) -> str:
    return f"{'ENABLE' if on else 'DISABLE'} MANAGED ACCESS"


_COMMON = (
    Property(
        "transient", "TRANSIENT", sql.flag, "options", _option("TRANSIENT"), mutable=False, at_create=False,
        way_out="it stays transient or not for good: put the old value back in the manifest, choose another name, or let it be made again "
        "without its contents (metadata.replace: allowed with deletionPolicy: delete)",
    ),
    Property("data_retention_days", "DATA_RETENTION_TIME_IN_DAYS", sql.number, "retention_time", as_int, inherits=True),
    Property(
        "max_data_extension_days", "MAX_DATA_EXTENSION_TIME_IN_DAYS", sql.number, "max_data_extension_time_in_days", as_int,
        inherits=True, deep=True,
    ),
    Property("default_ddl_collation", "DEFAULT_DDL_COLLATION", sql.text, "default_ddl_collation", inherits=True, deep=True),
    Property("log_level", "LOG_LEVEL", sql.word, "log_level", as_upper, inherits=True, deep=True),
)  # fmt: skip


class _Container(TableKind):
    """What a database and a schema have in common.

    Source: docs.snowflake.com, sql-reference/sql/create-database, create-schema, alter-schema, show-schemas, show-parameters.
    """

    properties: ClassVar[tuple[Property, ...]] = _COMMON

    def deep_question(self, name: QualifiedName) -> Read:
        return Show("PARAMETERS", f"{self.what} {name.sql}")

    def create_word(self, obj: DesiredObject) -> str:
        return f"TRANSIENT {self.what}" if obj.manifest.spec.transient else self.what

    def observed(self, row: Row) -> Mapping[str, Any]:
        return {column: row.get(column) for column in ("retention_time", "options", "created_on")}

    def drop_reads(self, key: ObjectKey) -> Iterable[Show]:
        return tuple(Show(plural, f"{self.what} {key.name.sql}") for plural in (*INSIDE, *ELSEWHERE))

    def foreign_inside(self, key: ObjectKey, view: View) -> Iterable[str]:
        for plural, called in {**INSIDE, **ELSEWHERE}.items():
            question = Show(plural, f"{self.what} {key.name.sql}")
            if plural in ELSEWHERE and not view.snapshot.asked(question):
                continue
            for row in view.snapshot.rows(question):
                if not _is_ours(row, view) and row.get("schema_name") != "INFORMATION_SCHEMA":
                    yield f"{called} {row.get('name')}"


class DatabaseKind(_Container):
    name: ClassVar[str] = "Database"
    manifest: ClassVar[type[Database]] = Database
    what: ClassVar[str] = "DATABASE"
    plural: ClassVar[str] = "DATABASES"

    def exported_name(self, row: Row) -> QualifiedName | None:
        """Neither shared databases nor those of applications or single users, which nobody here can change."""
        own = as_upper(row.get("kind")) in (None, "STANDARD") and not row.get("origin") and row.get("name") != SYSTEM_DATABASE
        return super().exported_name(row) if own else None

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
    properties: ClassVar[tuple[Property, ...]] = (
        Property("managed_access", "WITH MANAGED ACCESS", lambda on: "", "options", _option("MANAGED ACCESS"), implied=False, equals=False,
                 action=_managed),
        *_COMMON,
    )  # fmt: skip

    def exported_name(self, row: Row) -> QualifiedName | None:
        return None if row.get("name") == "INFORMATION_SCHEMA" else super().exported_name(row)


def _is_ours(row: Row, view: View) -> bool:
    """A mark of this project in the comment; functions show theirs as `description`."""
    mark = split_comment(row.get("comment") or row.get("description"))[1]
    return mark is not None and mark.project == view.project.name
