"""Network rules and external access integrations: what containers may reach. Their lists are told by DESCRIBE alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Describe, Read, Row, Snapshot
from controller.api.names import NameProblem, QualifiedName
from controller.api.network import ExternalAccessIntegration, NetworkRule
from controller.api.objects import DesiredObject
from controller.kinds.base import FieldChange, Observation, Step, View
from controller.kinds.exporting import name_text
from controller.kinds.properties import Property, TableKind, as_bool, as_int, as_list, as_upper

_FIXED = "a rule keeps its {0}: put the old value back in the manifest, give the new rule another name, or set metadata.replace: allowed"


class _Described(TableKind):
    """What export needs is told by DESCRIBE."""

    def export_details(self, name: QualifiedName, row: Row) -> Iterable[Read]:
        yield self.deep_question(name)


class NetworkRuleKind(_Described):
    name: ClassVar[str] = "NetworkRule"
    manifest: ClassVar[type[NetworkRule]] = NetworkRule
    what: ClassVar[str] = "NETWORK RULE"
    plural: ClassVar[str] = "NETWORK RULES"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("type", "TYPE", sql.word, "type", as_upper, mutable=False, way_out=_FIXED.format("type")),
        Property("mode", "MODE", sql.word, "mode", as_upper, mutable=False, way_out=_FIXED.format("mode")),
        Property("values", "VALUE_LIST", sql.texts),
    )

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Describe]:
        if self.row(obj, view) is not None:
            yield Describe(self.what, obj.key.name.sql)

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        values = list(as_list(self.told_of(name, snapshot).get("value_list")))
        return {**(super().export(name, row, snapshot) or {}), "values": values} if values else None

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        """By DESCRIBE where it was asked, else by the number of entries, which SHOW tells."""
        wanted = obj.manifest.spec.values
        described = _described(self, obj, view)
        if described:
            seen = list(as_list(described[0].get("value_list")))
            if sorted(map(str.lower, seen)) != sorted(map(str.lower, wanted)):
                yield FieldChange("values", seen, list(wanted))
            return
        count = as_int(row.get("entries_in_valuelist"))
        if count is not None and count != len(set(wanted)):
            yield FieldChange("values", f"{count} entries", list(wanted))


class ExternalAccessIntegrationKind(_Described):
    name: ClassVar[str] = "ExternalAccessIntegration"
    manifest: ClassVar[type[ExternalAccessIntegration]] = ExternalAccessIntegration
    what: ClassVar[str] = "EXTERNAL ACCESS INTEGRATION"
    plural: ClassVar[str] = "EXTERNAL ACCESS INTEGRATIONS"
    properties: ClassVar[tuple[Property, ...]] = (Property("enabled", "ENABLED", sql.flag, "enabled", as_bool),)

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Describe]:
        if self.row(obj, view) is not None:
            yield Describe(self.what, obj.key.name.sql)

    def clauses(self, obj: DesiredObject, view: View) -> list[str]:
        return [
            *(_list_clause(obj, field) for field in _LISTS if getattr(obj.manifest.spec, _LISTS[field][1])),
            *super().clauses(obj, view),
        ]

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        told = {str(r.get("property", "")).upper(): r.get("property_value") for r in _described(self, obj, view)}
        for path, (key, _) in _LISTS.items():
            if key in told:
                seen, wanted = sorted(map(_same_name, as_list(told[key]))), sorted(str(name) for name in _names(obj, path))
                if [name for name in seen if name != "NONE"] != wanted:
                    yield FieldChange(path, seen, wanted)

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        told = {key.upper(): value for key, value in self.told_of(name, snapshot).items()}
        lists = {path: [name_text(one) for one in as_list(told.get(key)) if one.upper() != "NONE"] for path, (key, _) in _LISTS.items()}
        filled = {path: names for path, names in lists.items() if names}
        return {**(super().export(name, row, snapshot) or {}), **filled} if lists["networkRules"] else None

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        paths = {change.path for change in seen.drift}
        return self.alterations(obj, seen, view, more=[_list_clause(obj, path) for path in _LISTS if path in paths])


_LISTS = {
    "networkRules": ("ALLOWED_NETWORK_RULES", "network_rules"),
    "secrets": ("ALLOWED_AUTHENTICATION_SECRETS", "secrets"),
}
"""Field in YAML → clause and DESCRIBE's property, field of the spec."""


def _list_clause(obj: DesiredObject, path: str) -> str:
    names = _names(obj, path)
    return sql.equals(_LISTS[path][0], sql.names(names) if names else "NONE")


def _names(obj: DesiredObject, path: str) -> list[QualifiedName]:
    """Full names of what a list refers to: resolved by the loader, as written for what others keep."""
    written = getattr(obj.manifest.spec, _LISTS[path][1])
    keys = [obj.references.get(f"{path}[{index}]") for index in range(len(written))]
    return [key.name if key is not None else QualifiedName.parse(text) for key, text in zip(keys, written, strict=True)]


def _same_name(text: str) -> str:
    """A name as DESCRIBE gives it, in the form that `str(QualifiedName)` has."""
    try:
        return str(QualifiedName.parse(text))
    except NameProblem:
        return text


def _described(kind: TableKind, obj: DesiredObject, view: View) -> tuple[Row, ...]:
    question = Describe(kind.what, obj.key.name.sql)
    return view.snapshot.rows(question) if view.snapshot.asked(question) else ()
