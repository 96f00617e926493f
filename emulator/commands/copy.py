"""COPY INTO table FROM stage."""

from __future__ import annotations

from typing import Any

import duckdb

from emulator import errors, warehouses
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.engine import faults
from emulator.engine.engine import stored_name
from emulator.engine.prepared import prepare_file
from emulator.results import ResultSet, number, text
from emulator.sql.names import quote
from emulator.sql.parser import Cursor, StageRef
from emulator.stages.files import StageFile
from emulator.stages.reader import ReadOptions, file_format

_OPTIONS = {
    "FILE_FORMAT": "any",
    "FILES": "list",
    "PATTERN": "string",
    "ON_ERROR": "any",
    "PURGE": "bool",
    "FORCE": "bool",
    "MATCH_BY_COLUMN_NAME": "word",
    "TRUNCATECOLUMNS": "bool",
    "ENFORCE_LENGTH": "bool",
    "SIZE_LIMIT": "int",
    "RETURN_FAILED_ONLY": "bool",
    "VALIDATION_MODE": "word",
    "LOAD_UNCERTAIN_FILES": "bool",
}


@command("COPY", "INTO")
def copy_into(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    if cursor.peek().is_op("@"):
        raise errors.unsupported("COPY INTO a stage")
    table = ctx.get("TABLE", cursor.name(), "INSERT")
    columns = _column_list(cursor)
    cursor.expect("FROM")
    query, reference = _source(cursor)
    given = cursor.properties(_OPTIONS, "COPY")
    cursor.end()
    stage = ctx.get("STAGE", reference.name, "READ", "USAGE")
    form = file_format(ctx, given.get("FILE_FORMAT") or stage.props.get("file_format"))
    options = ReadOptions(form, given.get("PATTERN"), [str(f) for f in given.get("FILES", [])])
    files = [f for f in ctx.account.stages.list(stage, reference.path) if options.accepts(f.path)]
    warehouses.use(ctx)
    loaded: dict[str, str] = table.props.get("loaded_files", {})
    fresh = [f for f in files if given.get("FORCE") or loaded.get(f"{stage.id}/{f.path}") != f.md5]
    rows = [_load(ctx, table, columns, stage, file, query, options, given) for file in fresh]
    changes = {f"{stage.id}/{f.path}": f.md5 for f, row in zip(fresh, rows, strict=True) if row[1] == "LOADED"}
    current = ctx.store.by_id(table.id)
    if current is not None and changes:
        ctx.store.set_props(current, loaded_files={**current.props.get("loaded_files", {}), **changes})
        ctx.account.engine.touched(ctx.session, current)
    if given.get("PURGE"):
        for file in fresh:
            ctx.account.stages.remove(stage, file.path)
    if not rows:
        return ResultSet([text("status")], [("Copy executed with 0 files processed.",)], statement_type=0x3600)
    names = ("file", "status", "rows_parsed", "rows_loaded", "error_limit", "errors_seen")
    shown = [number(n) if n in names[2:] else text(n) for n in names]
    last = ("first_error", "first_error_line", "first_error_character", "first_error_column_name")
    shown += [number(n) if n in last[1:3] else text(n) for n in last]
    return ResultSet(shown, rows, statement_type=0x3600)


def _column_list(cursor: Cursor) -> list[str]:
    columns = []
    if cursor.accept_op("("):
        while not cursor.accept_op(")"):
            columns.append(cursor.identifier())
            cursor.accept_op(",")
    return columns


def _source(cursor: Cursor) -> tuple[str | None, StageRef]:
    """(text of the transforming SELECT's projections or None, the stage)."""
    if not cursor.accept_op("("):
        return None, cursor.stage_ref()
    cursor.expect("SELECT")
    start, depth = cursor.peek().start, 0
    while not (depth == 0 and cursor.peek().is_word("FROM")):
        token = cursor.next()
        if token.kind == "eof":
            raise cursor.error(token)
        depth += token.is_op("(", "[") - token.is_op(")", "]")
    projections = cursor.source[start : cursor.peek().start]
    cursor.next()
    reference = cursor.stage_ref()
    alias = ""
    cursor.accept("AS")
    if cursor.peek().kind in ("word", "quoted") and not cursor.peek().is_op(")"):
        alias = cursor.identifier()
    cursor.expect_op(")")
    return f"{projections}\0{alias}", reference


def _load(
    ctx: CommandContext,
    table: CatalogueObject,
    columns: list[str],
    stage: CatalogueObject,
    file: StageFile,
    query: str | None,
    options: ReadOptions,
    given: dict[str, Any],
) -> tuple[Any, ...]:
    """Loads one file in a transaction of its own; a failed one is an error, or a row that says so with ON_ERROR."""
    label = f"{stage.name.lower()}/{file.path}"
    targets = columns or [c["name"] for c in table.props["columns"]]
    try:
        count = _insert(ctx, table, targets, stage, file, query, options, given)
    except errors.SqlError as error:
        if str(given.get("ON_ERROR", "ABORT_STATEMENT")).upper() in ("CONTINUE", "SKIP_FILE"):
            return (label, "LOAD_FAILED", 0, 0, 1, 1, error.message, None, None, None)
        raise
    return (label, "LOADED", count, count, 1, 0, None, None, None, None)


def _insert(
    ctx: CommandContext,
    table: CatalogueObject,
    targets: list[str],
    stage: CatalogueObject,
    file: StageFile,
    query: str | None,
    options: ReadOptions,
    given: dict[str, Any],
) -> int:
    by_name = str(given.get("MATCH_BY_COLUMN_NAME", "NONE")).upper()
    source = f"@{quote(stage.database)}.{quote(stage.schema)}.{quote(stage.name)}"
    if query is not None:
        projections, _, alias = query.partition("\0")
    else:
        alias = ""
        if by_name == "NONE" and options.kind in ("JSON", "PARQUET"):
            if len(targets) != 1:
                raise errors.SqlError(
                    2019,
                    "0A000",
                    f"{errors.COMPILATION}{options.kind} file format can produce one and only one column of type variant, "
                    "object, or array. Load data into separate columns using the MATCH_BY_COLUMN_NAME copy option "
                    "or copy with transformation.",
                )
            projections = "$1"
        elif by_name == "NONE":
            projections = ", ".join(f"${i + 1}" for i in range(len(targets)))
        else:
            kinds = {c["name"]: c["type"] for c in table.props["columns"]}
            keys = _keys(ctx, stage, file, options)
            chosen = [(t, _match(t, keys, by_name)) for t in targets]
            targets = [t for t, key in chosen if key is not None]
            projections = ", ".join(f'$1:"{key}"::{kinds[t]}' for t, key in chosen if key is not None)
    engine = ctx.account.engine
    tree = engine.parse(f"SELECT {projections} FROM {source} {alias}")
    duck = engine.cursor(ctx.session)
    prepared = prepare_file(ctx, tree, duck, stage, file, options)
    listed = ", ".join('"' + t.replace('"', '""') + '"' for t in targets)
    try:
        row = duck.execute(f"INSERT INTO {stored_name(table)} ({listed}) {prepared.tree.sql('duckdb')}").fetchone()
        return int(row[0]) if row else 0
    except duckdb.Error as error:
        raise faults.translate(error) from None
    finally:
        prepared.release()


def _keys(ctx: CommandContext, stage: CatalogueObject, file: StageFile, options: ReadOptions) -> list[str]:
    """Keys of the file's records, for MATCH_BY_COLUMN_NAME."""
    engine = ctx.account.engine
    duck = engine.cursor(ctx.session)
    source = f"@{quote(stage.database)}.{quote(stage.schema)}.{quote(stage.name)}"
    tree = engine.parse(f"SELECT $1 FROM {source}")
    prepared = prepare_file(ctx, tree, duck, stage, file, options)
    try:
        sql = f"SELECT DISTINCT unnest(json_keys(j)) FROM ({prepared.tree.sql('duckdb')}) AS t(j)"
        return [row[0] for row in duck.execute(sql).fetchall()]
    except duckdb.Error as error:
        raise faults.translate(error) from None
    finally:
        prepared.release()


def _match(target: str, keys: list[str], mode: str) -> str | None:
    if mode == "CASE_SENSITIVE":
        return target if target in keys else None
    return next((key for key in keys if key.upper() == target.upper()), None)
