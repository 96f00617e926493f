"""A statement in DuckDB's terms, with what it registered on the way: to be released when it has run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
from sqlglot import exp

from emulator import errors
from emulator.engine.functions import Functions
from emulator.engine.limits import limit_first
from emulator.engine.rewrite import rewrite
from emulator.engine.sources import Sources
from emulator.results import ResultSet
from emulator.sql.names import QualifiedName

if TYPE_CHECKING:
    from emulator.catalogue.store import CatalogueObject
    from emulator.commands.context import CommandContext
    from emulator.stages.files import StageFile
    from emulator.stages.reader import ReadOptions


class Prepared:
    """Made by one of the `prepare` functions; whoever has it must `release` it."""

    def __init__(self, ctx: CommandContext, duck: duckdb.DuckDBPyConnection, earlier: list[ResultSet] | None = None) -> None:
        self.sources = Sources(ctx, duck, earlier or [])
        self.functions = Functions(ctx, duck)
        self.tree: exp.Expr = exp.Null()
        self.before: list[str] = []

    @property
    def needs_warehouse(self) -> bool:
        return self.sources.needs_warehouse or self.functions.needs_warehouse

    def release(self) -> None:
        self.sources.release()
        self.functions.release()


def prepare(ctx: CommandContext, tree: exp.Expr, duck: duckdb.DuckDBPyConnection, earlier: list[ResultSet] | None = None) -> Prepared:
    """A query. `earlier` are the results of the steps before it in a `->>` chain. Raises SqlError."""
    prepared = Prepared(ctx, duck, earlier)
    try:
        prepared.tree = rewrite(_resolve(prepared, tree))
    except BaseException:
        prepared.release()
        raise
    return prepared


def prepare_change(ctx: CommandContext, tree: exp.Expr, duck: duckdb.DuckDBPyConnection, privilege: str) -> Prepared:
    """INSERT, UPDATE, DELETE or MERGE; the role needs `privilege` on its target. Raises SqlError."""
    prepared = Prepared(ctx, duck)
    try:
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        if isinstance(target, exp.Table):
            obj = prepared.sources.find(QualifiedName(tuple(str(part.name) for part in target.parts)))
            ctx.access.require(ctx.roles, obj, privilege)
            if obj.kind == "VIEW":
                raise errors.compilation(f"View '{obj.name}' cannot be changed.")
        prepared.tree = rewrite(_resolve(prepared, tree))
    except BaseException:
        prepared.release()
        raise
    return prepared


def prepare_file(
    ctx: CommandContext,
    tree: exp.Expr,
    duck: duckdb.DuckDBPyConnection,
    stage: CatalogueObject,
    file: StageFile,
    options: ReadOptions,
) -> Prepared:
    """A query over one staged file, for COPY. The tree's only source stands for the file. Raises SqlError."""
    prepared = Prepared(ctx, duck)
    try:
        tree = prepared.functions.resolve(tree)
        source = tree.find(exp.Table)
        assert source is not None
        prepared.sources.read_files(source, stage, [file], options)
        prepared.tree = rewrite(tree)
    except BaseException:
        prepared.release()
        raise
    return prepared


def _resolve(prepared: Prepared, tree: exp.Expr) -> exp.Expr:
    tree = prepared.sources.resolve(prepared.functions.resolve(tree))
    limit_first(tree, prepared.functions.created)
    return tree
