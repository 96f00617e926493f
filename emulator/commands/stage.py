"""STAGE and FILE FORMAT."""

from __future__ import annotations

from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import show
from emulator.results import ResultSet, text, timestamp
from emulator.sql.parser import Cursor

_PROPERTIES = {
    "ENCRYPTION": "any",
    "DIRECTORY": "any",
    "FILE_FORMAT": "any",
    "COPY_OPTIONS": "any",
    "COMMENT": "string",
}
_ENCRYPTIONS = ("SNOWFLAKE_FULL", "SNOWFLAKE_SSE")
_DONE = "Statement executed successfully."


def _temporary(ctx: CommandContext, props: dict[str, Any]) -> dict[str, Any]:
    return {**props, "temporary_of": ctx.session.id} if ctx.modifiers.temporary else props


@command("CREATE", "STAGE")
def create(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties(_PROPERTIES, "STAGE")
    cursor.end()
    directory = given.get("DIRECTORY") or {}
    encryption = given.get("ENCRYPTION") or {}
    if isinstance(encryption, dict) and encryption.get("TYPE", "SNOWFLAKE_FULL") not in _ENCRYPTIONS:
        raise errors.invalid_property(encryption["TYPE"], "ENCRYPTION")
    props = {
        "directory": isinstance(directory, dict) and directory.get("ENABLE") is True,
        "encryption": str(encryption.get("TYPE", "SNOWFLAKE_FULL")) if isinstance(encryption, dict) else "SNOWFLAKE_FULL",
        "file_format": given.get("FILE_FORMAT") or None,
    }
    _, status = ctx.create("STAGE", name, comment=given.get("COMMENT", ""), props=_temporary(ctx, props))
    return status


@command("ALTER", "STAGE")
def alter(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    with ctx.store.transaction():  # two that meet come one after the other, so that neither undoes the other's name or comment
        return _alter(ctx, cursor)


def _alter(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get_if("STAGE", cursor.name())
    if obj is None:
        return ResultSet.status(_DONE)
    if cursor.accept("REFRESH"):
        cursor.rest()
        return ResultSet.status(_DONE)
    if cursor.accept("RENAME", "TO"):
        old = (obj.database, obj.schema, obj.name)
        obj.database, obj.schema, obj.name = ctx.resolve("STAGE", cursor.name())
        cursor.end()
        ctx.store.update(obj)
        ctx.store.move_grants(obj, old)
        return ResultSet.status(_DONE)
    if cursor.accept("UNSET", "COMMENT"):
        obj.comment = ""
    else:
        cursor.expect("SET")
        given = cursor.properties(_PROPERTIES, "STAGE")
        if not given:
            raise cursor.error()
        if "ENCRYPTION" in given:
            raise errors.invalid_option("ENCRYPTION", "STAGE")
        if "COMMENT" in given:
            obj.comment = given["COMMENT"] or ""
        if isinstance(given.get("DIRECTORY"), dict):
            obj.props["directory"] = given["DIRECTORY"].get("ENABLE") is True
        if "FILE_FORMAT" in given:
            obj.props["file_format"] = given["FILE_FORMAT"]
    cursor.end()
    ctx.store.update(obj)
    return ResultSet.status(_DONE)


@command("DROP", "STAGE")
def drop(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    return ctx.drop("STAGE", name)


@command("SHOW", "STAGES")
def show_stages(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    columns = [
        timestamp("created_on"),
        *map(text, ("name", "database_name", "schema_name", "url", "has_credentials", "has_encryption_key", "owner", "comment")),
        *map(text, ("region", "type", "cloud", "notification_channel", "storage_integration", "endpoint")),
        *map(text, ("owner_role_type", "directory_enabled")),
    ]

    def row(obj: CatalogueObject) -> tuple[Any, ...]:
        kind = "INTERNAL TEMPORARY" if "temporary_of" in obj.props else "INTERNAL"
        if obj.props.get("encryption") == "SNOWFLAKE_SSE":
            kind += " NO CSE"
        return (
            obj.created_on,
            obj.name,
            obj.database,
            obj.schema,
            "",
            "N",
            "N",
            obj.owner,
            obj.comment or "",
            None,
            kind,
            None,
            None,
            None,
            None,
            "ROLE",
            "Y" if obj.props.get("directory") else "N",
        )

    return show(ctx, cursor, "STAGE", columns, row)


@command("DESCRIBE", "STAGE")
def describe(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get("STAGE", cursor.name(), anything=True)
    cursor.end()
    form = obj.props.get("file_format")
    options = form if isinstance(form, dict) else {"FORMAT_NAME": form} if form else {"TYPE": "CSV"}
    rows = [("STAGE_FILE_FORMAT", key, "String", str(value), "") for key, value in options.items()]
    rows.append(("STAGE_LOCATION", "URL", "String", "", ""))
    rows.append(("DIRECTORY", "ENABLE", "Boolean", str(bool(obj.props.get("directory"))).lower(), "false"))
    rows.append(("STAGE_ENCRYPTION", "TYPE", "String", str(obj.props.get("encryption")), "SNOWFLAKE_FULL"))
    columns = [text(n) for n in ("parent_property", "property", "property_type", "property_value", "property_default")]
    return ResultSet(columns, rows)


# -- file formats


@command("CREATE", "FILE", "FORMAT")
def create_format(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    options: dict[str, Any] = {}
    while not cursor.at_end():
        key = cursor.identifier()
        cursor.expect_op("=")
        options[key] = cursor.value()
        cursor.accept_op(",")
    comment = options.pop("COMMENT", "")
    options.setdefault("TYPE", "CSV")
    _, status = ctx.create("FILE FORMAT", name, comment=comment, props=_temporary(ctx, {"options": options}))
    return status


@command("DROP", "FILE", "FORMAT")
def drop_format(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    return ctx.drop("FILE FORMAT", name)


@command("SHOW", "FILE", "FORMATS")
def show_formats(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    columns = [timestamp("created_on"), *map(text, ("name", "database_name", "schema_name", "type", "owner", "comment"))]
    return show(
        ctx,
        cursor,
        "FILE FORMAT",
        columns,
        lambda o: (o.created_on, o.name, o.database, o.schema, str(o.props["options"]["TYPE"]), o.owner, o.comment or ""),
    )
