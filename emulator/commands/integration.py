"""Integrations: SECURITY (OAuth for ingress and others) and EXTERNAL ACCESS."""

from __future__ import annotations

from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import read_options, select
from emulator.results import ResultSet, text, timestamp
from emulator.sql.names import QualifiedName, quote
from emulator.sql.parser import Cursor

_SECURITY = {
    "TYPE": "word",
    "ENABLED": "bool",
    "OAUTH_CLIENT": "word",
    "COMMENT": "string",
    "OAUTH_ISSUE_REFRESH_TOKENS": "bool",
    "OAUTH_REFRESH_TOKEN_VALIDITY": "int",
    "OAUTH_USE_SECONDARY_ROLES": "word",
    "BLOCKED_ROLES_LIST": "list",
    "PRE_AUTHORIZED_ROLES_LIST": "list",
    "OAUTH_REDIRECT_URI": "string",
    "OAUTH_CLIENT_TYPE": "word",
    "AUTH_TYPE": "word",
    "OAUTH_CLIENT_ID": "string",
    "OAUTH_CLIENT_SECRET": "string",
    "OAUTH_TOKEN_ENDPOINT": "string",
}
_EXTERNAL = {
    "ALLOWED_NETWORK_RULES": "names",
    "ALLOWED_API_AUTHENTICATION_INTEGRATIONS": "names",
    "ALLOWED_AUTHENTICATION_SECRETS": "names",
    "ENABLED": "bool",
    "COMMENT": "string",
}
_DONE = "Statement executed successfully."
_INGRESS = "SNOWSERVICES_INGRESS"


@command("CREATE", "SECURITY", "INTEGRATION")
def create_security(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties(_SECURITY, "SECURITY INTEGRATION")
    cursor.end()
    missing = [key for key in ("TYPE",) if key not in given]
    if missing:
        raise errors.missing_option(*missing)
    kind = str(given["TYPE"])
    client = given.get("OAUTH_CLIENT")
    if client == _INGRESS and ctx.find("INTEGRATION", name) is None:
        for other in ctx.store.list("INTEGRATION"):
            if other.props.get("oauth_client") == _INGRESS:
                raise errors.ingress_integration_exists(other.name)
    shown = f"{kind} - {client}" if client else kind
    props = {"category": "SECURITY", "type": shown, "enabled": given.get("ENABLED", True), "oauth_client": client}
    props["given"] = {k: v for k, v in given.items() if k not in ("COMMENT", "OAUTH_CLIENT_SECRET")}
    _, status = ctx.create("INTEGRATION", name, comment=given.get("COMMENT"), props=props)
    return status


@command("CREATE", "EXTERNAL", "ACCESS", "INTEGRATION")
def create_external(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties(_EXTERNAL, "EXTERNAL ACCESS INTEGRATION")
    cursor.end()
    missing = [key for key in ("ALLOWED_NETWORK_RULES", "ENABLED") if key not in given]
    if missing:
        raise errors.missing_option(*missing)
    props = {"category": "EXTERNAL_ACCESS", "type": "EXTERNAL_ACCESS", **_external(ctx, given)}
    _, status = ctx.create("INTEGRATION", name, comment=given.get("COMMENT"), props=props)
    return status


def _external(ctx: CommandContext, given: dict[str, Any]) -> dict[str, Any]:
    """The properties with all names checked and qualified. Raises 2003 for a rule or secret that is not there."""
    props: dict[str, Any] = {}
    if "ENABLED" in given:
        props["enabled"] = given["ENABLED"]
    if "ALLOWED_NETWORK_RULES" in given:
        rules = [ctx.get("NETWORK RULE", rule, "USAGE") for rule in given["ALLOWED_NETWORK_RULES"]]
        inward = [rule.name for rule in rules if rule.props["mode"] != "EGRESS"]
        if inward or not rules:
            raise errors.invalid_property(", ".join(inward), "ALLOWED_NETWORK_RULES")
        props["rules"] = [_full(rule) for rule in rules]
    if "ALLOWED_AUTHENTICATION_SECRETS" in given:
        props["secrets"] = _names(ctx, "SECRET", given["ALLOWED_AUTHENTICATION_SECRETS"])
    if "ALLOWED_API_AUTHENTICATION_INTEGRATIONS" in given:
        props["integrations"] = _names(ctx, "INTEGRATION", given["ALLOWED_API_AUTHENTICATION_INTEGRATIONS"])
    return props


def _full(obj: CatalogueObject) -> str:
    return ".".join(quote(part) for part in obj.parts)


def _names(ctx: CommandContext, kind: str, names: list[QualifiedName]) -> list[str] | str:
    """`all` (of secrets), `none`, or a list of names that exist."""
    if len(names) == 1 and names[0].parts in (("NONE",), ("ALL",)):
        if names[0].name == "ALL" and kind != "SECRET":
            raise errors.invalid_property("ALL", "ALLOWED_API_AUTHENTICATION_INTEGRATIONS")
        return names[0].name.lower()
    return [_full(ctx.get(kind, name, "USAGE", "READ")) for name in names]


@command("ALTER", "EXTERNAL", "ACCESS", "INTEGRATION")
@command("ALTER", "SECURITY", "INTEGRATION")
@command("ALTER", "INTEGRATION")
def alter(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get_if("INTEGRATION", cursor.name())
    if obj is None:
        return ResultSet.status(_DONE)
    external = obj.props["category"] == "EXTERNAL_ACCESS"
    if cursor.accept("SET"):
        given = cursor.properties(_EXTERNAL if external else _SECURITY, "INTEGRATION")
        if not given:
            raise cursor.error()
        if external:
            obj.props.update(_external(ctx, given))
        else:
            obj.props["enabled"] = given.get("ENABLED", obj.props["enabled"])
            obj.props["given"].update({k: v for k, v in given.items() if k not in ("COMMENT", "OAUTH_CLIENT_SECRET")})
        if "COMMENT" in given:
            obj.comment = given["COMMENT"]
    else:
        cursor.expect("UNSET")
        while not cursor.at_end():
            key = cursor.identifier()
            kept = {"ALLOWED_AUTHENTICATION_SECRETS": "secrets", "ALLOWED_API_AUTHENTICATION_INTEGRATIONS": "integrations"}
            if key == "COMMENT":
                obj.comment = None
            elif external and key in kept:
                obj.props.pop(kept[key], None)
            elif not external and key in obj.props["given"]:
                obj.props["given"].pop(key)
            else:
                raise errors.invalid_option(key, "INTEGRATION")
            cursor.accept_op(",")
    cursor.end()
    ctx.store.update(obj)
    return ResultSet.status(_DONE)


@command("DROP", "SECURITY", "INTEGRATION")
@command("DROP", "EXTERNAL", "ACCESS", "INTEGRATION")
@command("DROP", "INTEGRATION")
def drop(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    return ctx.drop("INTEGRATION", name)


_COLUMNS = [*map(text, ("name", "type", "category", "enabled", "comment")), timestamp("created_on")]


def _show(ctx: CommandContext, cursor: Cursor, category: str | None) -> ResultSet:
    options = read_options(ctx, cursor, "INTEGRATION")
    rows = [
        (o.name, o.props["type"], o.props["category"], str(bool(o.props["enabled"])).lower(), o.comment, o.created_on)
        for o in select(ctx, "INTEGRATION", options)
        if category in (None, o.props["category"])
    ]
    return ResultSet(_COLUMNS, rows)


@command("SHOW", "INTEGRATIONS")
def show_all(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    return _show(ctx, cursor, None)


@command("SHOW", "SECURITY", "INTEGRATIONS")
def show_security(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    return _show(ctx, cursor, "SECURITY")


@command("SHOW", "EXTERNAL", "ACCESS", "INTEGRATIONS")
def show_external(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    return _show(ctx, cursor, "EXTERNAL_ACCESS")


@command("DESCRIBE", "SECURITY", "INTEGRATION")
@command("DESCRIBE", "EXTERNAL", "ACCESS", "INTEGRATION")
@command("DESCRIBE", "INTEGRATION")
def describe(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get("INTEGRATION", cursor.name(), anything=True)
    cursor.end()
    columns = [text(n) for n in ("property", "property_type", "property_value", "property_default")]
    return ResultSet(columns, _properties(obj))


def _properties(obj: CatalogueObject) -> list[tuple[str, str, str, str]]:
    enabled = ("ENABLED", "Boolean", str(bool(obj.props["enabled"])).lower(), "false")
    comment = ("COMMENT", "String", obj.comment or "", "")
    if obj.props["category"] == "EXTERNAL_ACCESS":
        lists = (
            ("ALLOWED_NETWORK_RULES", "rules"),
            ("ALLOWED_API_AUTHENTICATION_INTEGRATIONS", "integrations"),
            ("ALLOWED_AUTHENTICATION_SECRETS", "secrets"),
        )
        rows = [(name, "List", _listed(obj.props.get(key)), "[]") for name, key in lists]
        return [enabled, *rows, comment]
    given = obj.props.get("given", {})
    rows = [
        (key, "Boolean" if isinstance(value, bool) else "String", _listed(value), "")
        for key, value in given.items()
        if key not in ("TYPE", "ENABLED")
    ]
    return [enabled, *rows, comment]


def _listed(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(str(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
