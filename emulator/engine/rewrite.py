"""Expressions: Snowflake functions, casts and paths in DuckDB's terms.

The statement is a sqlglot tree in Snowflake's dialect with names already normalised; tables are handled in `sources`.
VARIANT, OBJECT and ARRAY are JSON here.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlglot
from sqlglot import exp

from emulator import errors
from emulator.engine import types


def func(name: str, *args: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(args))


def column(name: str, table: str | None = None) -> exp.Column:
    identifier = exp.to_identifier(name, quoted=True)
    return exp.Column(this=identifier, table=exp.to_identifier(table, quoted=True) if table else None)


def duck_type(name: str) -> exp.DataType:
    return exp.DataType.build(name, dialect="duckdb")


def json_cast(node: exp.Expr) -> exp.Expr:
    return exp.Cast(this=node, to=duck_type("JSON"))


def rewrite(tree: exp.Expr) -> exp.Expr:
    """The whole tree rewritten, children first."""
    for node in reversed(list(tree.walk(bfs=True))):
        replacement = _one(node)
        if replacement is not node:
            if node is tree:
                tree = replacement
            else:
                node.replace(replacement)
    return tree


def _one(node: exp.Expr) -> exp.Expr:
    handler = _HANDLERS.get(type(node))
    if handler is not None:
        return handler(node)
    if isinstance(node, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.Like | exp.ILike | exp.In):
        return _comparison(node)
    return node


def _cast(node: exp.Expr) -> exp.Expr:
    kind = node.args["to"]
    inner = node.this
    if not isinstance(kind, exp.DataType):
        return node
    if types.is_text(kind):
        return func("sf_text", inner)
    if types.is_json(kind):
        return func("to_json", inner)
    target = exp.DataType.build(types.storage_type(kind), dialect="duckdb")
    if target.sql("duckdb") == kind.sql("duckdb") and not isinstance(node, exp.TryCast):
        return node
    result = node.copy()
    result.set("to", target)
    return result


def path_text(path: exp.Expr) -> str:
    """A JSONPath in DuckDB's notation, every key quoted."""
    out = "$"
    for part in path.expressions:
        if isinstance(part, exp.JSONPathKey):
            out += '."' + str(part.this).replace('"', '\\"') + '"'
        elif isinstance(part, exp.JSONPathSubscript):
            value = part.this
            out += f'."{value}"' if isinstance(value, str) and not value.lstrip("-").isdigit() else f"[{value}]"
    return out


def _extract(node: exp.Expr) -> exp.Expr:
    path = node.args["expression"]
    if not isinstance(path, exp.JSONPath):
        return func("sf_get", node.this, path)
    return _json(func("json_extract", json_cast(node.this), exp.Literal.string(path_text(path))))


def _json(node: exp.Expr) -> exp.Expr:
    """Marks the node as a VARIANT for `_comparison`."""
    node.meta["variant"] = True
    return node


def _bracket(node: exp.Expr) -> exp.Expr:
    return _json(func("sf_get", node.this, node.expressions[0]))


def _comparison(node: exp.Expr) -> exp.Expr:
    sides = [node.this, *([node.args["expression"]] if node.args.get("expression") is not None else []), *node.expressions]
    literals = [side for side in sides if isinstance(side, exp.Literal)]
    if not literals or (isinstance(node, exp.In) and node.args.get("query")):
        return node
    for side in sides:
        if side.meta.get("variant"):
            if any(literal.is_string for literal in literals):
                side.replace(func("sf_text", side.copy()))
            else:
                side.replace(exp.Cast(this=side.copy(), to=duck_type("DOUBLE")))
    return node


def _parse_json(node: exp.Expr) -> exp.Expr:
    if node.args.get("safe"):
        return _json(exp.TryCast(this=func("sf_text", node.this), to=duck_type("JSON")))
    return _json(func("sf_parse_json", node.this))


def _object(node: exp.Expr) -> exp.Expr:
    args: list[exp.Expr] = []
    for pair in node.expressions:
        if not isinstance(pair, exp.PropertyEQ):
            return node
        args += [pair.this, pair.expression]
    return _json(func("sf_object", func("json_object", *args)))


def _star_map(node: exp.Expr) -> exp.Expr:
    select = node.find_ancestor(exp.Select)
    source = select.args.get("from_") or select.args.get("from") if select is not None else None
    if source is None or select is None or select.args.get("joins"):
        raise errors.unsupported("OBJECT_CONSTRUCT(*) without exactly one table")
    name = source.this.alias_or_name
    return _json(func("sf_object", func("to_json", column(name))))


def _array(node: exp.Expr) -> exp.Expr:
    return _json(func("json_array", *node.expressions))


def _array_agg(node: exp.Expr) -> exp.Expr:
    if isinstance(node.parent, exp.WithinGroup | exp.Window | exp.Filter):
        return node
    return _json(func("to_json", func("coalesce", node.copy(), func("list_value"))))


def _within_group(node: exp.Expr) -> exp.Expr:
    inner = node.this
    if not isinstance(inner, exp.ArrayAgg):
        return node
    order = node.args["expression"]
    listed = exp.ArrayAgg(this=exp.Order(this=inner.this.copy(), expressions=[o.copy() for o in order.expressions]), nulls_excluded=True)
    return _json(func("to_json", func("coalesce", listed, func("list_value"))))


def _div(node: exp.Expr) -> exp.Expr:
    return func("sf_div", node.this, node.args["expression"])


def _parameter(node: exp.Expr) -> exp.Expr:
    """`$1` is the column of that number; over VALUES these are named COLUMN1 …"""
    name = str(node.this.name)
    if not name.isdigit() or isinstance(node.parent, exp.Table):
        return node
    select = node.find_ancestor(exp.Select)
    source = (select.args.get("from_") or select.args.get("from")) if select is not None else None
    label = f"COLUMN{name}" if source is not None and source.find(exp.Values) else f"${name}"
    if isinstance(node.parent, exp.Column):
        return _projection(select, node.parent.table, int(name)) or exp.to_identifier(label, quoted=True)
    return _json(column(label)) if label.startswith("$") else column(label)


def _projection(select: exp.Expr | None, alias: str, number: int) -> exp.Expr | None:
    """`t.$2` of a subquery `t`, here or further out, is its second column, which gets a name where it has none. None for other sources."""
    while select is not None and alias:
        for source in select.find_all(exp.Subquery):
            columns = source.this.expressions if isinstance(source.this, exp.Select) else []
            if source.alias.upper() == alias.upper() and number <= len(columns):
                chosen = columns[number - 1]
                if not isinstance(chosen, exp.Alias | exp.Column):
                    chosen.replace(exp.alias_(chosen.copy(), f"${number}", quoted=True))
                    return exp.to_identifier(f"${number}", quoted=True)
                return exp.to_identifier(chosen.alias_or_name)
        select = select.find_ancestor(exp.Select)
    return None


def _to_variant(node: exp.Expr) -> exp.Expr:
    return _json(func("to_json", node.this))


def _type_of(node: exp.Expr) -> exp.Expr:
    return func("sf_typeof", node.this)


def _anonymous(node: exp.Expr) -> exp.Expr:
    name = str(node.this).upper()
    args = node.expressions
    simple = {
        "TYPEOF": "sf_typeof",
        "GET": "sf_get",
        "TO_VARIANT": "to_json",
        "TO_OBJECT": "to_json",
        "TO_ARRAY": "to_json",
        "ARRAY_CONSTRUCT": "json_array",
        "STRTOK_TO_ARRAY": "string_split",
    }
    if name in simple:
        return _json(func(simple[name], *args))
    if name == "TO_JSON" and len(args) == 1:
        return exp.Cast(this=args[0], to=duck_type("VARCHAR"))
    if name == "ARRAY_SIZE":
        return func("json_array_length", json_cast(args[0]))
    if name == "OBJECT_KEYS":
        return func("to_json", func("json_keys", json_cast(args[0])))
    if name == "ARRAY_CONTAINS" and len(args) == 2:
        return func("json_contains", json_cast(args[1]), func("to_json", args[0]))
    if name == "IS_NULL_VALUE":
        return exp.EQ(this=func("json_type", json_cast(args[0])), expression=exp.Literal.string("NULL"))
    if name in ("TO_BINARY", "TRY_TO_BINARY"):
        kind = args[1].name.upper() if len(args) > 1 else "HEX"
        if kind == "UTF-8":
            return func("encode", args[0])
        return func("from_base64" if kind == "BASE64" else "unhex", args[0])
    return node


def _array_size(node: exp.Expr) -> exp.Expr:
    return func("json_array_length", json_cast(node.this))


def _array_to_string(node: exp.Expr) -> exp.Expr:
    listed = exp.Cast(this=json_cast(node.this), to=duck_type("VARCHAR[]"))
    return func("array_to_string", listed, node.args["expression"])


def _to_binary(node: exp.Expr) -> exp.Expr:
    form = node.args.get("format")
    return _anonymous(func("TO_BINARY", *([node.this, form] if form is not None else [node.this])))


def _values(node: exp.Expr) -> exp.Expr:
    """VALUES as a table gets Snowflake's column names COLUMN1, COLUMN2 …"""
    if not isinstance(node.parent, exp.From | exp.Join) or not node.expressions:
        return node
    alias = node.args.get("alias")
    if alias is not None and alias.columns:
        return node
    width = len(node.expressions[0].expressions) or 1
    names = [exp.to_identifier(f"COLUMN{i + 1}", quoted=True) for i in range(width)]
    table = alias.this if alias is not None and alias.this is not None else exp.to_identifier("VALUES", quoted=True)
    node.set("alias", exp.TableAlias(this=table, columns=names))
    return node


_HANDLERS: dict[type[exp.Expr], Callable[[exp.Expr], exp.Expr]] = {
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.JSONExtract: _extract,
    exp.GetExtract: lambda node: _json(func("sf_get", node.this, node.args["expression"])),
    exp.Bracket: _bracket,
    exp.ParseJSON: _parse_json,
    exp.Struct: _object,
    exp.Array: _array,
    exp.ArrayAgg: _array_agg,
    exp.WithinGroup: _within_group,
    exp.Div: _div,
    exp.Parameter: _parameter,
    exp.ToVariant: _to_variant,
    exp.Anonymous: _anonymous,
    exp.Values: _values,
}
for _name, _handler in (
    ("StarMap", _star_map),
    ("ArraySize", _array_size),
    ("ToBinary", _to_binary),
    ("Typeof", _type_of),
    ("ArrayToString", _array_to_string),
    ("ArrayContains", lambda node: func("json_contains", json_cast(node.this), func("to_json", node.args["expression"]))),
):
    if hasattr(exp, _name):
        _HANDLERS[getattr(exp, _name)] = _handler


def parse(text: str) -> exp.Expr:
    """One Snowflake statement as a tree with normalised names. Raises sqlglot's ParseError or TokenError."""
    tree = sqlglot.parse_one(text, read="snowflake")
    return normalize(tree)


def normalize(tree: exp.Expr) -> exp.Expr:
    """Unquoted names upper-case, all names quoted."""
    for identifier in tree.find_all(exp.Identifier):
        if not identifier.args.get("quoted"):
            identifier.set("this", str(identifier.this).upper())
            identifier.set("quoted", True)
    return tree
