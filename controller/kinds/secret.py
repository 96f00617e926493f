"""Secrets. A value is write-only in Snowflake: a change there cannot be seen; one at its source is, by a tag in the mark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.redact import HIDDEN
from controller.account.snapshot import Read, Row, Snapshot
from controller.api.base import ManagementPolicy
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph
from controller.api.secret import Secret
from controller.kinds.base import FieldChange, Gatherer, Observation, Sql, Stalled, Step, View
from controller.kinds.comments import marked_name
from controller.kinds.mark import Mark, mark_of
from controller.kinds.properties import TableKind, Verdict, as_list, as_name, as_upper, name_sql, stored_name
from controller.kinds.property import Property
from controller.kinds.secret_values import SecretValue, read_value, source_of, tag

_TYPES = {"genericString": "GENERIC_STRING", "password": "PASSWORD", "oauth2": "OAUTH2"}
_VALUES = {"genericString": "SECRET_STRING", "password": "PASSWORD", "oauth2": "OAUTH_REFRESH_TOKEN"}
_KEPT = "put the old one back in the manifest, choose another name, or set metadata.replace: allowed"
_A_DAY = timedelta(days=1)  # no two time zones lie further apart


class Moment(str):
    """A time as text. Two are equal when they name the same time in some time zone: DESCRIBE answers in the session's."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        try:
            one, two = (datetime.fromisoformat(str(text).strip()[:19]) for text in (self, other))
        except ValueError:
            return str(self) == str(other)
        return bool(abs(one - two) <= _A_DAY)


def _moment(value: Any) -> Moment | None:
    return Moment(value) if value else None


def _scopes(value: Any) -> tuple[str, ...]:
    return tuple(sorted(as_list(value) if isinstance(value, str) or value is None else value))


class SecretKind(TableKind):
    """Source: docs.snowflake.com, sql-reference/sql/create-secret, alter-secret, show-secrets, desc-secret.

    `value=` in the mark is the tag of the value that was sent last, with the time that a refresh token ends.
    """

    name: ClassVar[str] = "Secret"
    manifest: ClassVar[type[Secret]] = Secret
    what: ClassVar[str] = "SECRET"
    plural: ClassVar[str] = "SECRETS"
    properties: ClassVar[tuple[Property, ...]] = (
        Property(
            "type", "TYPE", _TYPES.__getitem__, "secret_type", as_upper, _TYPES.__getitem__, mutable=False,
            way_out=f"a secret keeps its type: {_KEPT}",
        ),
        Property("username", "USERNAME", sql.text, "username", deep=True),
        Property(
            "api_authentication", "API_AUTHENTICATION", name_sql, "integration_name", as_name, stored_name, mutable=False, deep=True,
            way_out=f"a secret keeps its integration: {_KEPT}",
        ),
        Property("oauth_scopes", "OAUTH_SCOPES", sql.texts, "oauth_scopes", _scopes, _scopes, unset=False),
        Property(
            "refresh_token_expiry", "OAUTH_REFRESH_TOKEN_EXPIRY_TIME", sql.text, "oauth_refresh_token_expiry_time", _moment, _moment,
            deep=True,
        ),
    )  # fmt: skip

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> SecretValue | None:
        """The value, from where the manifest points to; offline and where it is only observed none is needed: nothing is sent.

        One that cannot be had here is no error yet: a secret that exists needs none to stay as it is.
        """
        where = obj.manifest.spec.value_from
        if where is None:
            return None
        if gatherer.offline or obj.manifest.metadata.management_policy is ManagementPolicy.OBSERVE:
            return SecretValue(None, source_of(where))
        return read_value(where, obj.location.file.parent)

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Read]:
        """A generic string has nothing that DESCRIBE would tell."""
        return () if obj.manifest.spec.type == "genericString" else super().deep_reads(obj, view)

    def attributes(self, obj: DesiredObject, view: View) -> dict[str, str]:
        return {**super().attributes(obj, view), "value": self._tag(obj, view)}

    def _tag(self, obj: DesiredObject, view: View) -> str:
        """What stands for the value in the mark; '' where it is not known."""
        row, value, expiry = self.row(obj, view), _value(obj, view), obj.manifest.spec.refresh_token_expiry
        mark = mark_of(row)
        if row is not None and "valueFrom" in obj.manifest.metadata.ignore:  # that of the value that was sent
            return mark.attributes.get("value", "") if mark is not None else ""
        if value is None:
            return ""
        if value.problem:
            return _sent(obj, mark, view)
        if value.text is None:
            return ""
        return tag(f"{value.text}\0{expiry}" if expiry else value.text, f"{view.project.name}/{obj.key}")

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        mark = mark_of(row)
        sent = _sent(obj, mark, view)
        told = self.told(obj, view)
        value, wanted = _value(obj, view), self.attributes(obj, view)["value"]
        if obj.manifest.spec.type == "oauth2" and told and (value is None) == bool(told.get("oauth_refresh_token_expiry_time")):
            with_token, without = "a refresh token", "no refresh token"
            before, after = (with_token, without) if value is None else (without, with_token)
            yield FieldChange("valueFrom", before, after, immutable=True, way_out=f"it has a refresh token or not for good: {_KEPT}")
            return
        observed = value is None or (
            value.text is None and not value.problem and not view.snapshot.offline
        )  # nobody can tell what it holds
        if not observed and (not sent or (wanted and sent != wanted)):
            yield FieldChange("valueFrom", "another value, or one that was not set by Snowcat", str(value))

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        """It works as it is, also where its value cannot be compared."""
        value = _value(obj, view)
        return Verdict(message=value.unchecked if value is not None else "")

    def exported_name(self, row: Row) -> QualifiedName | None:
        return super().exported_name(row) if as_upper(row.get("secret_type")) in _TYPES.values() else None

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        """With a place-holder for the value, which nobody can read: a variable of the full name."""
        spec = super().export(name, row, snapshot) or {}
        spec = {path: str(value) if isinstance(value, Moment) else value for path, value in spec.items()}
        if spec.get("type") == "oauth2" and "refreshTokenExpiry" not in spec:
            return spec
        variable = re.sub(r"[^A-Z0-9_]", "_", "_".join(part.text for part in name.parts).upper())
        return {**spec, "valueFrom": {"env": variable}}

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        (shown,) = super().create(obj, view)
        if obj.manifest.spec.value_from is None:
            return (shown,)
        comment_at = str(shown).rindex("COMMENT = ")
        head, tail = str(shown)[:comment_at], str(shown)[comment_at:]
        return (_hidden(*(f"{head}{self._value_clause(obj, value)}\n  {tail}" for value in self._both(obj, view))),)

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        """The value goes with the comment that holds its tag, in one statement: never one without the other."""
        if "valueFrom" not in {change.path for change in seen.drift}:
            return self.alterations(obj, seen, view)
        expiry = replace(seen, drift=tuple(change for change in seen.drift if change.path != "refreshTokenExpiry"))
        more = [p.clause_for(p.value(obj)) for p in self.properties if p.path == "refreshTokenExpiry" and p.value(obj)]
        real, shown = (self.alterations(obj, expiry, view, more=[self._value_clause(obj, value), *more]) for value in self._both(obj, view))
        return [_hidden(str(one), str(other)) for one, other in zip(real, shown, strict=True)]

    @staticmethod
    def _value_clause(obj: DesiredObject, value: str) -> str:
        return sql.equals(_VALUES[obj.manifest.spec.type], sql.text(value))

    @staticmethod
    def _both(obj: DesiredObject, view: View) -> tuple[str, str]:
        """The value to send, and what is shown in its place."""
        value = _value(obj, view)
        if value is not None:
            value.needed()
        return (HIDDEN if value is None or value.text is None else value.text), HIDDEN


def _sent(obj: DesiredObject, mark: Mark | None, view: View) -> str:
    """The tag of the value that this project sent last; '' when it has sent none, or somebody has written over the mark."""
    if mark is None or mark.project != view.project.name or (mark.kind, marked_name(mark)) != (obj.key.kind, obj.key.name.name):
        return ""
    return mark.attributes.get("value", "")


def _hidden(text: str, display: str) -> Sql:
    return Sql(text, display=display)


def _value(obj: DesiredObject, view: View) -> SecretValue | None:
    fact = view.fact(obj.key)
    if obj.manifest.spec.value_from is None:
        return None
    if not isinstance(fact, SecretValue):
        raise Stalled(f"the value of {obj.key} was not read")
    return fact
