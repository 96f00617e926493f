"""IMAGE REPOSITORY statements and the images in them. The content itself comes over HTTP (`emulator.registry`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.compute_pool import runtime
from emulator.commands.context import CommandContext
from emulator.commands.registry import command, system_function
from emulator.commands.show import like_pattern, show
from emulator.registry.images import RepositoryKey
from emulator.results import ResultSet, text, timestamp
from emulator.sql.names import is_plain
from emulator.sql.parser import Cursor

_COLUMNS = [
    timestamp("created_on"), text("name"), text("database_name"), text("schema_name"), text("repository_url"), text("owner"),
    text("owner_role_type"), text("comment"), text("encryption"),
]  # fmt: skip
_ENCRYPTIONS = ("SNOWFLAKE_FULL", "SNOWFLAKE_SSE")


@command("CREATE", "IMAGE", "REPOSITORY")
def create_repository(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties({"ENCRYPTION": "any", "COMMENT": "string", "TAG": "any"}, "IMAGE REPOSITORY")
    cursor.end()
    encryption = str((given.get("ENCRYPTION") or {}).get("TYPE", _ENCRYPTIONS[0])).upper()
    if encryption not in _ENCRYPTIONS:
        raise errors.invalid_property(encryption, "ENCRYPTION")
    if not all(is_plain(part) for part in ctx.resolve("IMAGE REPOSITORY", name)):
        raise errors.compilation("db, schema and repo names for an image repo must be unquoted identifiers.")
    props = {"encryption": encryption}
    _, status = ctx.create("IMAGE REPOSITORY", name, comment=given.get("COMMENT") or "", props=props)
    return status


@command("ALTER", "IMAGE", "REPOSITORY")
def alter_repository(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    obj = ctx.get_if("IMAGE REPOSITORY", name)
    if cursor.accept("UNSET"):
        if cursor.accept("TAG"):
            cursor.rest()
        else:
            raise errors.unsupported("UNSET")
    else:
        cursor.expect("SET")
        given = cursor.properties({"COMMENT": "string", "TAG": "any"}, "IMAGE REPOSITORY")
        if obj is not None and "COMMENT" in given:
            obj.comment = given["COMMENT"] or ""
            ctx.store.update(obj)
    cursor.end()
    return ResultSet.status("Statement executed successfully.")


@command("DROP", "IMAGE", "REPOSITORY")
def drop_repository(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    return ctx.drop("IMAGE REPOSITORY", name)


@command("SHOW", "IMAGE", "REPOSITORIES")
def show_repositories(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    return show(ctx, cursor, "IMAGE REPOSITORY", _COLUMNS, lambda obj: _row(ctx, obj))


@command("DESCRIBE", "IMAGE", "REPOSITORY")
def describe_repository(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get("IMAGE REPOSITORY", cursor.name(), anything=True)
    cursor.end()
    return ResultSet(_COLUMNS, [_row(ctx, obj)])


def _row(ctx: CommandContext, obj: CatalogueObject) -> list[Any]:
    url = f"{ctx.account.host}:{ctx.account.port}/{_key(obj).path}"
    encryption = obj.props.get("encryption", _ENCRYPTIONS[0])
    return [obj.created_on, obj.name, obj.database, obj.schema, url, obj.owner, "ROLE", obj.comment or "", encryption]


def _key(obj: CatalogueObject) -> RepositoryKey:
    return RepositoryKey(obj.database, obj.schema, obj.name)


@command("SHOW", "IMAGES")
def show_images(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    pattern = like_pattern(cursor.string() if cursor.accept("LIKE") else "%")
    cursor.expect("IN", "IMAGE", "REPOSITORY")
    obj = ctx.get("IMAGE REPOSITORY", cursor.name(), "READ", "WRITE")
    cursor.end()
    columns = [timestamp("created_on"), text("image_name"), text("tags"), text("digest"), text("image_path")]
    key = _key(obj)
    rows: list[Sequence[Any]] = [
        [row.created, row.image, row.tag, row.digest, f"{key.path}/{row.image}:{row.tag}"]
        for row in runtime(ctx).images.rows(key)
        if pattern.match(row.image)
    ]
    return ResultSet(columns, rows)


@system_function("SYSTEM$REGISTRY_LIST_IMAGES")
def list_images(ctx: CommandContext, args: list[Any]) -> str:
    parts = str(args[0]).strip("/").upper().split("/") if args else []
    if len(parts) != 3:
        raise errors.compilation("SYSTEM$REGISTRY_LIST_IMAGES takes '/database/schema/repository'.")
    obj = ctx.get("IMAGE REPOSITORY", Cursor(".".join(parts)).name(), "READ", "WRITE")
    return json.dumps({"images": sorted({row.image for row in runtime(ctx).images.rows(_key(obj))})})
