"""PUT, GET, LIST and REMOVE: the files of a stage."""

from __future__ import annotations

import email.utils
import posixpath
import re
from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.execute import TransferAnswer
from emulator.results import ResultSet, number, text
from emulator.sql.parser import Cursor
from emulator.stages.files import StageFile
from emulator.stages.lookup import file_label, find_stage


def _local_path(cursor: Cursor) -> str:
    """`file://…`, quoted or bare; without the scheme."""
    token = cursor.peek()
    if token.kind == "string":
        value = cursor.next().value
    else:
        end = token.start
        while end < len(cursor.source) and not cursor.source[end].isspace() and cursor.source[end] != ";":
            end += 1
        value = cursor.source[token.start : end]
        while cursor.peek().kind != "eof" and cursor.peek().start < end:
            cursor.next()
    if not value.lower().startswith("file://"):
        raise cursor.error(token)
    return value[len("file://") :]


def _options(cursor: Cursor) -> dict[str, Any]:
    kinds = {
        "PARALLEL": "int",
        "AUTO_COMPRESS": "bool",
        "SOURCE_COMPRESSION": "word",
        "OVERWRITE": "bool",
        "PATTERN": "string",
    }
    given = cursor.properties(kinds, "PUT")
    cursor.end()
    return given


@command("PUT")
def put(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    """Gives the driver a presigned address. It asks again per file (4.x), so that nothing happens here."""
    local = _local_path(cursor)
    reference = cursor.stage_ref()
    options = _options(cursor)
    stage = find_stage(ctx, reference, "WRITE")
    name = posixpath.basename(local.replace("\\", "/"))
    target = posixpath.join(reference.path, name)
    account = ctx.account
    raise TransferAnswer(
        {
            "command": "UPLOAD",
            "src_locations": [local],
            "localLocation": None,
            "parallel": options.get("PARALLEL", 4),
            "threshold": 209715200,
            "autoCompress": options.get("AUTO_COMPRESS", True),
            "overwrite": options.get("OVERWRITE", False),
            "sourceCompression": str(options.get("SOURCE_COMPRESSION", "auto_detect")).lower(),
            "clientShowEncryptionParameter": False,
            "encryptionMaterial": None,
            "stageInfo": _stage_info(ctx, stage, reference.path, account.urls.sign(account.base_url, "PUT", stage.id, target)),
            "presignedUrls": None,
        }
    )


@command("GET")
def get(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    reference = cursor.stage_ref()
    local = _local_path(cursor)
    options = _options(cursor)
    stage = find_stage(ctx, reference, "READ")
    files = _matching(ctx, stage, reference.path, options.get("PATTERN"))
    account = ctx.account
    raise TransferAnswer(
        {
            "command": "DOWNLOAD",
            "src_locations": [f.path for f in files],
            "localLocation": local,
            "parallel": options.get("PARALLEL", 10),
            "threshold": 209715200,
            "autoCompress": False,
            "overwrite": False,
            "sourceCompression": "none",
            "clientShowEncryptionParameter": False,
            "stageInfo": _stage_info(ctx, stage, reference.path, None),
            "presignedUrls": [account.urls.sign(account.base_url, "GET", stage.id, f.path) for f in files],
        }
    )


def _stage_info(ctx: CommandContext, stage: CatalogueObject, path: str, url: str | None) -> dict[str, Any]:
    return {
        "locationType": "GCS",
        "location": f"local-stages/{stage.id}/{path}".rstrip("/") + "/",
        "path": f"{stage.id}/{path}".rstrip("/") + "/",
        "region": "LOCAL",
        "storageAccount": None,
        "isClientSideEncrypted": False,
        "creds": {},
        "presignedUrl": url,
        "endPoint": None,
    }


def _matching(ctx: CommandContext, stage: CatalogueObject, path: str, pattern: str | None) -> list[StageFile]:
    """Files below the path (a folder or a prefix of a name, as Snowflake has it), filtered by a full-match pattern."""
    files = ctx.account.stages.list(stage, path)
    if pattern is None:
        return files
    try:
        wanted = re.compile(pattern)
    except re.error:
        raise errors.invalid_parameter(pattern, "PATTERN") from None
    return [f for f in files if wanted.fullmatch(f.path) or wanted.fullmatch(file_label(stage, f.path))]


def _list(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    reference = cursor.stage_ref()
    pattern = _options(cursor).get("PATTERN")
    stage = find_stage(ctx, reference, "READ")
    rows = [
        (file_label(stage, f.path), f.size, f.md5, email.utils.formatdate(f.modified, usegmt=True))
        for f in _matching(ctx, stage, reference.path, pattern)
    ]
    return ResultSet([text("name"), number("size"), text("md5"), text("last_modified")], rows)


def _remove(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    reference = cursor.stage_ref()
    pattern = _options(cursor).get("PATTERN")
    stage = find_stage(ctx, reference, "WRITE")
    rows = []
    for found in _matching(ctx, stage, reference.path, pattern):
        ctx.account.stages.remove(stage, found.path)
        rows.append((file_label(stage, found.path), "removed"))
    return ResultSet([text("name"), text("result")], rows)


command("LIST")(_list)
command("LS")(_list)
command("REMOVE")(_remove)
command("RM")(_remove)
