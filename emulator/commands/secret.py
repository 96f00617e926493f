"""SECRET: values are written, never shown, and encrypted at rest with the account's own key."""

from __future__ import annotations

from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import show
from emulator.results import ResultSet, text, timestamp
from emulator.sql.parser import Cursor

_TYPES = ("GENERIC_STRING", "PASSWORD", "OAUTH2", "SYMMETRIC_KEY", "CLOUD_PROVIDER_TOKEN")
_PROPERTIES = {
    "TYPE": "word",
    "SECRET_STRING": "string",
    "USERNAME": "string",
    "PASSWORD": "string",
    "OAUTH_REFRESH_TOKEN": "string",
    "OAUTH_REFRESH_TOKEN_EXPIRY_TIME": "string",
    "OAUTH_SCOPES": "list",
    "API_AUTHENTICATION": "any",
    "ALGORITHM": "any",
    "COMMENT": "string",
}
_VALUES = {"SECRET_STRING": "secret_string", "PASSWORD": "password", "OAUTH_REFRESH_TOKEN": "oauth_refresh_token"}
_DONE = "Statement executed successfully."


@command("CREATE", "SECRET")
def create(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties(_PROPERTIES, "SECRET")
    cursor.end()
    kind = str(given.get("TYPE") or "")
    if not kind:
        raise errors.missing_option("TYPE")
    if kind not in _TYPES:
        raise errors.invalid_property(kind, "TYPE")
    needed = {
        "GENERIC_STRING": ["SECRET_STRING"],
        "PASSWORD": ["USERNAME", "PASSWORD"],
        "OAUTH2": ["API_AUTHENTICATION", *(["OAUTH_REFRESH_TOKEN_EXPIRY_TIME"] if "OAUTH_REFRESH_TOKEN" in given else [])],
    }
    missing = [key for key in needed.get(kind, []) if not given.get(key)]
    if missing:
        raise errors.missing_option(*missing)
    _fits(kind, given, token="OAUTH_REFRESH_TOKEN" in given)
    if kind == "OAUTH2" and ctx.store.find("INTEGRATION", "", "", str(given["API_AUTHENTICATION"])) is None:
        raise errors.does_not_exist("Integration", str(given["API_AUTHENTICATION"]))
    props = {"type": kind, **_stored(ctx, given)}
    _, status = ctx.create("SECRET", name, comment=given.get("COMMENT"), props=props)
    return status


def _fits(kind: str, given: dict[str, Any], *, token: bool) -> None:
    """Raises 1420 for a property that secrets of the kind do not have; an OAUTH2 one has a refresh token or scopes."""
    tokens = {"OAUTH_REFRESH_TOKEN", "OAUTH_REFRESH_TOKEN_EXPIRY_TIME"}
    known = {
        "GENERIC_STRING": {"SECRET_STRING"},
        "PASSWORD": {"USERNAME", "PASSWORD"},
        "OAUTH2": {"API_AUTHENTICATION", *(tokens if token else {"OAUTH_SCOPES"})},
    }.get(kind, set(_PROPERTIES))
    for key in given:
        if key not in known | {"TYPE", "COMMENT"}:
            raise errors.invalid_option(key, f"{kind} SECRET")


def _stored(ctx: CommandContext, given: dict[str, Any]) -> dict[str, Any]:
    props: dict[str, Any] = {}
    for key, value in given.items():
        if key in _VALUES:
            props[_VALUES[key]] = ctx.account.vault.seal(value)
        elif key not in ("TYPE", "COMMENT"):
            props[key.lower()] = value
    return props


@command("ALTER", "SECRET")
def alter(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get_if("SECRET", cursor.name())
    if obj is None:
        return ResultSet.status(_DONE)
    if cursor.accept("UNSET"):
        raise errors.unsupported("UNSET")
    cursor.expect("SET")
    given = cursor.properties({k: v for k, v in _PROPERTIES.items() if k not in ("TYPE", "API_AUTHENTICATION")}, "SECRET")
    if not given:
        raise cursor.error()
    _fits(obj.props["type"], given, token="oauth_refresh_token" in obj.props)
    obj.props.update(_stored(ctx, given))
    if "COMMENT" in given:
        obj.comment = given["COMMENT"]
    cursor.end()
    ctx.store.update(obj)
    return ResultSet.status(_DONE)


@command("DROP", "SECRET")
def drop(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    return ctx.drop("SECRET", name)


def _scopes(obj: CatalogueObject) -> str | None:
    scopes = obj.props.get("oauth_scopes")
    return None if scopes is None else "[" + ", ".join(str(s) for s in scopes) + "]"


_HEAD = ("name", "schema_name", "database_name", "owner", "comment", "secret_type")


def _head(obj: CatalogueObject) -> tuple[Any, ...]:
    return (obj.created_on, obj.name, obj.schema, obj.database, obj.owner, obj.comment, obj.props["type"])


@command("SHOW", "SECRETS")
def show_secrets(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    columns = [timestamp("created_on"), *map(text, _HEAD), text("oauth_scopes"), text("owner_role_type")]
    return show(ctx, cursor, "SECRET", columns, lambda o: (*_head(o), _scopes(o), "ROLE"))


@command("DESCRIBE", "SECRET")
def describe(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get("SECRET", cursor.name(), anything=True)
    cursor.end()
    rest = ("username", "oauth_access_token_expiry_time", "oauth_refresh_token_expiry_time", "oauth_scopes", "integration_name")
    props = obj.props
    row = (
        *_head(obj),
        props.get("username"),
        None,
        props.get("oauth_refresh_token_expiry_time"),
        _scopes(obj),
        props.get("api_authentication"),
    )
    return ResultSet([timestamp("created_on"), *map(text, _HEAD), *map(text, rest)], [row])
