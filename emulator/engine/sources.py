"""Where rows come from: tables, views, earlier results, stages, table functions, INFORMATION_SCHEMA.

Every table reference of a statement is replaced by something that DuckDB can read: a stored table, a view's query, or an Arrow
table registered under a fresh name for this statement.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import sqlglot
from sqlglot import exp

from emulator import errors
from emulator.commands.registry import find_table_function
from emulator.engine import infer, information
from emulator.engine.flatten import flatten, generator, keywords, order_rows
from emulator.engine.rewrite import column, json_cast, normalize
from emulator.results import ResultSet
from emulator.sql.names import QualifiedName
from emulator.sql.parser import Cursor
from emulator.stages.lookup import file_label, find_stage
from emulator.stages.reader import ReadOptions, stage_query
from emulator.wire.encode import arrow_table

if TYPE_CHECKING:
    from emulator.catalogue.store import CatalogueObject
    from emulator.commands.context import CommandContext
    from emulator.stages.files import StageFile

_fresh = itertools.count(1)


TABLES = "stored"  # DuckDB's schema for all stored tables


def physical(table: CatalogueObject) -> exp.Table:
    """The stored table of a catalogue entry: its name there never changes, whatever the entry is called."""
    return exp.Table(this=exp.to_identifier(table.props["stored"], quoted=True), db=exp.to_identifier(TABLES, quoted=True))


@dataclass
class Sources:
    """Replaces the table references of one statement. `needs_warehouse` says whether stored data is read."""

    ctx: CommandContext
    duck: duckdb.DuckDBPyConnection
    earlier: list[ResultSet]
    needs_warehouse: bool = False
    registered: list[str] = field(default_factory=list)
    tables: dict[str, CatalogueObject] = field(default_factory=dict)

    def resolve(self, tree: exp.Expr, privilege: str = "SELECT") -> exp.Expr:
        """The tree with every reference replaced. Raises 2003/42S02 for what is not there or not allowed."""
        holder = exp.Paren(this=tree)
        for node in list(holder.find_all(exp.Lateral, exp.TableFromRows)):
            self._rows(node)
        for table in list(holder.find_all(exp.Table)):
            if table.meta.get("resolved") or _is_cte(table) or table.find_ancestor(exp.Table) is not None:
                continue
            self._table(table, privilege)
        order_rows(holder)
        resolved: exp.Expr = holder.this
        return resolved

    def release(self) -> None:
        """Forgets the registered Arrow tables."""
        for name in self.registered:
            self.duck.unregister(name)

    # -- plain references

    def _table(self, table: exp.Table, privilege: str) -> None:
        this = table.this
        if isinstance(this, exp.Parameter):
            back = int(this.this.name)
            if back < 1 or back > len(self.earlier):
                raise errors.invalid_identifier(f"${back}")
            self._replace(table, self._register(self.earlier[-back]))
            self.needs_warehouse = True
            return
        if isinstance(this, exp.Var | exp.Literal) and str(this.name).startswith("@"):
            self._stage(table, str(this.name))
            return
        if not isinstance(this, exp.Identifier):
            return
        parts = tuple(str(part.name) for part in table.parts)
        if len(parts) > 3:
            raise errors.table_does_not_exist(".".join(parts))
        if len(parts) > 1 and parts[-2] == "INFORMATION_SCHEMA":
            database = parts[0] if len(parts) == 3 else self.ctx.current_database()
            self._replace(table, self._register(information.view(self.ctx, database, parts[-1])))
            return
        obj = self.find(QualifiedName(parts))
        self.ctx.access.require(self.ctx.roles, obj, privilege)
        self.tables[obj.fqn] = obj
        self.needs_warehouse = True
        if obj.kind == "VIEW":
            self._view(table, obj)
            return
        stored = physical(obj)
        stored.meta["resolved"] = True
        self._replace(table, stored, default_alias=obj.name)

    def find(self, name: QualifiedName) -> CatalogueObject:
        """The table or view of that name. Raises 2003/42S02."""
        key = self.ctx.resolve("TABLE", name)
        for kind in ("TABLE", "VIEW"):
            found = self.ctx.store.find(kind, *key)
            if found is not None and found.props.get("temporary_of", self.ctx.session.id) == self.ctx.session.id:
                return found
        raise errors.table_does_not_exist(".".join(name.parts))

    def _view(self, table: exp.Table, view: CatalogueObject) -> None:
        """A view is its query, read in the view's own schema and with its owner's rights."""
        session = self.ctx.session
        saved = (session.database, session.schema, session.role)
        session.database, session.schema, session.role = view.database, view.schema, view.owner
        try:
            inner = self.resolve(normalize(sqlglot.parse_one(view.props["query"], read="snowflake")))
        finally:
            session.database, session.schema, session.role = saved
        alias = exp.to_identifier(view.name, quoted=True)
        names = [exp.to_identifier(c["name"], quoted=True) for c in view.props.get("columns", [])]
        subquery = exp.Subquery(this=inner, alias=exp.TableAlias(this=alias, columns=names))
        given = table.args.get("alias")
        if given is not None and given.this is not None:
            subquery.args["alias"].set("this", given.this.copy())
        for join in table.args.get("joins") or []:
            subquery.append("joins", join)
        table.replace(subquery)

    def _replace(self, table: exp.Expr, source: exp.Expr, default_alias: str | None = None) -> None:
        """Puts `source` in the place of `table`, keeping its alias."""
        alias = table.args.get("alias")
        if alias is not None:
            source.set("alias", alias.copy())
        elif default_alias and not isinstance(table.parent, exp.Insert | exp.Schema):
            source.set("alias", exp.TableAlias(this=exp.to_identifier(default_alias, quoted=True)))
        for key in ("joins", "laterals", "sample"):
            if table.args.get(key):
                source.set(key, table.args[key])
        table.replace(source)

    def _register(self, result: ResultSet) -> exp.Table:
        name = f"rows_{next(_fresh)}"
        self.duck.register(name, arrow_table(result))
        self.registered.append(name)
        reference = exp.Table(this=exp.to_identifier(name, quoted=True))
        reference.meta["resolved"] = True
        if any(c.type in ("VARIANT", "OBJECT", "ARRAY") for c in result.columns):
            shown = [
                exp.alias_(json_cast(column(c.name)), c.name, quoted=True) if c.type in ("VARIANT", "OBJECT", "ARRAY") else column(c.name)
                for c in result.columns
            ]
            inner = exp.Select(expressions=shown).from_(reference)
            return exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)))  # type: ignore[return-value]
        return reference

    def _stage(self, table: exp.Table, text: str) -> None:
        reference = Cursor(text).stage_ref()
        stage = find_stage(self.ctx, reference, "READ", "USAGE")
        options = ReadOptions.from_table(self.ctx, table, stage)
        files = [f for f in self.ctx.account.stages.list(stage, reference.path) if options.accepts(f.path)]
        if not files:
            raise errors.file_not_found(f"@{text.lstrip('@')}")
        self.read_files(table, stage, files, options)

    def read_files(self, table: exp.Table, stage: CatalogueObject, files: list[StageFile], options: ReadOptions) -> None:
        """Puts the rows of staged files in the place of the reference."""
        root = self.ctx.account.stages.root(stage)
        query, arrow = stage_query(self.duck, [(root / f.path, file_label(stage, f.path)) for f in files], options)
        if arrow is not None:
            name = f"rows_{next(_fresh)}"
            self.duck.register(name, arrow)
            self.registered.append(name)
            query = query.replace("$rows", name)
        inner = sqlglot.parse_one(query, read="duckdb")
        for part in inner.find_all(exp.Table):
            part.meta["resolved"] = True
        self.needs_warehouse = True
        self._replace(table, exp.Subquery(this=inner), default_alias="STAGE_FILES")

    # -- TABLE(f(…)) and LATERAL f(…)

    def _rows(self, node: exp.Expr) -> None:
        inner = node.this
        if isinstance(inner, exp.Explode):
            flatten(node, inner)
            return
        if isinstance(inner, exp.Generator):
            generator(node, inner)
            return
        if isinstance(node, exp.Lateral) and isinstance(inner, exp.Subquery):
            return
        name, arguments, subject = _call(inner)
        if name == "RESULT_SCAN":
            result = self._result_scan(arguments)
        elif name == "INFER_SCHEMA":
            result = infer.infer_schema(self.ctx, self.duck, keywords(arguments))
        elif name == "SPLIT_TO_TABLE":
            raise errors.unsupported(f"TABLE({name}(…))")
        else:
            function = find_table_function(f"!{name}" if subject else name)
            if function is None:
                raise errors.unknown_table_function(name)
            values: list[Any] = [subject] if subject else []
            result = function(self.ctx, values + [self._constant(a) for a in arguments])
        self._replace(node, self._register(result))

    def _constant(self, node: exp.Expr) -> Any:
        if isinstance(node, exp.Kwarg | exp.PropertyEQ):
            return (str(node.this.name).upper(), self._constant(node.expression))
        row = self.duck.execute("SELECT " + node.sql("duckdb")).fetchone()
        return row[0] if row else None

    def _result_scan(self, arguments: list[exp.Expr]) -> ResultSet:
        argument = arguments[0] if arguments else exp.Literal.string("")
        query_id = str(self._constant(argument))
        statement = self.ctx.account.statements.get(query_id)
        if statement is None or statement.session.user != self.ctx.session.user:
            raise errors.statement_not_found(query_id)
        if statement.future is not None and statement.ended is None and statement.query_id != self.ctx.query_id:
            statement.future.result()
        if statement.error is not None:
            raise statement.error
        if statement.result is None:
            raise errors.statement_not_found(query_id)
        self.ctx.result_id = query_id
        return statement.result


def _is_cte(table: exp.Table) -> bool:
    """Whether the reference names a WITH query that is in scope."""
    if table.args.get("db") is not None or not isinstance(table.this, exp.Identifier):
        return False
    node: exp.Expr | None = table
    while node is not None:
        clause = node.args.get("with_") or node.args.get("with")
        if clause is not None and any(cte.alias == table.name for cte in clause.expressions):
            return True
        node = node.parent
    return False


def _call(node: exp.Expr) -> tuple[str, list[exp.Expr], str | None]:
    """(function name, arguments, object before `!`) of a table function call."""
    subject = None
    if isinstance(node, exp.ModelAttribute):
        subject = node.this.sql("snowflake").replace('"', "")
        node = node.expression
    while isinstance(node, exp.Dot):
        node = node.expression
    if isinstance(node, exp.Anonymous):
        return str(node.this).upper(), list(node.expressions), subject
    if isinstance(node, exp.Func):
        return node.sql_name().upper(), [a for a in node.args.values() if isinstance(a, exp.Expr)], subject
    raise errors.unknown_table_function(node.sql("snowflake").upper())
