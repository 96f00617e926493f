"""LIMIT before service functions: a call to a model is dear, so that only rows that are shown are sent to it."""

from __future__ import annotations

import itertools

from sqlglot import exp

from emulator.engine.rewrite import column

_fresh = itertools.count(1)
_MOVED = ("from_", "joins", "laterals", "where", "order", "limit", "offset", "sample")
_OBSTACLES = ("distinct", "group", "having", "qualify", "windows")


def limit_first(tree: exp.Expr, functions: list[str]) -> None:
    """Moves ORDER BY and LIMIT below the calls of `functions` wherever that changes nothing but the number of rows sent."""
    for select in list(tree.find_all(exp.Select)):
        if (select.args.get("limit") or select.args.get("offset")) and any(_calls(p, functions) for p in select.expressions):
            _limit_first(select, functions)


def _limit_first(select: exp.Select, functions: list[str]) -> None:
    if not _can_move(select, functions):
        return
    prefix = f"limited_{next(_fresh)}"
    inner: list[exp.Expr] = []
    outer: list[exp.Expr] = []

    def below(node: exp.Expr) -> exp.Expr:
        """The node computed below the limit, and a reference to it."""
        if isinstance(node, exp.Literal | exp.Boolean | exp.Null):
            return node.copy()
        name = f"{prefix}_{len(inner)}"
        inner.append(exp.alias_(node.copy(), name, quoted=True))
        return column(name)

    references: list[exp.Expr | None] = []
    for projection in select.expressions:
        if isinstance(projection, exp.Star):
            outer.append(projection)
            references.append(None)
        elif _calls(projection, functions):
            for part in _leaves(projection):
                part.replace(below(part))
            outer.append(projection)
            references.append(None)
        else:
            reference = below(projection.unalias())
            references.append(reference)
            outer.append(exp.alias_(reference.copy(), projection.alias_or_name or projection.sql("snowflake"), quoted=True))
    _order_below(select, references)
    star = next((p for p in outer if isinstance(p, exp.Star)), None)
    if star is not None:
        inner.insert(0, star.copy())
        star.set("except_", [exp.to_identifier(part.alias, quoted=True) for part in inner[1:]] or None)
    limited = exp.Select(expressions=inner)
    for key in _MOVED:
        if select.args.get(key) is not None:
            limited.set(key, select.args[key])
            select.set(key, None)
    select.set("expressions", outer)
    subquery = exp.Subquery(this=limited, alias=exp.TableAlias(this=exp.to_identifier(prefix, quoted=True)))
    select.set("from_", exp.From(this=subquery))


def _can_move(select: exp.Select, functions: list[str]) -> bool:
    if any(select.args.get(key) for key in _OBSTACLES) or select.args.get("from_") is None:
        return False
    if any(p.find(exp.AggFunc, exp.Window, exp.Query) for p in select.expressions):
        return False
    stars = [p for p in select.expressions if p.is_star]
    if len(stars) > 1 or (stars and (select.args.get("joins") or not isinstance(stars[0], exp.Star) or stars[0].args.get("except_"))):
        return False
    order = select.args.get("order")
    if order is None:
        return not _uses_own_aliases(select, select.expressions)
    if _calls(order, functions) or (stars and any(isinstance(o.this, exp.Literal) for o in order.expressions)):
        return False
    dear = {p.alias for p in select.expressions if isinstance(p, exp.Alias) and _calls(p, functions)}
    for position, projection in enumerate(select.expressions, 1):
        if _calls(projection, functions) and any(_is_number(o.this, position) for o in order.expressions):
            return False
    if any(not c.table and c.name in dear for c in order.find_all(exp.Column)):
        return False
    return not _uses_own_aliases(select, select.expressions)


def _uses_own_aliases(select: exp.Select, parts: list[exp.Expr]) -> bool:
    """Whether a projection refers to another one's alias."""
    names = {p.alias for p in select.expressions if isinstance(p, exp.Alias) and not _is_column(p.this, p.alias)}
    where = select.args.get("where")
    looked = [*parts, *([where] if where is not None else [])]
    return any(not c.table and c.name in names for part in looked for c in part.find_all(exp.Column))


def _order_below(select: exp.Select, references: list[exp.Expr | None]) -> None:
    """ORDER BY an alias or a position becomes ORDER BY the expression, as the names are others below."""
    order = select.args.get("order")
    if order is None:
        return
    named = {p.alias: p.this for p in select.expressions if isinstance(p, exp.Alias)}
    for term in order.expressions:
        if isinstance(term.this, exp.Literal) and term.this.name.isdigit():
            index = int(term.this.name) - 1
            if 0 <= index < len(references) and references[index] is not None:
                term.this.replace(select.expressions[index].unalias().copy())
        else:
            for found in list(term.find_all(exp.Column)):
                if not found.table and found.name in named:
                    found.replace(exp.Paren(this=named[found.name].copy()))


def _leaves(projection: exp.Expr) -> list[exp.Expr]:
    """The columns that a projection reads."""
    return [
        node
        for node in projection.find_all(exp.Column, exp.Parameter)
        if isinstance(node, exp.Column) or not isinstance(node.parent, exp.Column)
    ]


def _calls(node: exp.Expr, functions: list[str]) -> bool:
    return any(str(call.this) in functions for call in node.find_all(exp.Anonymous))


def _is_number(node: exp.Expr, value: int) -> bool:
    return isinstance(node, exp.Literal) and node.name == str(value)


def _is_column(node: exp.Expr, name: str) -> bool:
    return isinstance(node, exp.Column) and node.name == name
