"""COPY INTO table FROM stage."""

from __future__ import annotations

import re
from typing import Any

import duckdb
from sqlglot import exp

from emulator import errors, warehouses
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.engine import faults
from emulator.engine.engine import rollback, stored_name
from emulator.engine.loads import FileRows, loaded_files, read_file, remember
from emulator.engine.prepared import prepare_file
from emulator.results import ResultSet, number, text
from emulator.sql.parser import Cursor, StageRef
from emulator.stages.files import StageFile
from emulator.stages.lookup import find_stage
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

_FILE = "@FILE"  # stands for the file that is being read


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
    if given.get("VALIDATION_MODE"):
        raise errors.unsupported("COPY with VALIDATION_MODE")
    on_error = str(given.get("ON_ERROR") or "ABORT_STATEMENT").upper()
    if not re.fullmatch(r"ABORT_STATEMENT|CONTINUE|SKIP_FILE(_\d+%?)?", on_error):
        raise errors.invalid_property(on_error, "ON_ERROR")
    stage = find_stage(ctx, reference, "READ", "USAGE")
    form = file_format(ctx, given.get("FILE_FORMAT") or stage.props.get("file_format"))
    options = ReadOptions(form, given.get("PATTERN"), [str(f) for f in given.get("FILES", [])])
    files = [f for f in ctx.account.stages.list(stage, reference.path) if options.accepts(f.path)]
    for wanted in options.files:
        if not any(f.path == wanted or f.path.endswith("/" + wanted) for f in files):
            raise errors.file_not_found(wanted)
    warehouses.use(ctx)
    with ctx.session.lock:
        done = _load_all(ctx, table, columns, stage, query, options, given, files, on_error)
    if given.get("PURGE"):
        for rows in done:
            if rows.error is None:
                ctx.account.stages.remove(stage, rows.file.path)
    if not done:
        return ResultSet([text("status")], [("Copy executed with 0 files processed.",)], statement_type=0x3600)
    names = ("file", "status", "rows_parsed", "rows_loaded", "error_limit", "errors_seen")
    shown = [number(n) if n in names[2:] else text(n) for n in names]
    last = ("first_error", "first_error_line", "first_error_character", "first_error_column_name")
    shown += [number(n) if n in last[1:3] else text(n) for n in last]
    return ResultSet(shown, [rows.shown() for rows in done], statement_type=0x3600, updated_rows=sum(rows.count for rows in done))


def _load_all(
    ctx: CommandContext,
    table: CatalogueObject,
    columns: list[str],
    stage: CatalogueObject,
    query: str | None,
    options: ReadOptions,
    given: dict[str, Any],
    files: list[StageFile],
    on_error: str,
) -> list[FileRows]:
    """Reads the files that are new to the table, then stores all their rows in one transaction (the session's if one is open)."""
    engine = ctx.account.engine
    duck = engine.cursor(ctx.session)
    seen = {} if given.get("FORCE") else loaded_files(duck, table)
    fresh = [f for f in files if seen.get(f"{stage.id}/{f.path}") != f.md5]
    limit = given.get("SIZE_LIMIT")
    done: list[FileRows] = []
    size = 0
    for file in fresh:
        if limit and size >= limit:
            break
        size += file.size
        tree, targets = _query(ctx, table, columns, stage, file, query, options, given)
        rows = read_file(ctx, stage, file, options, tree, targets, keep_good_rows=on_error == "CONTINUE")
        if rows.error is not None and on_error == "ABORT_STATEMENT":
            raise rows.failure()
        done.append(rows)
    if any(rows.rows or rows.error is None for rows in done):
        _store(ctx, duck, table, stage, done)
        engine.touched(ctx.session, table)
    return done


def _store(
    ctx: CommandContext, duck: duckdb.DuckDBPyConnection, table: CatalogueObject, stage: CatalogueObject, done: list[FileRows]
) -> None:
    own = ctx.session.transaction is None
    types = {col["name"]: col["stored"] for col in table.props["columns"]}
    try:
        if own:
            duck.begin()
        for rows in done:
            names = ", ".join(_quoted(name) for name in rows.columns)
            casts = ", ".join(f"CAST(c{i} AS {types[name]})" for i, name in enumerate(rows.columns))
            for part in rows.rows:
                duck.register("copy_rows", part)
                duck.execute(f"INSERT INTO {stored_name(table)} ({names}) SELECT {casts} FROM copy_rows")
                duck.unregister("copy_rows")
            if rows.rows or rows.error is None:
                remember(duck, table, f"{stage.id}/{rows.file.path}", rows.file.md5)
        if own:
            duck.commit()
    except duckdb.Error as error:
        if own:
            rollback(duck)
        raise faults.translate(error) from None


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


def _query(
    ctx: CommandContext,
    table: CatalogueObject,
    columns: list[str],
    stage: CatalogueObject,
    file: StageFile,
    query: str | None,
    options: ReadOptions,
    given: dict[str, Any],
) -> tuple[exp.Expr, list[dict[str, Any]]]:
    """The query over the file, and the table's columns that it fills."""
    declared = {col["name"]: col for col in table.props["columns"]}
    targets = columns or list(declared)
    for name in targets:
        if name not in declared:
            raise errors.invalid_identifier(name)
    by_name = str(given.get("MATCH_BY_COLUMN_NAME", "NONE")).upper()
    alias = ""
    if query is not None:
        projections, _, alias = query.partition("\0")
    elif by_name == "NONE" and options.kind in ("JSON", "PARQUET"):
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
        keys = _keys(ctx, stage, file, options)
        matches = {target: _matching(target, keys, by_name) for target in targets}
        targets = [target for target in targets if matches[target]] or list(declared)[:1]
        projections = ", ".join(_by_name(matches[target], declared[target]["type"]) for target in targets)
    tree = ctx.account.engine.parse(f"SELECT {projections} FROM {_FILE} {alias}")
    width = len(tree.expressions)
    if width > len(targets):
        raise errors.SqlError(
            2020, "21S01", f"{errors.COMPILATION}Insert value list does not match column list expecting {len(targets)} but got {width}"
        )
    return tree, [declared[name] for name in targets[:width]]


def _keys(ctx: CommandContext, stage: CatalogueObject, file: StageFile, options: ReadOptions) -> list[str]:
    """Keys of the file's records, for MATCH_BY_COLUMN_NAME."""
    engine = ctx.account.engine
    duck = engine.cursor(ctx.session)
    tree = engine.parse(f"SELECT $1 FROM {_FILE}")
    prepared = prepare_file(ctx, tree, duck, stage, file, options)
    try:
        sql = f"SELECT DISTINCT unnest(json_keys(j)) FROM ({prepared.tree.sql('duckdb')}) AS t(j)"
        return [row[0] for row in duck.execute(sql).fetchall()]
    except duckdb.Error:
        return []  # reading the file again says what is wrong with it, and where
    finally:
        prepared.release()


def _matching(target: str, keys: list[str], mode: str) -> list[str]:
    """The records' keys that fill the column; records may spell them differently."""
    if mode == "CASE_SENSITIVE":
        return [key for key in keys if key == target]
    return sorted(key for key in keys if key.upper() == target.upper())


def _by_name(keys: list[str], kind: str) -> str:
    values = [f"$1:{_quoted(key)}" for key in keys]
    return f"COALESCE({', '.join([*values, 'NULL'])})::{kind}" if len(values) != 1 else f"{values[0]}::{kind}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
