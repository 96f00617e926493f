"""DATABASE and SCHEMA."""

from __future__ import annotations

from typing import Any

from emulator import errors, object_parameters
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import show
from emulator.results import ResultSet, text, timestamp
from emulator.sql.names import QualifiedName
from emulator.sql.parser import Cursor

_PROPERTIES = {"COMMENT": "string", **object_parameters.WORDS["SCHEMA"]}
# Kinds that a running container or a pushed image knows by its full name.
_FIXED = ("SERVICE", "FUNCTION", "IMAGE REPOSITORY")
_SHARES = {"SFC_SAMPLES.SAMPLE_DATA": ("TPCH_SF1",)}


@command("CREATE", "DATABASE")
def create_database(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    if cursor.accept("FROM", "SHARE"):
        return _from_share(ctx, cursor, name)
    given = cursor.properties(_PROPERTIES, "DATABASE")
    cursor.end()
    props = _props("DATABASE", ctx, given)
    with ctx.store.transaction():
        obj, status = ctx.create("DATABASE", name, comment=given.get("COMMENT", ""), props=props)
        if obj is not None:
            ctx.store.create("SCHEMA", obj.name, "", "PUBLIC", owner=obj.owner, comment="")
    if obj is not None:
        ctx.session.database, ctx.session.schema = obj.name, "PUBLIC"
    return status


def _props(kind: str, ctx: CommandContext, given: dict[str, Any]) -> dict[str, Any]:
    transient = "TRANSIENT" in ctx.modifiers.adjectives
    _check_retention(transient, given)
    return {"transient": transient, "parameters": object_parameters.take(kind, given)}


def _check_retention(transient: bool, given: dict[str, Any]) -> None:
    """Raises 1422: what is transient keeps a day at most."""
    if transient and (given.get("DATA_RETENTION_TIME_IN_DAYS") or 0) > 1:
        raise errors.invalid_property(given["DATA_RETENTION_TIME_IN_DAYS"], "DATA_RETENTION_TIME_IN_DAYS")


def _retention(ctx: CommandContext, obj: CatalogueObject) -> str:
    return str(object_parameters.value_of(ctx.store, obj, "DATA_RETENTION_TIME_IN_DAYS")[0])


def _options(obj: CatalogueObject) -> str:
    words = {"TRANSIENT": obj.props.get("transient"), "MANAGED ACCESS": obj.props.get("managed")}
    return ", ".join(word for word, on in words.items() if on)


def _from_share(ctx: CommandContext, cursor: Cursor, name: QualifiedName) -> ResultSet:
    """A read-only database from a share; the built-in sample share is the only one here."""
    share = ".".join(cursor.name().parts)
    given = cursor.properties(_PROPERTIES, "DATABASE")
    cursor.end()
    if share not in _SHARES:
        raise errors.does_not_exist("Share", share)
    obj, status = ctx.create("DATABASE", name, comment=given.get("COMMENT", ""), props={"origin": share})
    if obj is not None:
        for schema in _SHARES[share]:
            ctx.store.create("SCHEMA", obj.name, "", schema, owner=obj.owner, comment="")
    return status


@command("CREATE", "SCHEMA")
def create_schema(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    managed = False
    given: dict[str, Any] = {}
    while not cursor.at_end():
        if cursor.accept("WITH", "MANAGED", "ACCESS") or cursor.accept("MANAGED", "ACCESS"):
            managed = True
            continue
        more = cursor.properties(_PROPERTIES, "SCHEMA")
        if not more:
            raise cursor.error()
        given.update(more)
    props = {"managed": managed, **_props("SCHEMA", ctx, given)}
    obj, status = ctx.create("SCHEMA", name, comment=given.get("COMMENT", ""), props=props)
    if obj is not None:
        ctx.session.database, ctx.session.schema = obj.database, obj.name
    return status


@command("ALTER", "DATABASE")
def alter_database(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    return _alter(ctx, cursor, "DATABASE")


@command("ALTER", "SCHEMA")
def alter_schema(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    return _alter(ctx, cursor, "SCHEMA")


def _rename(ctx: CommandContext, obj: CatalogueObject, cursor: Cursor) -> ResultSet:
    """The new name holds for everything inside, and for grants on it."""
    ctx.access.require(ctx.roles, obj)
    old = (obj.database, obj.schema, obj.name)
    key = ctx.resolve(obj.kind, cursor.name())
    cursor.end()
    if obj.kind == "SCHEMA" and key[0] != obj.database:
        raise errors.unsupported("moving a schema to another database")
    with ctx.store.transaction():
        if ctx.store.find(obj.kind, *key) is not None:
            raise errors.already_exists(key[2])
        inside = ctx.store.contents(obj.name) if obj.kind == "DATABASE" else ctx.store.contents(obj.database, obj.name)
        if any(inner.kind in _FIXED for inner in inside):
            raise errors.unsupported(f"ALTER {obj.kind} RENAME with services, functions or image repositories inside")
        obj.name = key[2]
        ctx.store.update(obj)
        ctx.store.move_grants(obj, old)
        for inner in inside:
            before = (inner.database, inner.schema, inner.name)
            inner.database = key[2] if obj.kind == "DATABASE" else inner.database
            inner.schema = key[2] if obj.kind == "SCHEMA" else inner.schema
            ctx.store.update(inner)
            ctx.store.move_grants(inner, before)
        ctx.store.move_future_grants(old, key, obj.kind)
    session = ctx.session
    if obj.kind == "DATABASE" and session.database == old[2]:
        session.database = key[2]
    elif obj.kind == "SCHEMA" and (session.database, session.schema) == (old[0], old[2]):
        session.schema = key[2]
    return ResultSet.status("Statement executed successfully.")


def _alter(ctx: CommandContext, cursor: Cursor, kind: str) -> ResultSet:
    obj = ctx.get_if(kind, cursor.name(), "MODIFY")
    done = ResultSet.status("Statement executed successfully.")
    if obj is None:
        return done
    if cursor.accept("RENAME", "TO"):
        return _rename(ctx, obj, cursor)
    if cursor.accept("SET"):
        given = cursor.properties(_PROPERTIES, kind)
        if not given:
            raise cursor.error()
        if "COMMENT" in given:
            obj.comment = given["COMMENT"] or ""
        _check_retention(bool(obj.props.get("transient")), given)
        obj.props["parameters"] = object_parameters.take(kind, given, obj.props.get("parameters"))
    elif cursor.accept("UNSET"):
        _unset(cursor, obj)
    elif kind == "SCHEMA" and cursor.accept("ENABLE", "MANAGED", "ACCESS"):
        obj.props["managed"] = True
    elif kind == "SCHEMA" and cursor.accept("DISABLE", "MANAGED", "ACCESS"):
        obj.props["managed"] = False
    else:
        raise cursor.error()
    cursor.end()
    ctx.store.update(obj)
    return done


def _unset(cursor: Cursor, obj: CatalogueObject) -> None:
    while True:
        key = cursor.identifier()
        if key == "COMMENT":
            obj.comment = ""
        elif key in object_parameters.WORDS[obj.kind]:
            obj.props.get("parameters", {}).pop(key, None)
        else:
            raise errors.invalid_option(key, obj.kind)
        if not cursor.accept_op(","):
            return


@command("DROP", "DATABASE")
def drop_database(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    restrict = _drop_mode(cursor)
    obj = ctx.find("DATABASE", name)
    if obj is not None and restrict and any(o.kind != "SCHEMA" or o.name != "PUBLIC" for o in ctx.store.contents(obj.name)):
        raise errors.not_empty("database", obj.name)
    status = ctx.drop("DATABASE", name)
    if ctx.session.database == name.name:
        ctx.session.database = ctx.session.schema = None
    return status


@command("DROP", "SCHEMA")
def drop_schema(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    restrict = _drop_mode(cursor)
    database, _, schema = ctx.resolve("SCHEMA", name)
    if restrict and ctx.store.contents(database, schema):
        raise errors.not_empty("schema", schema)
    status = ctx.drop("SCHEMA", name)
    if (ctx.session.database, ctx.session.schema) == (database, schema):
        ctx.session.schema = None
    return status


def _drop_mode(cursor: Cursor) -> bool:
    """Whether RESTRICT was said; CASCADE is the default."""
    word = cursor.accept_any("CASCADE", "RESTRICT")
    cursor.end()
    return word == "RESTRICT"


@command("SHOW", "DATABASES")
def show_databases(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    columns = [
        timestamp("created_on"),
        *map(text, ("name", "is_default", "is_current", "origin", "owner", "comment", "options", "retention_time", "kind")),
        *map(text, ("budget", "owner_role_type")),
    ]

    def row(obj: CatalogueObject) -> tuple[Any, ...]:
        origin = obj.props.get("origin") or ""
        return (
            obj.created_on,
            obj.name,
            "N",
            "Y" if obj.name == ctx.session.database else "N",
            origin,
            obj.owner if obj.owner != "SNOWFLAKE" else "",
            obj.comment or "",
            _options(obj),
            _retention(ctx, obj),
            "IMPORTED DATABASE" if origin else "STANDARD",
            None,
            "ROLE",
        )

    return show(ctx, cursor, "DATABASE", columns, row)


@command("SHOW", "SCHEMAS")
def show_schemas(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    columns = [
        timestamp("created_on"),
        *map(text, ("name", "is_default", "is_current", "database_name", "owner", "comment", "options", "retention_time")),
        *map(text, ("owner_role_type", "budget")),
    ]

    def row(obj: CatalogueObject) -> tuple[Any, ...]:
        current = (obj.database, obj.name) == (ctx.session.database, ctx.session.schema)
        return (
            obj.created_on,
            obj.name,
            "N",
            "Y" if current else "N",
            obj.database,
            obj.owner,
            obj.comment or "",
            _options(obj),
            _retention(ctx, obj),
            "ROLE",
            None,
        )

    return show(ctx, cursor, "SCHEMA", columns, row)


@command("DESCRIBE", "DATABASE")
def describe_database(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get("DATABASE", cursor.name(), anything=True)
    cursor.end()
    rows = [(s.created_on, s.name, "SCHEMA") for s in ctx.store.list("SCHEMA", obj.name) if ctx.access.visible(ctx.roles, s)]
    return ResultSet([timestamp("created_on"), text("name"), text("kind")], rows)


@command("DESCRIBE", "SCHEMA")
def describe_schema(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get("SCHEMA", cursor.name(), anything=True)
    cursor.end()
    inside = [o for o in ctx.store.contents(obj.database, obj.name) if ctx.access.visible(ctx.roles, o)]
    return ResultSet([timestamp("created_on"), text("name"), text("kind")], [(o.created_on, o.name, o.kind) for o in inside])
