"""WAREHOUSE."""

from __future__ import annotations

import re
from typing import Any

from emulator import errors, object_parameters, warehouses
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import show
from emulator.results import ResultSet, number, text, timestamp
from emulator.sql.parser import Cursor

_PROPERTIES = {
    "WAREHOUSE_TYPE": "word",
    "WAREHOUSE_SIZE": "word",
    "MAX_CLUSTER_COUNT": "int",
    "MIN_CLUSTER_COUNT": "int",
    "SCALING_POLICY": "word",
    "AUTO_SUSPEND": "int",
    "AUTO_RESUME": "bool",
    "RESOURCE_MONITOR": "any",
    "COMMENT": "string",
    "ENABLE_QUERY_ACCELERATION": "bool",
    "QUERY_ACCELERATION_MAX_SCALE_FACTOR": "int",
    "RESOURCE_CONSTRAINT": "word",
    "GENERATION": "any",
    **object_parameters.WORDS["WAREHOUSE"],
}
_CREATE = {**_PROPERTIES, "INITIALLY_SUSPENDED": "bool"}
_ALTER = {
    **_PROPERTIES,
    "WAIT_FOR_COMPLETION": "bool",
    "QUERY_THROUGHPUT_MULTIPLIER": "int",
    "MAX_QUERY_PERFORMANCE_LEVEL": "word",
    "FALLBACK_WAREHOUSE": "any",
}
_UNSET = (
    frozenset(_ALTER) - {"WAREHOUSE_TYPE", "WAREHOUSE_SIZE", "WAIT_FOR_COMPLETION", "COMMENT"} - object_parameters.WORDS["WAREHOUSE"].keys()
)
_RANGES = {
    "MAX_CLUSTER_COUNT": (1, 10),
    "MIN_CLUSTER_COUNT": (1, 10),
    "QUERY_ACCELERATION_MAX_SCALE_FACTOR": (0, 100),
    "AUTO_SUSPEND": (0, 2**31),
    "QUERY_THROUGHPUT_MULTIPLIER": (0, 10_000),
}
_SIZES = {
    "XSMALL": "X-Small",
    "SMALL": "Small",
    "MEDIUM": "Medium",
    "LARGE": "Large",
    "XLARGE": "X-Large",
    "XXLARGE": "2X-Large",
    "X2LARGE": "2X-Large",
    "2XLARGE": "2X-Large",
    "XXXLARGE": "3X-Large",
    "X3LARGE": "3X-Large",
    "3XLARGE": "3X-Large",
    "X4LARGE": "4X-Large",
    "4XLARGE": "4X-Large",
    "X5LARGE": "5X-Large",
    "5XLARGE": "5X-Large",
    "X6LARGE": "6X-Large",
    "6XLARGE": "6X-Large",
}
_TYPES = ("STANDARD", "SNOWPARK-OPTIMIZED", "ADAPTIVE", "INTERACTIVE")
_DONE = "Statement executed successfully."


def _props(ctx: CommandContext, given: dict[str, Any]) -> dict[str, Any]:
    """The properties as kept. Raises 1422 for a value that does not exist or is out of range, 2003 for a monitor that is not there."""
    props: dict[str, Any] = {}
    for key, value in given.items():
        low, high = _RANGES.get(key, (None, None))
        if low is not None and high is not None and value is not None and not low <= value <= high:
            raise errors.invalid_property(value, key)
        if key == "WAREHOUSE_SIZE":
            props["size"] = _size(value, key)
        elif key == "MAX_QUERY_PERFORMANCE_LEVEL":
            props[key.lower()] = _size(value, key)
        elif key == "WAREHOUSE_TYPE":
            props["type"] = _one_of(_TYPES, value, key)
        elif key == "SCALING_POLICY":
            props["scaling_policy"] = _one_of(("STANDARD", "ECONOMY"), value, key)
        elif key == "GENERATION":
            props["generation"] = _one_of(("1", "2"), value, key)
        elif key == "RESOURCE_MONITOR":
            props["resource_monitor"] = _monitor(ctx, value)
        elif key not in ("COMMENT", "INITIALLY_SUSPENDED", "WAIT_FOR_COMPLETION", *object_parameters.WORDS["WAREHOUSE"]):
            props[key.lower()] = value
    return props


def _size(value: Any, key: str) -> str:
    size = _SIZES.get(re.sub(r"[-_ ]", "", str(value).upper()))
    if size is None:
        raise errors.invalid_property(value, key)
    return size


def _one_of(known: tuple[str, ...], value: Any, key: str) -> str:
    if str(value).upper() not in known:
        raise errors.invalid_property(value, key)
    return str(value).upper()


def _monitor(ctx: CommandContext, value: Any) -> str | None:
    if value is None or str(value).upper() == "NULL":
        return None
    if ctx.store.find("RESOURCE MONITOR", "", "", str(value)) is None:
        raise errors.does_not_exist("Resource monitor", str(value))
    return str(value)


def _check(props: dict[str, Any]) -> None:
    """Raises 1422 for properties that do not go together."""
    if (props.get("min_cluster_count") or 1) > (props.get("max_cluster_count") or 1):
        raise errors.invalid_property(props["min_cluster_count"], "MIN_CLUSTER_COUNT")
    adaptive = props["type"] == "ADAPTIVE"
    for key in ("query_throughput_multiplier", "max_query_performance_level"):
        if props.get(key) is not None and not adaptive:
            raise errors.invalid_property(props[key], key.upper())


@command("CREATE", "WAREHOUSE")
def create(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties(_CREATE, "WAREHOUSE")
    cursor.end()
    props = {**warehouses.defaults(), **_props(ctx, given), "suspended": bool(given.get("INITIALLY_SUSPENDED", False))}
    if props["type"] == "ADAPTIVE" and "WAREHOUSE_SIZE" in given:
        raise errors.invalid_property(given["WAREHOUSE_SIZE"], "WAREHOUSE_SIZE")
    _check(props)
    props["parameters"] = object_parameters.take("WAREHOUSE", given)
    obj, status = ctx.create("WAREHOUSE", name, comment=given.get("COMMENT", ""), props=props)
    if obj is not None:
        ctx.session.warehouse = obj.name
    return status


@command("ALTER", "WAREHOUSE")
def alter(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    done = ResultSet.status(_DONE)
    if cursor.peek().is_word("SUSPEND", "RESUME", "ABORT"):
        return _operate(ctx, cursor, name)
    obj = ctx.get_if("WAREHOUSE", name, "MODIFY")
    if obj is None:
        return done
    if cursor.accept("SET"):
        _set(ctx, cursor, obj)
    elif cursor.accept("UNSET"):
        _unset(cursor, obj)
    elif cursor.accept("RENAME", "TO"):
        return _rename(ctx, cursor, obj)
    else:
        raise cursor.error()
    cursor.end()
    _check(obj.props)
    ctx.store.update(obj)
    return done


def _set(ctx: CommandContext, cursor: Cursor, obj: CatalogueObject) -> None:
    given = cursor.properties(_ALTER, "WAREHOUSE")
    if not given or not cursor.at_end():
        raise cursor.error()
    changes = _props(ctx, given)
    if changes.get("type", obj.props["type"]) != obj.props["type"] and warehouses.state(obj) != "SUSPENDED":
        raise errors.SqlError(90080, "22000", f"Warehouse '{obj.name}' must be suspended before its type can be changed.")
    obj.props.update(changes)
    obj.props["parameters"] = object_parameters.take("WAREHOUSE", given, obj.props.get("parameters"))
    if "COMMENT" in given:
        obj.comment = given["COMMENT"] or ""


def _unset(cursor: Cursor, obj: CatalogueObject) -> None:
    while True:
        key = cursor.identifier()
        if key == "COMMENT":
            obj.comment = ""
        elif key in object_parameters.WORDS["WAREHOUSE"]:
            obj.props.get("parameters", {}).pop(key, None)
        elif key in _UNSET:
            obj.props[key.lower()] = warehouses.defaults().get(key.lower())
        else:
            raise errors.invalid_option(key, "WAREHOUSE")
        if not cursor.accept_op(","):
            return


def _operate(ctx: CommandContext, cursor: Cursor, name: Any) -> ResultSet:
    obj = ctx.get_if("WAREHOUSE", name, "OPERATE")
    if obj is None:
        return ResultSet.status(_DONE)
    if cursor.accept("SUSPEND"):
        cursor.end()
        warehouses.suspend(ctx.store, obj)
    elif cursor.accept("RESUME"):
        lenient = cursor.accept("IF", "SUSPENDED")
        cursor.end()
        if not lenient or warehouses.state(obj) == "SUSPENDED":
            warehouses.resume(ctx.store, obj)
    else:
        cursor.expect("ABORT", "ALL", "QUERIES")
        for statement in ctx.account.statements.running():
            if statement.session.warehouse == obj.name and statement.query_id != ctx.query_id:
                statement.cancel()
    return ResultSet.status(_DONE)


def _rename(ctx: CommandContext, cursor: Cursor, obj: CatalogueObject) -> ResultSet:
    old = (obj.database, obj.schema, obj.name)
    obj.name = cursor.identifier()
    cursor.end()
    with ctx.store.transaction():
        ctx.store.update(obj)
        ctx.store.move_grants(obj, old)
    return ResultSet.status(_DONE)


@command("DROP", "WAREHOUSE")
def drop(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    status = ctx.drop("WAREHOUSE", name)
    if ctx.session.warehouse == name.name:
        ctx.session.warehouse = None
    return status


_COLUMNS = [
    *map(text, ("name", "state", "type", "size")),
    *map(number, ("min_cluster_count", "max_cluster_count", "started_clusters", "running", "queued")),
    *map(text, ("is_default", "is_current")),
    number("auto_suspend"),
    *map(text, ("auto_resume", "available", "provisioning", "quiescing", "other")),
    *map(timestamp, ("created_on", "resumed_on", "updated_on")),
    *map(text, ("owner", "comment", "enable_query_acceleration")),
    number("query_acceleration_max_scale_factor"),
    text("resource_monitor"),
    *map(number, ("actives", "pendings", "failed", "suspended")),
    *map(text, ("uuid", "scaling_policy", "owner_role_type", "resource_constraint", "generation")),
    *map(text, ("max_query_performance_level", "query_throughput_multiplier", "tables")),
]


@command("SHOW", "WAREHOUSES")
def show_warehouses(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    running = [s.session.warehouse for s in ctx.account.statements.running() if s.query_id != ctx.query_id]

    def row(obj: CatalogueObject) -> tuple[Any, ...]:
        return _row(obj, running.count(obj.name), current=ctx.session.warehouse == obj.name)

    return show(ctx, cursor, "WAREHOUSE", _COLUMNS, row)


def _row(obj: CatalogueObject, running: int, *, current: bool) -> tuple[Any, ...]:
    """Columns that the type does not know are NULL."""
    props = obj.props
    state = warehouses.state(obj)
    started = state == "STARTED"
    sized = props["type"] != "ADAPTIVE"
    constraint = props.get("resource_constraint") or ("MEMORY_16X" if props["type"] == "SNOWPARK-OPTIMIZED" else None)
    multiplier = props.get("query_throughput_multiplier")
    return (
        obj.name,
        state,
        props["type"],
        props.get("size") if sized else None,
        (props.get("min_cluster_count") or 1) if sized else None,
        (props.get("max_cluster_count") or 1) if sized else None,
        int(started) if sized else None,
        running if started else 0,
        0,
        "N",
        "Y" if current else "N",
        props.get("auto_suspend"),
        str(props.get("auto_resume") is not False).lower(),
        "100" if started else "",
        "0" if started else "",
        "0" if started else "",
        "0" if started else "",
        obj.created_on,
        props.get("resumed_on") or obj.created_on,
        obj.updated_on,
        obj.owner,
        obj.comment or "",
        str(bool(props.get("enable_query_acceleration"))).lower(),
        8 if props.get("query_acceleration_max_scale_factor") is None else props["query_acceleration_max_scale_factor"],
        str(props.get("resource_monitor") or "null"),
        0,
        0,
        0,
        0 if started else 1,
        str(obj.id),
        (props.get("scaling_policy") or "STANDARD") if sized else None,
        "ROLE",
        constraint,
        props.get("generation"),
        props.get("max_query_performance_level"),
        None if multiplier is None else str(multiplier),
        None,
    )


@command("DESCRIBE", "WAREHOUSE")
def describe(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get("WAREHOUSE", cursor.name(), anything=True)
    cursor.end()
    return ResultSet([timestamp("created_on"), text("name"), text("kind")], [(obj.created_on, obj.name, "WAREHOUSE")])
