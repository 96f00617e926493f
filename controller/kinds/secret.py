"""Secrets. A value is write-only in Snowflake: a change there cannot be seen; one at its source is, by a tag in the mark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.redact import HIDDEN
from controller.account.snapshot import Describe, Read, Row, Snapshot
from controller.api.base import ManagementPolicy
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph
from controller.api.secret import Secret
from controller.kinds.base import FieldChange, Gatherer, Observation, Sql, Stalled, Step, View
from controller.kinds.mark import split_comment
from controller.kinds.properties import Property, TableKind, as_upper
from controller.kinds.secret_values import SecretValue, read_value, source_of, tag

_TYPES = {"genericString": "GENERIC_STRING", "password": "PASSWORD"}


class SecretKind(TableKind):
    name: ClassVar[str] = "Secret"
    manifest: ClassVar[type[Secret]] = Secret
    what: ClassVar[str] = "SECRET"
    plural: ClassVar[str] = "SECRETS"
    properties: ClassVar[tuple[Property, ...]] = (
        Property(
            "type",
            "TYPE",
            _TYPES.__getitem__,
            "secret_type",
            as_upper,
            _TYPES.__getitem__,
            mutable=False,
            way_out="a secret keeps its type: put the old one back in the manifest, choose another name, or set metadata.replace: allowed",
        ),
        Property("username", "USERNAME", sql.text),
    )

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> SecretValue:
        """The value, from where the manifest points to; offline and where it is only observed none is needed: nothing is sent."""
        where = obj.manifest.spec.value_from
        if gatherer.offline or obj.manifest.metadata.management_policy is ManagementPolicy.OBSERVE:
            return SecretValue(None, source_of(where))
        return read_value(where, obj.location.file.parent)

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Describe]:
        if obj.manifest.spec.username is not None and self.row(obj, view) is not None:
            yield Describe(self.what, obj.key.name.sql)

    def attributes(self, obj: DesiredObject, view: View) -> dict[str, str]:
        text = _value(obj, view).text
        return {**super().attributes(obj, view), "value": tag(text, f"{view.project.name}/{obj.key}") if text is not None else ""}

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        mark = split_comment(row.get("comment"))[1]
        wanted = self.attributes(obj, view)["value"]
        unknown = _value(obj, view).text is None and not view.snapshot.offline  # only observed: nobody can tell what it holds
        if (mark is None and not unknown) or (mark is not None and wanted and mark.attributes.get("value") != wanted):
            yield FieldChange("value", "another value, or one that was not set by Snowcat", str(_value(obj, view)))
        question = Describe(self.what, obj.key.name.sql)
        described = view.snapshot.rows(question) if view.snapshot.asked(question) else ()
        if described and described[0].get("username") != obj.manifest.spec.username:
            yield FieldChange("username", described[0].get("username"), obj.manifest.spec.username)

    def exported_name(self, row: Row) -> QualifiedName | None:
        return super().exported_name(row) if as_upper(row.get("secret_type")) in _TYPES.values() else None

    def export_details(self, name: QualifiedName, row: Row) -> Iterable[Read]:
        yield self.deep_question(name)

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        """With a place-holder for the value, which nobody can read: a variable of the full name."""
        spec = super().export(name, row, snapshot) or {}
        variable = re.sub(r"[^A-Z0-9_]", "_", "_".join(part.text for part in name.parts).upper())
        user = self.told_of(name, snapshot).get("username")
        return {**spec, "valueFrom": {"env": variable}, **({"username": str(user)} if user else {})}

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        (shown,) = super().create(obj, view)
        comment_at = str(shown).rindex("COMMENT = ")
        head, tail = str(shown)[:comment_at], str(shown)[comment_at:]
        return (_hidden(*(f"{head}{self._value_clause(obj, value)}\n  {tail}" for value in self._both(obj, view))),)

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        """The value goes with the comment that holds its tag, in one statement: never one without the other."""
        if "value" not in {change.path for change in seen.drift}:
            return self.alterations(obj, seen, view)
        real, shown = (self.alterations(obj, seen, view, more=[self._value_clause(obj, value)]) for value in self._both(obj, view))
        return [_hidden(str(one), str(other)) for one, other in zip(real, shown, strict=True)]

    @staticmethod
    def _value_clause(obj: DesiredObject, value: str) -> str:
        return sql.equals("PASSWORD" if obj.manifest.spec.type == "password" else "SECRET_STRING", sql.text(value))

    @staticmethod
    def _both(obj: DesiredObject, view: View) -> tuple[str, str]:
        """The value to send, and what is shown in its place."""
        text = _value(obj, view).text
        return (HIDDEN if text is None else text), HIDDEN


def _hidden(text: str, display: str) -> Sql:
    return Sql(text, display=display)


def _value(obj: DesiredObject, view: View) -> SecretValue:
    fact = view.fact(obj.key)
    if not isinstance(fact, SecretValue):
        raise Stalled(f"the value of {obj.key} was not read")
    return fact
