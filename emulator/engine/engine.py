"""The query engine: one DuckDB file behind Snowflake's SQL.

Each statement runs on a cursor of its own, each open transaction on one that its session keeps. The rest of the account
never sees DuckDB.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from emulator import errors, warehouses
from emulator.engine import faults, loads, types
from emulator.engine.macros import MACROS
from emulator.engine.prepared import Prepared, prepare, prepare_change
from emulator.engine.rewrite import parse
from emulator.engine.shaping import is_plain_result_scan, output_names, shape
from emulator.engine.sources import TABLES
from emulator.results import Column, ResultSet

if TYPE_CHECKING:
    from emulator.account import Account
    from emulator.catalogue.store import CatalogueObject
    from emulator.commands.context import CommandContext
    from emulator.session import Session

_DML: dict[type[exp.Expr], tuple[int, tuple[str, ...]]] = {
    exp.Insert: (0x3100, ("number of rows inserted",)),
    exp.Update: (0x3200, ("number of rows updated", "number of multi-joined rows updated")),
    exp.Delete: (0x3300, ("number of rows deleted",)),
    exp.Merge: (0x3400, ("number of rows inserted", "number of rows updated", "number of rows deleted")),
}
_PRIVILEGE: dict[type[exp.Expr], str] = {exp.Insert: "INSERT", exp.Update: "UPDATE", exp.Delete: "DELETE", exp.Merge: "UPDATE"}
_CONFLICT_RETRIES = 20


class Engine:
    """Tables and queries of one account."""

    def __init__(self, account: Account, path: Path) -> None:
        self._account = account
        self._db = duckdb.connect(str(path), config={"threads": 2})
        for statement in (*MACROS, *loads.SETUP, f"CREATE SCHEMA IF NOT EXISTS {TABLES}"):
            self._db.execute(statement)

    def close(self) -> None:
        self._db.close()

    def cursor(self, session: Session | None = None) -> duckdb.DuckDBPyConnection:
        """The session's transaction if one is open, else a fresh cursor."""
        if session is not None and session.transaction is not None:
            return session.transaction  # type: ignore[no-any-return]
        return self._db.cursor()

    # -- queries and DML

    def query(self, ctx: CommandContext, text: str, earlier: list[ResultSet] | None = None, *, describe_only: bool = False) -> ResultSet:
        """Runs a query or DML statement. Raises SqlError; 1003 for what is neither."""
        tree = self.parse(text)
        if isinstance(tree, exp.Query):
            return self._select(ctx, tree, text, earlier or [], describe_only)
        if type(tree) in _DML:
            return self._change(ctx, tree, describe_only)
        first = text.split(maxsplit=1)[0]
        raise errors.syntax_error(first, 1, len(text) - len(text.lstrip()))

    def parse(self, text: str) -> exp.Expr:
        """The statement as a tree with normalised names. Raises 1003."""
        try:
            return parse(text)
        except (ParseError, TokenError) as error:
            raise faults.syntax(error, text) from None

    def _select(self, ctx: CommandContext, tree: exp.Query, text: str, earlier: list[ResultSet], describe_only: bool) -> ResultSet:
        names = output_names(tree, text)
        plain_scan = is_plain_result_scan(tree)
        duck = self.cursor(ctx.session)
        prepared = prepare(ctx, tree, duck, earlier)
        try:
            if plain_scan and ctx.result_id:
                found = ctx.account.statements.get(ctx.result_id)
                if found is not None and found.result is not None:
                    return found.result
            if prepared.needs_warehouse and not describe_only:
                warehouses.use(ctx)
            sql = prepared.tree.sql("duckdb")
            if describe_only:
                sql = f"SELECT * FROM ({sql}) AS q LIMIT 0"
            result: ResultSet = self._run(ctx, duck, prepared, lambda: self._fetch(duck, sql, names))
            return result
        finally:
            prepared.release()

    def _fetch(self, duck: duckdb.DuckDBPyConnection, sql: str, names: list[str] | None) -> ResultSet:
        duck.execute(sql)
        described = duck.description or []
        columns = [types.result_column(d[0], str(d[1])) for d in described]
        if names is not None and len(names) == len(columns):
            columns = [Column(name, c.type, c.precision, c.scale, c.length, c.nullable) for name, c in zip(names, columns, strict=True)]
        table = duck.to_arrow_table()
        arrays = [shape(table.column(i), column) for i, column in enumerate(columns)]
        shaped = pa.Table.from_arrays(arrays, names=[c.name for c in columns])
        return ResultSet(columns, arrow=shaped, statement_type=0x1000)

    def _change(self, ctx: CommandContext, tree: exp.Expr, describe_only: bool) -> ResultSet:
        kind = type(tree)
        type_id, labels = _DML[kind]
        columns = [Column(label, "FIXED", precision=19) for label in labels]
        if describe_only:
            return ResultSet(columns, [], statement_type=type_id)
        with ctx.session.lock if ctx.session.transaction is not None else _NO_LOCK:
            duck = self.cursor(ctx.session)
            target = _target(tree)
            prepared = prepare_change(ctx, tree, duck, _PRIVILEGE[kind])
            try:
                warehouses.use(ctx)
                if isinstance(tree, exp.Insert) and tree.args.get("overwrite"):
                    prepared.before.append("DELETE FROM " + prepared.tree.find(exp.Table).sql("duckdb"))  # type: ignore[union-attr]
                    prepared.tree.set("overwrite", False)
                counts = self._run(ctx, duck, prepared, lambda: self._count(duck, prepared, kind, ctx))
            finally:
                prepared.release()
        for obj in prepared.sources.tables.values():
            if target is None or obj.name == target:
                self.touched(ctx.session, obj)
        return ResultSet(columns, [counts], statement_type=type_id, updated_rows=sum(counts))

    def _count(self, duck: duckdb.DuckDBPyConnection, prepared: Prepared, kind: type[exp.Expr], ctx: CommandContext) -> tuple[int, ...]:
        own = ctx.session.transaction is None
        if own:
            duck.begin()
        try:
            for statement in prepared.before:
                duck.execute(statement)
            if kind is exp.Merge:
                counts: tuple[int, ...] = _merge_counts(duck.execute(prepared.tree.sql("duckdb") + " RETURNING merge_action").fetchall())
            else:
                row = duck.execute(prepared.tree.sql("duckdb")).fetchone()
                changed = int(row[0]) if row else 0
                counts = (changed, 0) if kind is exp.Update else (changed,)
            if own:
                duck.commit()
        except BaseException:
            if own:
                rollback(duck)
            raise
        return counts

    def _run(self, ctx: CommandContext, duck: duckdb.DuckDBPyConnection, prepared: Prepared, work: Callable[[], Any]) -> Any:
        """Runs `work` so that an abort interrupts it, conflicts are tried again, and failures are SQL errors."""
        ctx.on_cancel.append(duck.interrupt)
        try:
            for attempt in range(_CONFLICT_RETRIES):
                ctx.check_cancelled()
                try:
                    return work()
                except duckdb.TransactionException as conflict:
                    if ctx.session.transaction is not None or attempt == _CONFLICT_RETRIES - 1:
                        raise errors.SqlError(625, "57014", f"Statement was aborted because of a conflicting change: {conflict}") from None
                    time.sleep(0.005 * (attempt + 1))
        except duckdb.Error as error:
            for failure in prepared.functions.failures:
                if isinstance(failure, errors.SqlError):
                    raise failure from None
            raise faults.translate(error) from None
        finally:
            ctx.on_cancel.remove(duck.interrupt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    # -- transactions

    def begin(self, session: Session) -> None:
        with session.lock:
            if session.transaction is None:
                session.transaction = self._db.cursor()
                session.transaction.begin()

    def commit(self, session: Session) -> None:
        """Ends the transaction for good; nothing happens without one."""
        with session.lock:
            if session.transaction is not None:
                try:
                    session.transaction.commit()
                except duckdb.Error as error:
                    raise faults.translate(error) from None
                finally:
                    session.transaction = None

    def rollback(self, session: Session) -> None:
        with session.lock:
            if session.transaction is not None:
                rollback(session.transaction)
                session.transaction = None

    def end_session(self, session: Session) -> None:
        """Rolls back, and drops the session's temporary objects."""
        self.rollback(session)
        for kind in ("TABLE", "STAGE", "FILE FORMAT", "VIEW"):
            for obj in self._account.store.list(kind):
                if obj.props.get("temporary_of") == session.id:
                    self._account.drop(obj)

    # -- stored tables

    def execute(self, sql: str, values: list[Any] | None = None) -> list[Any]:
        """Runs DDL of the account's own on the stored tables."""
        try:
            return self._db.cursor().execute(sql, values).fetchall()
        except duckdb.Error as error:
            raise faults.translate(error) from None

    def execute_many(self, statements: list[str]) -> None:
        """Several of the account's own DDL statements, all or none."""
        duck = self._db.cursor()
        try:
            duck.begin()
            for statement in statements:
                duck.execute(statement)
            duck.commit()
        except duckdb.Error as error:
            rollback(duck)
            raise faults.translate(error) from None

    def truncate(self, session: Session, table: CatalogueObject) -> None:
        try:
            duck = self.cursor(session)
            duck.execute(f"DELETE FROM {stored_name(table)}")
            loads.forget(duck, table)
        except duckdb.Error as error:
            raise faults.translate(error) from None
        self.touched(session, table)

    def drop_table(self, table: CatalogueObject) -> None:
        """Drops the stored table of an entry that has left the catalogue."""
        self.execute(f"DROP TABLE IF EXISTS {stored_name(table)}")
        for col in table.props["columns"]:
            self.execute(f'DROP SEQUENCE IF EXISTS {TABLES}."{table.props["stored"]}_{col["name"]}"')
        loads.forget(self.cursor(), table)

    def row_count(self, table: CatalogueObject) -> int:
        try:
            return int(self.execute(f"SELECT count(*) FROM {stored_name(table)}")[0][0])
        except errors.SqlError:
            return 0

    def touched(self, session: Session, table: CatalogueObject) -> None:
        """The table's rows changed: moves its change token (nanoseconds)."""
        self._account.store.set_props(table, changed_at=time.time_ns())


class _Open:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_NO_LOCK = _Open()


def stored_name(table: CatalogueObject) -> str:
    """The table's name in DuckDB."""
    return f'{TABLES}."{table.props["stored"]}"'


def rollback(duck: duckdb.DuckDBPyConnection) -> None:
    try:
        duck.rollback()
    except duckdb.Error:
        return  # the failed statement has ended the transaction already


def _target(tree: exp.Expr) -> str | None:
    table = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    return str(table.name) if isinstance(table, exp.Table) else None


def _merge_counts(rows: list[Any]) -> tuple[int, int, int]:
    actions = [str(row[-1]).upper() for row in rows]
    return actions.count("INSERT"), actions.count("UPDATE"), actions.count("DELETE")
