"""Functions in queries: context functions, SYSTEM$, SQL functions and service functions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

from emulator import errors
from emulator.commands.registry import find_system_function
from emulator.engine import types
from emulator.engine.rewrite import func, normalize
from emulator.sql.names import QualifiedName

if TYPE_CHECKING:
    from emulator.catalogue.store import CatalogueObject
    from emulator.commands.context import CommandContext

_fresh = itertools.count(1)


def _context_values(ctx: CommandContext) -> dict[str, Any]:
    session = ctx.session
    roles = sorted({r for role in ctx.access.roles_of_user(session.user) for r in ctx.access.inherited(role)})
    return {
        "CURRENT_ROLE": session.role,
        "CURRENT_ROLE_TYPE": "ROLE",
        "CURRENT_USER": session.user,
        "CURRENT_WAREHOUSE": session.warehouse,
        "CURRENT_DATABASE": session.database,
        "CURRENT_SCHEMA": session.schema,
        "CURRENT_SCHEMAS": json.dumps([f"{session.database}.{session.schema}"] if session.schema else []),
        "CURRENT_SESSION": str(session.id),
        "CURRENT_ACCOUNT": ctx.account.name,
        "CURRENT_ACCOUNT_NAME": ctx.account.name,
        "CURRENT_ORGANIZATION_NAME": ctx.account.organization,
        "CURRENT_REGION": "LOCAL_MACHINE",  # tools split it at the first underscore into cloud and region
        "CURRENT_VERSION": "9.36.0",
        "CURRENT_CLIENT": session.client,
        "CURRENT_IP_ADDRESS": "127.0.0.1",
        "CURRENT_STATEMENT": ctx.text,
        "CURRENT_AVAILABLE_ROLES": json.dumps(roles),
        "CURRENT_SECONDARY_ROLES": json.dumps({"roles": "", "value": "ALL" if session.secondary_roles else ""}),
        "CURRENT_TRANSACTION": None,
    }


@dataclass
class Functions:
    """Replaces the function calls of one statement that DuckDB knows nothing about."""

    ctx: CommandContext
    duck: duckdb.DuckDBPyConnection
    created: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    needs_warehouse: bool = False

    def resolve(self, tree: exp.Expr) -> exp.Expr:
        """The tree with context, SYSTEM$ and user functions replaced. Raises 1044 for an unknown SYSTEM$ function."""
        holder = exp.Paren(this=tree)
        values = _context_values(self.ctx)
        for node in reversed(list(holder.find_all(exp.Func, exp.Column))):
            if isinstance(node.parent, exp.TableFromRows | exp.ModelAttribute):
                continue
            name, top = _name(node)
            if name is None or isinstance(top.parent, exp.TableFromRows):
                continue
            if name in values and not (isinstance(node, exp.Column) and node.args.get("table")):
                top.replace(_named(top, _literal(values[name]), f"{name}()"))
            elif name == "LAST_QUERY_ID":
                top.replace(_named(top, _literal(self._last_query(node)), "LAST_QUERY_ID()"))
            elif name in ("IS_ROLE_IN_SESSION", "IS_DATABASE_ROLE_IN_SESSION") and isinstance(node, exp.Anonymous):
                held = any(node.expressions[0].name in self.ctx.access.inherited(r) for r in self.ctx.roles)
                top.replace(_literal(held))
            elif name.startswith("SYSTEM$"):
                top.replace(_named(top, self._system(name, node), node.sql("snowflake").upper()))
            elif isinstance(node, exp.Anonymous):
                self._user_function(node, top)
        resolved: exp.Expr = holder.this
        return resolved

    def release(self) -> None:
        for name in self.created:
            self.duck.remove_function(name)

    def _last_query(self, node: exp.Expr) -> str | None:
        ids = self.ctx.session.last_query_ids
        offset = -1
        if isinstance(node, exp.Anonymous) and node.expressions:
            offset = int(node.expressions[0].sql())
        index = offset if offset < 0 else offset - 1
        try:
            return ids[index]
        except IndexError:
            return None

    def _system(self, name: str, node: exp.Expr) -> exp.Expr:
        function = find_system_function(name)
        if function is None:
            raise errors.unknown_function(name)
        arguments = [self._constant(argument) for argument in node.expressions]
        return _literal(function(self.ctx, arguments))

    def _constant(self, node: exp.Expr) -> Any:
        if isinstance(node, exp.Kwarg | exp.PropertyEQ):
            return self._constant(node.expression)
        if isinstance(node, exp.Literal):
            return node.name if node.is_string else int(node.name) if node.name.isdigit() else float(node.name)
        try:
            row = self.duck.execute("SELECT " + node.sql("duckdb")).fetchone()
        except duckdb.Error:
            raise errors.compilation(f"argument {node.sql('snowflake')} needs to be constant") from None
        return row[0] if row else None

    # -- functions of the account

    def _user_function(self, node: exp.Anonymous, top: exp.Expr) -> None:
        obj = self._find(node, top)
        if obj is None:
            if isinstance(top, exp.Dot):
                raise errors.unknown_function(top.sql("snowflake").partition("(")[0].replace('"', ""))
            return
        self.ctx.access.require(self.ctx.roles, obj, "USAGE")
        self.needs_warehouse = True
        label = node.sql("snowflake").upper().replace('"', "")
        if obj.props.get("language") == "SERVICE":
            call = func(self._register(obj), *self._arguments(obj, node))
            returns = str(obj.props.get("returns", "VARCHAR"))
            if types.is_json(exp.DataType.build(returns, dialect="snowflake")):
                call = func("json", call)
            top.replace(_named(top, call, label))
        else:
            top.replace(_named(top, exp.Paren(this=self._inline(obj, node)), label))

    def _find(self, node: exp.Anonymous, top: exp.Expr) -> CatalogueObject | None:
        name = node.this.name if isinstance(node.this, exp.Identifier) else str(node.this).upper()
        parts: tuple[str, ...] = (name,)
        if isinstance(top, exp.Dot):
            qualifiers = [str(part.name) for part in top.find_all(exp.Identifier) if part.find_ancestor(exp.Anonymous) is None]
            parts = (*qualifiers, name)
        try:
            database, schema, last = self.ctx.resolve("FUNCTION", QualifiedName(parts))
        except errors.SqlError:
            return None
        count = len(node.expressions)
        for obj in self.ctx.store.list("FUNCTION", database, schema):
            if obj.props.get("name", obj.name) == last and len(obj.props.get("arguments", [])) == count:
                return obj
        return None

    def _arguments(self, obj: CatalogueObject, node: exp.Anonymous) -> list[exp.Expr]:
        found: list[exp.Expr] = []
        for argument, declared in zip(node.expressions, obj.props.get("arguments", []), strict=True):
            kind = exp.DataType.build(declared["type"], dialect="snowflake")
            found.append(exp.Cast(this=argument.copy(), to=kind))
        return found

    def _inline(self, obj: CatalogueObject, node: exp.Anonymous) -> exp.Expr:
        """A SQL function's body with the arguments in place of its parameters."""
        body = normalize(sqlglot.parse_one(str(obj.props["body"]), read="snowflake"))
        given = {a["name"].upper(): e for a, e in zip(obj.props.get("arguments", []), self._arguments(obj, node), strict=True)}
        holder = exp.Paren(this=body)
        for found in list(holder.find_all(exp.Column)):
            if found.name in given and not found.args.get("table"):
                found.replace(given[found.name].copy())
        inner = Functions(self.ctx, self.duck, self.created, self.failures)
        resolved = inner.resolve(holder.this)
        return exp.Subquery(this=resolved) if isinstance(resolved, exp.Query) else resolved

    def _register(self, obj: CatalogueObject) -> str:
        """A DuckDB function that sends batches of rows to the service behind the function."""
        name = f"service_function_{next(_fresh)}"
        declared = [exp.DataType.build(a["type"], dialect="snowflake") for a in obj.props.get("arguments", [])]
        stored = [_udf_type(kind) for kind in declared]
        returns = _udf_type(exp.DataType.build(str(obj.props.get("returns", "VARCHAR")), dialect="snowflake"))
        self.duck.create_function(
            name,
            _vectorised(self.ctx, obj, declared, returns, self.failures),
            stored,
            returns,
            type="arrow",
            null_handling="special",
            side_effects=True,
        )  # type: ignore[call-overload]
        self.created.append(name)
        return name


def _udf_type(kind: exp.DataType) -> str:
    return "VARCHAR" if types.is_json(kind) else types.storage_type(kind)


def _vectorised(
    ctx: CommandContext, obj: CatalogueObject, declared: list[exp.DataType], returns: str, failures: list[BaseException]
) -> Callable[..., pa.Array]:
    def call(*columns: pa.ChunkedArray) -> pa.Array:
        lists = [[_argument(value, types.is_json(kind)) for value in col.to_pylist()] for col, kind in zip(columns, declared, strict=True)]
        rows = [list(row) for row in zip(*lists, strict=True)]
        try:
            ctx.check_cancelled()
            assert ctx.account.runtime is not None
            values = ctx.account.runtime.call(obj, rows, ctx)
            if types.is_json(exp.DataType.build(str(obj.props.get("returns", "VARCHAR")), dialect="snowflake")):
                values = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
            return pa.array([_returned(value, returns) for value in values], _arrow_type(returns))
        except BaseException as error:
            failures.append(error)
            raise

    return call


def _argument(value: Any, is_json: bool) -> Any:
    return json.loads(value) if is_json and isinstance(value, str) else value


def _returned(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "VARCHAR":
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    try:
        if kind in ("BIGINT", "HUGEINT"):
            return int(value)
        if kind == "DOUBLE":
            return float(value)
        if kind == "BOOLEAN":
            return bool(value)
    except (TypeError, ValueError):
        raise errors.bad_cast(f"Numeric value '{value}' is not recognized") from None
    return value


def _arrow_type(kind: str) -> pa.DataType:
    return {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "HUGEINT": pa.decimal128(38, 0),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "DATE": pa.date32(),
        "TIMESTAMP": pa.timestamp("us"),
        "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
    }.get(kind, pa.string())


def _name(node: exp.Expr) -> tuple[str | None, exp.Expr]:
    """(upper-case name, the node to replace) of a function call; a qualified call is replaced with its qualifiers."""
    if isinstance(node, exp.Column):
        return (node.name if node.name.startswith("CURRENT_") else None), node
    top: exp.Expr = node
    while isinstance(top.parent, exp.Dot) and top.parent.args.get("expression") is top:
        top = top.parent
    if isinstance(node, exp.Anonymous):
        return str(node.this).strip('"').upper(), top
    assert isinstance(node, exp.Func)
    return node.sql_name().upper(), top


def _named(top: exp.Expr, replacement: exp.Expr, label: str) -> exp.Expr:
    """A top-level projection keeps the text of the call as its column name."""
    if isinstance(top.parent, exp.Select) and top.arg_key == "expressions":
        return exp.alias_(replacement, label, quoted=True)
    return replacement


def _literal(value: Any) -> exp.Expr:
    if value is None:
        return exp.Cast(this=exp.Null(), to=exp.DataType.build("VARCHAR", dialect="snowflake"))
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, int | float):
        return exp.Literal.number(value) if value >= 0 else exp.Neg(this=exp.Literal.number(-value))
    return exp.Literal.string(str(value))
