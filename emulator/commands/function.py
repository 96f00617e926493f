"""FUNCTION statements: service functions, and SQL functions with an expression as body.

The catalogue's name of a function is `NAME(TYPE, TYPE)`, so overloads are different objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.service_function import OPTIONS, read_service_options, service_props
from emulator.commands.show import read_options
from emulator.results import ResultSet, text, timestamp
from emulator.sql.names import QualifiedName
from emulator.sql.parser import Cursor

_TYPES = {
    "STRING": "VARCHAR", "TEXT": "VARCHAR", "CHAR": "VARCHAR", "CHARACTER": "VARCHAR", "NVARCHAR": "VARCHAR",
    "INT": "NUMBER", "INTEGER": "NUMBER", "BIGINT": "NUMBER", "SMALLINT": "NUMBER", "TINYINT": "NUMBER", "BYTEINT": "NUMBER",
    "DECIMAL": "NUMBER", "NUMERIC": "NUMBER", "DOUBLE": "FLOAT", "FLOAT4": "FLOAT", "FLOAT8": "FLOAT", "REAL": "FLOAT",
    "DATETIME": "TIMESTAMP_NTZ", "TIMESTAMP": "TIMESTAMP_NTZ", "VARBINARY": "BINARY",
}  # fmt: skip
_KNOWN = {"VARCHAR", "NUMBER", "FLOAT", "BOOLEAN", "VARIANT", "OBJECT", "ARRAY", "DATE", "TIME", "BINARY", "TIMESTAMP_NTZ",
          "TIMESTAMP_LTZ", "TIMESTAMP_TZ"}  # fmt: skip
_BEHAVIOUR = (
    ("CALLED", "ON", "NULL", "INPUT"),
    ("RETURNS", "NULL", "ON", "NULL", "INPUT"),
    ("NOT", "NULL"),
    ("NULL",),
    ("STRICT",),
    ("VOLATILE",),
    ("IMMUTABLE",),
)
_UNSET = ("CONTEXT_HEADERS", "MAX_BATCH_ROWS", "MAX_BATCH_RETRIES", "ON_BATCH_FAILURE", "BATCH_TIMEOUT_SECS", "COMMENT")
_COLUMNS = [
    timestamp("created_on"), text("name"), text("schema_name"), text("is_builtin"), text("is_aggregate"), text("is_ansi"),
    text("min_num_arguments"), text("max_num_arguments"), text("arguments"), text("description"), text("catalog_name"),
    text("is_table_function"), text("valid_for_clustering"), text("is_secure"), text("secrets"),
    text("external_access_integrations"), text("is_external_function"), text("language"), text("is_memoizable"),
    text("is_data_metric"),
]  # fmt: skip


def _type(cursor: Cursor) -> str:
    """A data type with its parameters, by Snowflake's own name for it."""
    word = cursor.identifier()
    if word == "DOUBLE":
        cursor.accept("PRECISION")
    name = _TYPES.get(word, word)
    if name not in _KNOWN:
        raise errors.compilation(f"Unsupported data type '{word}'.")
    parameters = cursor.value() if cursor.peek().is_op("(") else []
    return f"{name}({', '.join(str(p) for p in parameters)})" if parameters else name


def _base(type_text: str) -> str:
    return type_text.partition("(")[0]


def _arguments(cursor: Cursor) -> list[dict[str, str]]:
    cursor.expect_op("(")
    found: list[dict[str, str]] = []
    while not cursor.accept_op(")"):
        if found:
            cursor.expect_op(",")
        found.append({"name": cursor.identifier(), "type": _type(cursor)})
    return found


def _with_signature(name: QualifiedName, types: list[str]) -> QualifiedName:
    return QualifiedName((*name.parts[:-1], f"{name.name}({', '.join(_base(t) for t in types)})"))


def signature(cursor: Cursor) -> QualifiedName:
    """`name(TYPE, …)` as ALTER, DROP and DESCRIBE take it, as the catalogue's name."""
    name = cursor.name()
    cursor.expect_op("(")
    types: list[str] = []
    while not cursor.accept_op(")"):
        if types:
            cursor.expect_op(",")
        types.append(_type(cursor))
    return _with_signature(name, types)


@command("CREATE", "FUNCTION")
def create_function(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    arguments = _arguments(cursor)
    cursor.expect("RETURNS")
    if cursor.peek().is_word("TABLE"):
        raise errors.unsupported("table function")
    returns = _type(cursor)
    props: dict[str, Any] = {"name": name.name, "arguments": arguments, "returns": returns}
    comment = None
    while any(cursor.accept(*words) for words in _BEHAVIOUR):
        pass
    if cursor.peek().is_word(*OPTIONS) and _is_service(cursor):
        start = cursor.index
        comment = cursor.properties(OPTIONS, "FUNCTION").get("COMMENT")
        cursor.index = start
        props |= read_service_options(ctx, cursor)
    else:
        while cursor.peek().is_word("LANGUAGE", "COMMENT", "MEMOIZABLE"):
            word = cursor.next().value
            if word == "LANGUAGE" and not cursor.accept("SQL"):
                raise errors.unsupported(f"FUNCTION in language {cursor.peek().text}")
            if word == "COMMENT":
                cursor.accept_op("=")
                comment = cursor.string()
        cursor.expect("AS")
        props |= {"language": "SQL", "body": cursor.string()}
    cursor.end()
    full = _with_signature(name, [a["type"] for a in arguments])
    _, status = ctx.create("FUNCTION", full, comment=comment, props=props, shown=name.name)
    return status


def _is_service(cursor: Cursor) -> bool:
    return any(token.is_word("SERVICE") for token in cursor.tokens[cursor.index :])


@command("ALTER", "FUNCTION")
def alter_function(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = signature(cursor)
    obj = ctx.get_if("FUNCTION", name)
    done = ResultSet.status("Statement executed successfully.")
    if obj is None:
        return done
    if cursor.accept("RENAME", "TO"):
        _rename(ctx, obj, cursor)
        return done
    if cursor.accept("UNSET"):
        while True:
            key = cursor.accept_any(*_UNSET)
            if key is None:
                raise cursor.error()
            if key == "COMMENT":
                obj.comment = None
            obj.props.pop(key.lower(), None)
            if not cursor.accept_op(","):
                break
        cursor.end()
    else:
        cursor.expect("SET")
        given = cursor.properties(OPTIONS, "FUNCTION")
        cursor.end()
        if set(given) - {"COMMENT"} and obj.props["language"] != "SERVICE":
            raise errors.compilation(f"{obj.name} is no service function.")
        obj.props.update(service_props(ctx, given, obj.props))
        if "COMMENT" in given:
            obj.comment = given["COMMENT"]
    ctx.store.update(obj)
    return done


def _rename(ctx: CommandContext, obj: CatalogueObject, cursor: Cursor) -> None:
    target = cursor.name()
    cursor.end()
    full = _with_signature(target, [a["type"] for a in obj.props["arguments"]])
    database, schema, last = ctx.resolve("FUNCTION", full)
    ctx.access.require_create(ctx.session.role, "FUNCTION", database, schema)
    obj.database, obj.schema, obj.name = database, schema, last
    obj.props["name"] = target.name
    ctx.store.update(obj)


@command("DROP", "FUNCTION")
def drop_function(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = signature(cursor)
    cursor.end()
    return ctx.drop("FUNCTION", name)


@command("SHOW", "USER", "FUNCTIONS")
def show_user_functions(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    options = read_options(ctx, cursor, "FUNCTION")
    objects = [
        obj
        for obj in ctx.store.list("FUNCTION", options.database, options.schema)
        if options.accepts(str(obj.props["name"])) and ctx.access.visible(ctx.roles, obj)
    ]
    rows: list[Sequence[Any]] = [_row(obj) for obj in options.cut(objects, lambda obj: str(obj.props["name"]))]
    return ResultSet(_COLUMNS, rows)


@command("SHOW", "FUNCTIONS")
def show_functions(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    """The account's own functions; built-in ones are not listed."""
    return show_user_functions(ctx, cursor)


def _row(obj: CatalogueObject) -> list[Any]:
    props = obj.props
    types = ", ".join(_base(a["type"]) for a in props["arguments"])
    count = str(len(props["arguments"]))
    external = "Y" if props["language"] == "SERVICE" else "N"
    return [
        obj.created_on, props["name"], obj.schema, "N", "N", "N", count, count,
        f"{props['name']}({types}) RETURN {_base(props['returns'])}", obj.comment or "user-defined function", obj.database,
        "N", "N", "N", None, None, external, "EXTERNAL" if external == "Y" else "SQL", "N", "N",
    ]  # fmt: skip


@command("DESCRIBE", "FUNCTION")
def describe_function(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = signature(cursor)
    cursor.end()
    obj = ctx.get("FUNCTION", name, "USAGE")
    props = obj.props
    shown = ", ".join(f"{a['name']} {a['type']}" for a in props["arguments"])
    rows: list[Sequence[Any]] = [["signature", f"({shown})"], ["returns", props["returns"]]]
    if props["language"] == "SERVICE":
        headers = props.get("context_headers")
        rows += [
            ["language", "EXTERNAL"],
            ["null handling", "CALLED ON NULL INPUT"],
            ["volatility", "VOLATILE"],
            ["body", props["path"]],
            ["service", ".".join(props["service"])],
            ["endpoint", props["endpoint"]],
            ["max_batch_rows", _shown(props.get("max_batch_rows"))],
            ["max_batch_retries", _shown(props.get("max_batch_retries"))],
            ["on_batch_failure", props.get("on_batch_failure") or "ABORT"],
            ["batch_timeout_secs", _shown(props.get("batch_timeout_secs"))],
            ["context_headers", ", ".join(map(str, headers)) if headers else None],
        ]
    else:
        rows += [["language", "SQL"], ["body", props["body"]]]
    return ResultSet([text("property"), text("value")], rows)


def _shown(value: Any) -> str | None:
    return None if value is None else str(value)
