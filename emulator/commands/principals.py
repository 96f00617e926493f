"""USER and ROLE."""

from __future__ import annotations

from typing import Any

from emulator import errors
from emulator.catalogue.access import SYSTEM_ROLES
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import read_options, show
from emulator.results import ResultSet, number, text, timestamp
from emulator.sql.parser import Cursor
from emulator.wire.login import hash_password, public_key_fingerprint

_PROPERTIES = {
    "PASSWORD": "string",
    "LOGIN_NAME": "any",
    "DISPLAY_NAME": "any",
    "FIRST_NAME": "any",
    "LAST_NAME": "any",
    "EMAIL": "string",
    "MUST_CHANGE_PASSWORD": "bool",
    "DISABLED": "bool",
    "DEFAULT_WAREHOUSE": "any",
    "DEFAULT_NAMESPACE": "any",
    "DEFAULT_ROLE": "any",
    "DEFAULT_SECONDARY_ROLES": "any",
    "RSA_PUBLIC_KEY": "string",
    "RSA_PUBLIC_KEY_2": "string",
    "TYPE": "word",
    "COMMENT": "string",
    "NETWORK_POLICY": "any",
}
_DONE = "Statement executed successfully."


def _apply(user: dict[str, Any], given: dict[str, Any]) -> None:
    """Takes the given properties over into the user's. Raises 1422 for a key that is no public key."""
    for key, value in given.items():
        if key == "COMMENT":
            continue
        if key == "PASSWORD":
            user["password"] = hash_password(value) if value else None
        elif key in ("RSA_PUBLIC_KEY", "RSA_PUBLIC_KEY_2") and value:
            try:
                public_key_fingerprint(value)
            except ValueError:
                raise errors.SqlError(
                    390144, "22023", f"{errors.COMPILATION}New public key rejected by current policy. Reason: 'Invalid public key'"
                ) from None
            user[key.lower()] = value
        elif key in ("DEFAULT_ROLE", "DEFAULT_WAREHOUSE", "DEFAULT_NAMESPACE", "LOGIN_NAME"):
            user[key.lower()] = str(value).upper() if value is not None else None
        else:
            user[key.lower()] = value


@command("CREATE", "USER")
def create_user(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties(_PROPERTIES, "USER")
    cursor.end()
    props: dict[str, Any] = {}
    _apply(props, given)
    props.setdefault("login_name", name.name)
    _, status = ctx.create("USER", name, comment=given.get("COMMENT", ""), props=props)
    return status


@command("ALTER", "USER")
def alter_user(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    own = name.parts == (ctx.session.user,)
    obj = ctx.find("USER", name) if own else ctx.get_if("USER", name)
    if obj is None:
        if ctx.modifiers.if_exists:
            return ResultSet.status(_DONE)
        raise errors.does_not_exist("User", name.name)
    if cursor.accept("ADD"):
        return _add_token(ctx, cursor, obj)
    if cursor.accept("REMOVE") or cursor.accept("DROP"):
        return _remove_token(ctx, cursor, obj)
    if cursor.accept("SET"):
        given = cursor.properties(_PROPERTIES, "USER")
        if not given or not cursor.at_end():
            raise cursor.error()
        _apply(obj.props, given)
        if "COMMENT" in given:
            obj.comment = given["COMMENT"]
    else:
        cursor.expect("UNSET")
        while not cursor.at_end():
            key = cursor.identifier()
            if key == "COMMENT":
                obj.comment = ""
            obj.props.pop(key.lower(), None)
            cursor.accept_op(",")
    ctx.store.update(obj)
    return ResultSet.status(_DONE)


def _pat_words(cursor: Cursor) -> None:
    if not cursor.accept("PAT"):
        cursor.expect("PROGRAMMATIC", "ACCESS", "TOKEN")


def _add_token(ctx: CommandContext, cursor: Cursor, user: CatalogueObject) -> ResultSet:
    """A programmatic access token; its secret is shown this once."""
    _pat_words(cursor)
    name = cursor.identifier()
    kinds = {"ROLE_RESTRICTION": "string", "DAYS_TO_EXPIRY": "int", "MINS_TO_BYPASS_NETWORK_POLICY_REQUIREMENT": "int", "COMMENT": "string"}
    given = cursor.properties(kinds, "PROGRAMMATIC ACCESS TOKEN")
    cursor.end()
    known = user.props.setdefault("tokens", {})
    if name in known:
        raise errors.already_exists(name)
    role = given.get("ROLE_RESTRICTION")
    role = role.upper() if role else None
    if role is not None and not ctx.access.may_use_role(user.name, role):
        raise errors.role_not_assigned(role)
    days = given.get("DAYS_TO_EXPIRY", 15)
    secret = ctx.account.tokens.issue(user.name, role, "pat", f"{user.name}.{name}", days * 86_400)
    known[name] = {"role": role, "days": days, "comment": given.get("COMMENT")}
    ctx.store.update(user)
    return ResultSet([text("token_name"), text("token_secret")], [(name, secret)])


def _remove_token(ctx: CommandContext, cursor: Cursor, user: CatalogueObject) -> ResultSet:
    _pat_words(cursor)
    name = cursor.identifier()
    cursor.end()
    if user.props.get("tokens", {}).pop(name, None) is None:
        raise errors.does_not_exist("Programmatic access token", name)
    ctx.account.tokens.revoke("pat", f"{user.name}.{name}")
    ctx.store.update(user)
    return ResultSet.status(f"Programmatic access token {name} successfully removed.")


@command("DROP", "USER")
def drop_user(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    return ctx.drop("USER", name)


_USER_TEXTS = (
    "name",
    "login_name",
    "display_name",
    "first_name",
    "last_name",
    "email",
    "comment",
    "disabled",
    "must_change_password",
    "default_warehouse",
    "default_namespace",
    "default_role",
    "default_secondary_roles",
    "owner",
    "has_password",
    "has_rsa_public_key",
    "type",
)


def _user_value(obj: CatalogueObject, column: str) -> Any:
    props = obj.props
    simple: dict[str, Any] = {
        "name": obj.name,
        "owner": obj.owner,
        "comment": obj.comment or "",
        "has_password": str(bool(props.get("password"))).lower(),
        "has_rsa_public_key": str(bool(props.get("rsa_public_key"))).lower(),
        "disabled": str(bool(props.get("disabled"))).lower(),
        "must_change_password": str(bool(props.get("must_change_password"))).lower(),
        "display_name": props.get("display_name") or obj.name,
    }
    if column in simple:
        return simple[column]
    value = props.get(column)
    return "" if value is None and column != "type" else value if value is None else str(value)


@command("SHOW", "USERS")
def show_users(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    columns = [text("name"), timestamp("created_on"), *map(text, _USER_TEXTS[1:])]
    return show(
        ctx,
        cursor,
        "USER",
        columns,
        lambda o: (o.name, o.created_on, *(_user_value(o, c) for c in _USER_TEXTS[1:])),
    )


@command("DESCRIBE", "USER")
def describe_user(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    obj = ctx.find("USER", name) if name.parts == (ctx.session.user,) else ctx.get("USER", name, anything=True)
    if obj is None:
        raise errors.does_not_exist("User", name.name)
    rows = [(c.upper(), None if _user_value(obj, c) == "" else _user_value(obj, c), "null", "") for c in _USER_TEXTS]
    rows.append(("PASSWORD", "********" if obj.props.get("password") else None, "null", ""))
    for suffix in ("", "_2"):
        key = obj.props.get(f"rsa_public_key{suffix}")
        rows.append((f"RSA_PUBLIC_KEY{suffix}", key, "null", ""))
        rows.append((f"RSA_PUBLIC_KEY{suffix}_FP", public_key_fingerprint(key) if key else None, "null", ""))
    return ResultSet([text(c) for c in ("property", "value", "default", "description")], rows)


# -- roles


@command("CREATE", "ROLE")
def create_role(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties({"COMMENT": "string"}, "ROLE")
    cursor.end()
    _, status = ctx.create("ROLE", name, comment=given.get("COMMENT", ""))
    return status


@command("ALTER", "ROLE")
def alter_role(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get_if("ROLE", cursor.name())
    if obj is None:
        return ResultSet.status(_DONE)
    if cursor.accept("UNSET", "COMMENT"):
        obj.comment = ""
    else:
        cursor.expect("SET", "COMMENT")
        cursor.expect_op("=")
        obj.comment = cursor.string()
    cursor.end()
    ctx.store.update(obj)
    return ResultSet.status(_DONE)


@command("DROP", "ROLE")
def drop_role(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    if name.name in SYSTEM_ROLES:
        raise errors.insufficient_privileges("role", name.name)
    status = ctx.drop("ROLE", name)
    if ctx.session.role == name.name:
        ctx.session.role = "PUBLIC"
    return status


@command("SHOW", "ROLES")
def show_roles(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    """Roles are visible to all, as the real account has it."""
    options = read_options(ctx, cursor, "ROLE")
    session = ctx.session
    user = ctx.store.find("USER", "", "", session.user)
    default = (user.props if user else {}).get("default_role")
    inherited = ctx.access.inherited(session.role)
    rows = []
    for obj in options.cut([o for o in ctx.store.list("ROLE") if options.accepts(o.name)], lambda o: o.name):
        given = ctx.store.role_grants(role=obj.name)
        rows.append(
            (
                obj.created_on,
                obj.name,
                "Y" if obj.name == default else "N",
                "Y" if obj.name == session.role else "N",
                "Y" if obj.name in inherited and obj.name != session.role else "N",
                sum(g.to_kind == "USER" for g in given),
                sum(g.to_kind == "ROLE" for g in given),
                len(ctx.store.role_grants(to=("ROLE", obj.name))),
                obj.owner,
                obj.comment or "",
            )
        )
    columns = [
        timestamp("created_on"),
        *map(text, ("name", "is_default", "is_current", "is_inherited")),
        *map(number, ("assigned_to_users", "granted_to_roles", "granted_roles")),
        *map(text, ("owner", "comment")),
    ]
    return ResultSet(columns, rows)
