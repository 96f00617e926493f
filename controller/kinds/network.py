"""Network rules and external access integrations: what containers may reach. Their lists are told by DESCRIBE alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Row, Snapshot
from controller.api.names import NameProblem, QualifiedName
from controller.api.network import ExternalAccessIntegration, NetworkRule
from controller.api.objects import DesiredObject
from controller.kinds.base import FieldChange, View
from controller.kinds.properties import TableKind, as_bool, as_int, as_list, as_upper
from controller.kinds.property import Property

_FIXED = "a rule keeps its {0}: put the old value back in the manifest, give the new rule another name, or set metadata.replace: allowed"
_NONE, _ALL = "NONE", "ALL"


def _same_values(value: Any) -> tuple[str, ...]:
    """The list as a set: neither case nor order counts."""
    values = as_list(value) if isinstance(value, str) or value is None else value
    return tuple(sorted({str(one).lower() for one in values}))


class NetworkRuleKind(TableKind):
    """Source: docs.snowflake.com, sql-reference/sql/create-network-rule, alter-network-rule, desc-network-rule."""

    name: ClassVar[str] = "NetworkRule"
    manifest: ClassVar[type[NetworkRule]] = NetworkRule
    what: ClassVar[str] = "NETWORK RULE"
    plural: ClassVar[str] = "NETWORK RULES"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("type", "TYPE", sql.word, "type", as_upper, mutable=False, way_out=_FIXED.format("type")),
        Property("mode", "MODE", sql.word, "mode", as_upper, mutable=False, way_out=_FIXED.format("mode")),
        Property("values", "VALUE_LIST", sql.texts, "value_list", _same_values, _same_values, deep=True),
    )

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        spec = super().export(name, row, snapshot) or {}
        return spec if spec.get("values") else None

    def more_drift(self, obj: DesiredObject, row: Row, view: View) -> Iterable[FieldChange]:
        """Before DESCRIBE was asked the number of entries, which SHOW tells, has to do."""
        wanted, count = obj.manifest.spec.values, as_int(row.get("entries_in_valuelist"))
        if not self.told(obj, view) and count is not None and count != len(set(wanted)):
            yield FieldChange("values", f"{count} entries", list(wanted))


# ---- integrations --------------------------------------------------------------------------------------------------------------------


def _names(field: str) -> Callable[[DesiredObject], list[QualifiedName] | str]:
    """Full names of what a list refers to: resolved by the loader, as written for what others keep."""

    def read(obj: DesiredObject) -> list[QualifiedName] | str:
        spec = obj.manifest.spec
        if field == "secrets" and spec.all_secrets:
            return _ALL
        path = {"network_rules": "networkRules"}.get(field, field)
        written = getattr(spec, field)
        keys = [obj.references.get(f"{path}[{index}]") for index in range(len(written))]
        return [key.name if key is not None else QualifiedName.parse(text) for key, text in zip(keys, written, strict=True)]

    return read


def _list(value: list[QualifiedName] | str) -> str:
    return _ALL if value == _ALL else sql.names(value) if value and not isinstance(value, str) else _NONE


def _listed(value: Any) -> tuple[str, ...]:
    """Names as DESCRIBE lists them, with or without quotes; NONE is an empty list."""
    return tuple(sorted({_one(name) for name in _split(str(value or "")) if name.upper() != _NONE}))


def _wanted(value: list[QualifiedName] | str) -> tuple[str, ...]:
    return (_ALL,) if isinstance(value, str) else tuple(sorted({name.sql for name in value}))


def _split(text: str) -> list[str]:
    """The parts of `[A.B.C, "x, y".B.D]`; a comma within quotes is part of a name."""
    parts, quoted, current = [], False, ""
    for char in text.strip().strip("[]()"):
        quoted ^= char == '"'
        if char == "," and not quoted:
            parts.append(current.strip())
            current = ""
        else:
            current += char
    return [part for part in [*parts, current.strip()] if part]


def _one(text: str) -> str:
    if text.upper() == _ALL:
        return _ALL  # the word, not a name
    try:
        return QualifiedName.parse(text).sql
    except NameProblem:
        return text


class ExternalAccessIntegrationKind(TableKind):
    """Source: docs.snowflake.com, sql-reference/sql/create-external-access-integration, alter-…, desc-integration."""

    name: ClassVar[str] = "ExternalAccessIntegration"
    manifest: ClassVar[type[ExternalAccessIntegration]] = ExternalAccessIntegration
    what: ClassVar[str] = "EXTERNAL ACCESS INTEGRATION"
    plural: ClassVar[str] = "EXTERNAL ACCESS INTEGRATIONS"
    properties: ClassVar[tuple[Property, ...]] = (
        Property(
            "network_rules", "ALLOWED_NETWORK_RULES", _list, "allowed_network_rules", _listed, _wanted, deep=True, unset=False,
            read=_names("network_rules"),
        ),
        Property(
            "secrets", "ALLOWED_AUTHENTICATION_SECRETS", _list, "allowed_authentication_secrets", _listed, _wanted, deep=True, unset=False,
            read=_names("secrets"),
        ),
        Property(
            "api_integrations", "ALLOWED_API_AUTHENTICATION_INTEGRATIONS", _list, "allowed_api_authentication_integrations", _listed,
            _wanted, deep=True, unset=False, read=_names("api_integrations"),
        ),
        Property("enabled", "ENABLED", sql.flag, "enabled", as_bool),
    )  # fmt: skip

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        spec = super().export(name, row, snapshot) or {}
        if [str(one).upper() for one in spec.get("secrets", ())] == [_ALL]:
            spec = {**{path: value for path, value in spec.items() if path != "secrets"}, "allSecrets": True}
        return spec if spec.get("networkRules") else None
