"""USE, SET, ALTER SESSION, transactions, parameters, CALL."""

from __future__ import annotations

from typing import Any

from emulator import errors, object_parameters, parameters
from emulator.commands.context import CommandContext
from emulator.commands.registry import command, find_system_function, system_function
from emulator.commands.show import like_pattern
from emulator.results import Column, ResultSet, text
from emulator.sql.bind import literal
from emulator.sql.parser import Cursor

_DONE = "Statement executed successfully."


@command("USE", "ROLE")
def use_role(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    role = cursor.identifier()
    cursor.end()
    session = ctx.session
    known = ctx.store.find("ROLE", "", "", role) is not None
    allowed = role in (session.fixed_role, "PUBLIC") if session.fixed_role else ctx.access.may_use_role(session.user, role)
    if not known:
        raise errors.cannot_operate()
    if not allowed:
        raise errors.role_not_assigned(role)
    session.role = role
    return ResultSet.status(_DONE)


@command("USE", "SECONDARY", "ROLES")
def use_secondary_roles(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    word = cursor.accept_any("ALL", "NONE")
    if word is None:
        raise cursor.error()
    cursor.end()
    ctx.session.secondary_roles = word == "ALL" and ctx.session.fixed_role is None
    return ResultSet.status(_DONE)


@command("USE", "WAREHOUSE")
def use_warehouse(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.identifier()
    cursor.end()
    warehouse = ctx.store.find("WAREHOUSE", "", "", name)
    if warehouse is None or not ctx.access.has(ctx.roles, warehouse, "USAGE", "OPERATE"):
        raise errors.cannot_operate()
    ctx.session.warehouse = name
    return ResultSet.status(_DONE)


@command("USE", "DATABASE")
def use_database(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.identifier()
    cursor.end()
    _enter_database(ctx, name)
    return ResultSet.status(_DONE)


def _enter_database(ctx: CommandContext, name: str) -> None:
    database = ctx.store.find("DATABASE", "", "", name)
    if database is None or not ctx.access.has(ctx.roles, database, "USAGE"):
        raise errors.cannot_operate()
    ctx.session.database = name
    public = ctx.store.find("SCHEMA", name, "", "PUBLIC")
    ctx.session.schema = "PUBLIC" if public is not None else None


@command("USE", "SCHEMA")
def use_schema(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    database, _, schema = ctx.resolve("SCHEMA", name)
    found = ctx.store.find("SCHEMA", database, "", schema)
    if found is None or not ctx.access.has(ctx.roles, found, "USAGE"):
        raise errors.cannot_operate()
    container = ctx.store.find("DATABASE", "", "", database)
    if container is None or not ctx.access.has(ctx.roles, container, "USAGE"):
        raise errors.cannot_operate()
    ctx.session.database, ctx.session.schema = database, schema
    return ResultSet.status(_DONE)


@command("USE")
def use_plain(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    """`USE db` and `USE db.schema`."""
    name = cursor.name()
    cursor.end()
    if len(name.parts) == 1:
        _enter_database(ctx, name.name)
        return ResultSet.status(_DONE)
    return use_schema(ctx, Cursor(str(name)))


@command("SET")
def set_variable(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.identifier()
    cursor.expect_op("=")
    start = cursor.peek().start
    cursor.rest()
    value = _evaluate(ctx, cursor.source[start:])
    ctx.session.variables[name] = value
    return ResultSet.status(_DONE)


@command("UNSET")
def unset_variable(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    ctx.session.variables.pop(cursor.identifier(), None)
    cursor.end()
    return ResultSet.status(_DONE)


def _evaluate(ctx: CommandContext, expression: str) -> Any:
    result = ctx.account.engine.query(ctx, f"SELECT {expression}")
    value = result.arrow.column(0)[0].as_py() if result.arrow is not None else result.rows[0][0]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


@command("SHOW", "VARIABLES")
def show_variables(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    cursor.end()
    rows = [(str(ctx.session.id), name, str(value), type(value).__name__) for name, value in sorted(ctx.session.variables.items())]
    return ResultSet([text("session_id"), text("name"), text("value"), text("type")], rows)


# -- transactions


@command("BEGIN")
@command("START", "TRANSACTION")
def begin(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    cursor.accept_any("TRANSACTION", "WORK")
    if cursor.accept("NAME"):
        cursor.identifier()
    cursor.end()
    ctx.account.engine.begin(ctx.session)
    return ResultSet.status(_DONE)


@command("COMMIT")
def commit(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    cursor.accept("WORK")
    cursor.end()
    ctx.account.engine.commit(ctx.session)
    return ResultSet.status(_DONE)


@command("ROLLBACK")
def rollback(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    cursor.accept("WORK")
    cursor.end()
    ctx.account.engine.rollback(ctx.session)
    return ResultSet.status(_DONE)


# -- parameters


@command("ALTER", "SESSION", "SET")
def alter_session_set(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    while not cursor.at_end():
        name = cursor.identifier()
        cursor.expect_op("=")
        ctx.session.parameters[name] = parameters.check(name, cursor.value())
        cursor.accept_op(",")
    return ResultSet.status(_DONE)


@command("ALTER", "SESSION", "UNSET")
def alter_session_unset(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    while not cursor.at_end():
        ctx.session.parameters.pop(cursor.identifier(), None)
        cursor.accept_op(",")
    return ResultSet.status(_DONE)


@command("SHOW", "PARAMETERS")
def show_parameters(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    pattern = like_pattern(cursor.string()) if cursor.accept("LIKE") else None
    columns = [text("key"), text("value"), text("default"), text("level"), text("description"), text("type")]
    if cursor.accept("IN") or cursor.accept("FOR"):
        kind = cursor.accept_any(*object_parameters.BY_KIND)
        if kind is not None:
            obj = ctx.get(kind, cursor.name(), anything=True)
            cursor.end()
            told = object_parameters.rows(ctx.store, obj)
            return ResultSet(columns, [row for row in told if pattern is None or pattern.match(row[0])])
        cursor.rest()
    cursor.end()
    rows = []
    for parameter in parameters.PARAMETERS.values():
        if pattern is not None and not pattern.match(parameter.name):
            continue
        value = ctx.session.parameters.get(parameter.name)
        shown = parameters.shown(parameter.default if value is None else value)
        level = "" if value is None else "SESSION"
        rows.append((parameter.name, shown, parameters.shown(parameter.default), level, parameter.description, parameter.type))
    return ResultSet(columns, rows)


# -- CALL and small system functions


@command("CALL")
def call(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    token = cursor.peek()
    name = cursor.name()
    arguments: list[Any] = []
    wanted = name.name
    if cursor.accept_op("!"):  # a method of an object: it gets the object's name as first argument
        arguments.append(str(name))
        wanted = f"!{cursor.identifier()}"
    function = find_system_function(wanted)
    if function is None:
        raise errors.unknown_function(wanted.lstrip("!"))
    cursor.expect_op("(")
    while not cursor.accept_op(")"):
        if cursor.peek().kind == "word" and cursor.peek(1).is_op("=>"):
            cursor.next()
            cursor.next()
        arguments.append(cursor.value())
        cursor.accept_op(",")
    cursor.end()
    value = function(ctx, arguments)
    return ResultSet([Column(token.value)], [(None if value is None else parameters.shown(value),)])


@system_function("SYSTEM$CLIENT_VERSION_INFO")
def client_version_info(ctx: CommandContext, args: list[Any]) -> str:
    return '[{"clientId":"PythonConnector","clientAppId":"PythonConnector","minimumSupportedVersion":"3.0.0","recommendedVersion":"4.8.0"}]'


@system_function("SYSTEM$ABORT_SESSION")
def abort_session(ctx: CommandContext, args: list[Any]) -> str:
    """Ends a session of the same user; whoever manages grants ends any. Its statements have ended, or never start, when this returns.

    Who may is not in the documentation; that a user may end his own is what clients of Snowflake rely on to cancel what they run.
    """
    session_id = str(args[0]) if args else ""
    session = ctx.account.tokens.by_id(int(session_id)) if session_id.isdigit() else None
    allowed = session is not None and (session.user == ctx.session.user or "MANAGE GRANTS" in ctx.access.global_privileges(ctx.roles))
    if session is None or not allowed:
        raise errors.SqlError(2044, "02000", f"{errors.COMPILATION}Session {literal(session_id)} not found or not authorized.")
    if not ctx.account.end_session(session.id, by=ctx.query_id):
        raise errors.internal(f"a statement of session {session_id} did not end")
    return f"session [{session_id}] terminated."


@system_function("SYSTEM$LAST_CHANGE_COMMIT_TIME")
def last_change(ctx: CommandContext, args: list[Any]) -> int:
    """Nanoseconds of the table's last change of rows; any privilege on the table will do."""
    name = Cursor(str(args[0])).name()
    for kind in ("TABLE", "VIEW"):
        obj = ctx.find(kind, name)
        if obj is not None and ctx.access.visible(ctx.roles, obj):
            return int(obj.props.get("changed_at") or obj.created_on * 1_000_000_000)
    raise errors.table_does_not_exist(str(name))


@system_function("SYSTEM$TYPEOF")
def system_typeof(ctx: CommandContext, args: list[Any]) -> str:
    value = args[0]
    kinds: dict[type, str] = {bool: "BOOLEAN[SB1]", int: "NUMBER(38,0)[SB1]", float: "FLOAT[DOUBLE]", str: "VARCHAR[LOB]"}
    return kinds.get(type(value), "NULL[LOB]")


@system_function("SYSTEM$WAIT")
def wait(ctx: CommandContext, args: list[Any]) -> str:
    """Waits, as the real function does; an abort ends it."""
    unit = str(args[1]).upper() if len(args) > 1 else "SECONDS"
    seconds = float(args[0]) * {"MILLISECONDS": 0.001, "MINUTES": 60.0, "HOURS": 3600.0}.get(unit, 1.0)
    ctx.cancelled.wait(seconds)
    ctx.check_cancelled()
    return f"waited {args[0]} {unit.lower()}"
