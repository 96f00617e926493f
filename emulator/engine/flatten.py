"""FLATTEN and GENERATOR as DuckDB queries.

A correlated FLATTEN becomes two laterals, one with the list of items and one that unnests it. DuckDB joins laterals by hashing, in no
order that a person expects, so that `order_rows` sorts by the rows of the sources and the positions of the items afterwards.
"""

from __future__ import annotations

import itertools

import sqlglot
from sqlglot import exp

from emulator import errors
from emulator.engine.rewrite import column, func, json_cast

_fresh = itertools.count(1)
_ITEMS = (
    "SELECT 1 AS SEQ, e.k AS KEY, e.p AS PATH, e.i AS INDEX, e.v AS VALUE, e.t AS THIS, e.n AS position"
    " FROM (SELECT unnest(items) AS e FROM (SELECT NULL AS items))"
)


def keywords(nodes: list[exp.Expr]) -> dict[str, exp.Expr]:
    """Named arguments (`name => value`) by upper-case name."""
    return {str(n.this.name).upper(): n.expression for n in nodes if isinstance(n, exp.Kwarg | exp.PropertyEQ)}


def flatten(node: exp.Expr, explode: exp.Expr) -> None:
    """Replaces LATERAL FLATTEN(…) or TABLE(FLATTEN(…)). Raises 2 for RECURSIVE."""
    options = keywords([explode.this, *explode.expressions])
    value = options.get("INPUT", explode.this)
    if _is_true(options.get("RECURSIVE")):
        raise errors.unsupported("FLATTEN with RECURSIVE => TRUE")
    if "PATH" in options:
        value = func("json_extract", json_cast(value), exp.Literal.string("$." + options["PATH"].name))
    join = node.parent
    if isinstance(join, exp.Join) and join.side == "LEFT" and (join.args.get("on") is None or _is_true(join.args["on"])):
        options["OUTER"] = exp.true()
        join.set("side", None)
        join.set("on", None)
    name = "sf_flatten_outer" if _is_true(options.get("OUTER")) else "sf_flatten"
    whole = json_cast(value.copy()) if _wants_this(node) else exp.Cast(this=exp.Null(), to=exp.DataType.build("JSON", dialect="duckdb"))
    items = f"flatten_{next(_fresh)}"
    listed = exp.Select(expressions=[exp.alias_(func(name, json_cast(value.copy()), whole), items, quoted=True)])
    rows = sqlglot.parse_one(_ITEMS, read="duckdb")
    for identifier in rows.find_all(exp.Identifier):
        identifier.set("this", {"items": items, "position": f"{items}_position"}.get(identifier.name, identifier.this))
        identifier.set("quoted", True)
    inner = next(s for s in rows.find_all(exp.Subquery) if s.find_ancestor(exp.Subquery) is not None)
    lateral = isinstance(join, exp.Join) and any(isinstance(part, exp.Column | exp.Parameter) for part in value.walk())
    if lateral:
        rows.args["from_"].this.this.set("from_", None)
    else:
        inner.set("this", listed)
    given = node.args.get("alias")
    alias = given.this.copy() if given is not None and given.this is not None else exp.to_identifier("F", quoted=True)
    replacement = exp.Lateral(this=exp.Subquery(this=rows), alias=exp.TableAlias(this=alias))
    replacement.meta["position"] = f"{items}_position"
    node.replace(replacement)
    _hide(replacement.parent_select, f"{items}_position", alias.name)
    if lateral:
        assert isinstance(join, exp.Join)
        _put_before(join, listed, items)


def _put_before(join: exp.Join, listed: exp.Select, name: str) -> None:
    """Adds the lateral with the list before the join that unnests it; `*` does not show it."""
    select = join.parent
    assert isinstance(select, exp.Expr)
    joins = select.args["joins"]
    helper = exp.Lateral(this=exp.Subquery(this=listed), alias=exp.TableAlias(this=exp.to_identifier(f"{name}_list", quoted=True)))
    position = next(i for i, other in enumerate(joins) if other is join)
    select.set("joins", [*joins[:position], exp.Join(this=helper), *joins[position:]])
    _hide(select, name)


def _hide(select: exp.Expr | None, name: str, source: str = "") -> None:
    """Keeps a column of the account's own out of `*` and of `source.*`."""
    for projection in select.expressions if isinstance(select, exp.Select) else []:
        qualified = isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star)
        star = projection.this if qualified else projection
        if isinstance(star, exp.Star) and (not qualified or projection.table == source):
            star.set("except_", [*(star.args.get("except_") or []), exp.to_identifier(name, quoted=True)])


def order_rows(tree: exp.Expr) -> None:
    """Sorts each query over FLATTEN that does not say how: by the rows of its sources, then by the items' positions."""
    for select in list(tree.find_all(exp.Select)):
        sources = _sources(select)
        if not any("position" in source.meta for source in sources) or not _is_plain(select):
            continue
        terms = [term for term in map(_rank, sources) if term is not None]
        select.set("order", exp.Order(expressions=[exp.Ordered(this=term, nulls_first=True) for term in terms]))


def _sources(select: exp.Select) -> list[exp.Expr]:
    first = select.args.get("from_")
    return [part.this for part in ([first] if first is not None else []) + (select.args.get("joins") or [])]


def _is_plain(select: exp.Select) -> bool:
    """One row out for each row in, in no order of its own."""
    if any(select.args.get(key) for key in ("order", "group", "distinct", "having", "qualify", "windows")):
        return False
    return not any(part.find(exp.AggFunc, exp.Window) for part in select.expressions)


def _rank(source: exp.Expr) -> exp.Expr | None:
    """What sorts rows as they lie in the source; None where its rows have no order to keep."""
    if "position" in source.meta:
        return column(source.meta["position"], source.alias)
    if isinstance(source, exp.Table) and source.args.get("db") is not None:
        return exp.Column(this=exp.to_identifier("rowid"), table=exp.to_identifier(source.alias_or_name, quoted=True))
    name = f"row_{next(_fresh)}"
    number = exp.alias_(exp.Window(this=func("row_number")), name, quoted=True)
    alias, select = source.alias_or_name, source.parent_select
    if isinstance(source, exp.Subquery) and isinstance(source.this, exp.Select) and _is_plain(source.this) and alias:
        source.this.append("expressions", number)
    elif isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
        inner = exp.Select(expressions=[exp.Star(), number]).from_(source.copy())
        source.replace(exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True))))
    else:
        return None
    _hide(select, name, alias)
    return column(name, alias)


def _wants_this(node: exp.Expr) -> bool:
    """Whether the statement may show THIS, the whole value: it is kept with every item only then."""
    root = node.root()
    stars = (star for star in root.find_all(exp.Star) if not isinstance(star.parent, exp.Count))
    return next(stars, None) is not None or any(c.name.upper() == "THIS" for c in root.find_all(exp.Column))


def generator(node: exp.Expr, call: exp.Generator) -> None:
    """Replaces TABLE(GENERATOR(ROWCOUNT => n)): n rows without columns of their own. Raises 2 without ROWCOUNT."""
    count = call.args.get("rowcount")
    if count is None:
        raise errors.unsupported("GENERATOR without ROWCOUNT")
    query = exp.Select(expressions=[exp.alias_(column("range"), "ROW_NUMBER", quoted=True)])
    source = exp.Table(this=func("range", exp.Cast(this=count.copy(), to=exp.DataType.build("BIGINT"))))
    source.meta["resolved"] = True
    given = node.args.get("alias")
    name = given.this.copy() if given is not None and given.this is not None else exp.to_identifier("GENERATOR", quoted=True)
    node.replace(exp.Subquery(this=query.from_(source), alias=exp.TableAlias(this=name)))


def _is_true(node: exp.Expr | None) -> bool:
    return node is not None and node.sql().upper() == "TRUE"
