"""SHOW: the filters that all kinds share, and the cap of 10,000 rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from emulator import errors
from emulator.catalogue.kinds import KINDS
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.results import Column, ResultSet
from emulator.sql.parser import Cursor

ROW_CAP = 10_000


@dataclass
class ShowOptions:
    """LIKE, IN, STARTS WITH, LIMIT … FROM of one SHOW. `database` and `schema` None mean any."""

    like: str | None = None
    database: str | None = None
    schema: str | None = None
    starts_with: str | None = None
    limit: int | None = None
    after: str | None = None

    def accepts(self, name: str) -> bool:
        if self.like is not None and not like_pattern(self.like).match(name):
            return False
        return self.starts_with is None or name.startswith(self.starts_with)

    def cut(self, rows: list[Any], name: Callable[[Any], str]) -> list[Any]:
        """Applies LIMIT … FROM and the cap to rows in name order."""
        if self.after is not None:
            rows = [row for row in rows if name(row) > self.after and not name(row).startswith(self.after)]
        limit = ROW_CAP if self.limit is None else min(self.limit, ROW_CAP)
        return rows[:limit]


def like_pattern(pattern: str) -> re.Pattern[str]:
    """SQL LIKE as SHOW uses it: case-insensitive, `%` and `_`, backslash escapes."""
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            out.append(re.escape(pattern[at]))
        else:
            out.append(".*" if char == "%" else "." if char == "_" else re.escape(char))
        at += 1
    return re.compile("".join(out) + r"\Z", re.IGNORECASE | re.DOTALL)


def read_options(ctx: CommandContext, cursor: Cursor, kind: str) -> ShowOptions:
    """Reads the rest of a SHOW for objects of `kind`. Raises 2043 for a database or schema that is not there."""
    scope = KINDS[kind].scope
    options = ShowOptions()
    if scope != "account" and ctx.session.database is not None:
        options.database = ctx.session.database
    cursor.accept("HISTORY")
    if cursor.accept("LIKE"):
        options.like = cursor.string()
    if cursor.accept("IN") or cursor.accept("FROM"):
        _read_scope(ctx, cursor, kind, options)
    if cursor.accept("STARTS", "WITH"):
        options.starts_with = cursor.string()
    if cursor.accept("LIMIT"):
        options.limit = cursor.integer()
        if cursor.accept("FROM"):
            options.after = cursor.string()
    cursor.end()
    return options


def _read_scope(ctx: CommandContext, cursor: Cursor, kind: str, options: ShowOptions) -> None:
    scope = KINDS[kind].scope
    if cursor.accept("ACCOUNT"):
        options.database = options.schema = None
        return
    if cursor.accept("DATABASE"):
        more = cursor.peek().kind in ("word", "quoted", "string") and not cursor.peek().is_word("STARTS", "LIMIT", "LIKE")
        options.database = cursor.name().name if more else ctx.current_database()
        options.schema = None
    else:
        explicit = cursor.accept("SCHEMA")
        if explicit and (cursor.at_end() or cursor.peek().is_word("STARTS", "LIMIT", "LIKE")):
            options.database, options.schema = ctx.current_database(), ctx.current_schema()
            return
        parts = cursor.name().parts
        if scope == "database" and not explicit:
            options.database = parts[-1]
        elif len(parts) == 2:
            options.database, options.schema = parts
        elif explicit or ctx.store.find("DATABASE", "", "", parts[0]) is None:
            options.database, options.schema = ctx.current_database(), parts[0]
        else:
            options.database, options.schema = parts[0], None
    _check_scope(ctx, options)


def _check_scope(ctx: CommandContext, options: ShowOptions) -> None:
    assert options.database is not None
    database = ctx.store.find("DATABASE", "", "", options.database)
    if database is None or not ctx.access.visible(ctx.roles, database):
        raise errors.cannot_operate()
    if options.schema is not None:
        schema = ctx.store.find("SCHEMA", options.database, "", options.schema)
        if (schema is None or not ctx.access.visible(ctx.roles, schema)) and options.schema != "INFORMATION_SCHEMA":
            raise errors.cannot_operate()


def show(
    ctx: CommandContext,
    cursor: Cursor,
    kind: str,
    columns: list[Column],
    row: Callable[[CatalogueObject], Sequence[Any]],
) -> ResultSet:
    """Runs a whole SHOW for a kind: reads the filters, takes visible objects in name order, makes rows."""
    options = read_options(ctx, cursor, kind)
    return ResultSet(columns, [row(obj) for obj in select(ctx, kind, options)])


def select(ctx: CommandContext, kind: str, options: ShowOptions) -> list[CatalogueObject]:
    """The visible objects that the options let through."""
    found = [
        obj
        for obj in ctx.store.list(kind, options.database, options.schema)
        if options.accepts(obj.name) and obj.props.get("temporary_of", ctx.session.id) == ctx.session.id
    ]
    found = [obj for obj in found if ctx.access.visible(ctx.roles, obj)]
    return options.cut(found, lambda obj: obj.name)
