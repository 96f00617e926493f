"""WAREHOUSE."""

from __future__ import annotations

import re
from typing import Any

from emulator import errors, warehouses
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
    "INITIALLY_SUSPENDED": "bool",
    "RESOURCE_MONITOR": "any",
    "COMMENT": "string",
    "ENABLE_QUERY_ACCELERATION": "bool",
    "QUERY_ACCELERATION_MAX_SCALE_FACTOR": "int",
    "RESOURCE_CONSTRAINT": "word",
    "GENERATION": "any",
    "MAX_CONCURRENCY_LEVEL": "int",
    "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": "int",
    "STATEMENT_TIMEOUT_IN_SECONDS": "int",
    "WAIT_FOR_COMPLETION": "bool",
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


def _props(given: dict[str, Any]) -> dict[str, Any]:
    """The properties as kept. Raises 1422 for a size or type that does not exist."""
    props: dict[str, Any] = {}
    for key, value in given.items():
        if key == "WAREHOUSE_SIZE":
            size = _SIZES.get(re.sub(r"[-_ ]", "", str(value).upper()))
            if size is None:
                raise errors.invalid_property(value, key)
            props["size"] = size
        elif key == "WAREHOUSE_TYPE":
            if str(value).upper() not in _TYPES:
                raise errors.invalid_property(value, key)
            props["type"] = str(value).upper()
        elif key not in ("COMMENT", "INITIALLY_SUSPENDED", "WAIT_FOR_COMPLETION"):
            props[key.lower()] = value
    if (props.get("auto_suspend") or 0) < 0:
        raise errors.invalid_property(props["auto_suspend"], "AUTO_SUSPEND")
    return props


@command("CREATE", "WAREHOUSE")
def create(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties(_PROPERTIES, "WAREHOUSE")
    cursor.end()
    props = {**warehouses.defaults(), **_props(given), "suspended": bool(given.get("INITIALLY_SUSPENDED", False))}
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
        given = cursor.properties(_PROPERTIES, "WAREHOUSE")
        if not given or not cursor.at_end():
            raise cursor.error()
        obj.props.update(_props(given))
        if "COMMENT" in given:
            obj.comment = given["COMMENT"]
    elif cursor.accept("UNSET"):
        while not cursor.at_end():
            key = cursor.identifier()
            if key == "COMMENT":
                obj.comment = ""
            elif key in _PROPERTIES:
                default = warehouses.defaults()
                kept = {"WAREHOUSE_SIZE": "size", "WAREHOUSE_TYPE": "type"}.get(key, key.lower())
                obj.props[kept] = default.get(kept)
            else:
                raise errors.invalid_option(key, "WAREHOUSE")
            cursor.accept_op(",")
    elif cursor.accept("RENAME", "TO"):
        return _rename(ctx, cursor, obj)
    else:
        raise cursor.error()
    cursor.end()
    ctx.store.update(obj)
    return done


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
]


@command("SHOW", "WAREHOUSES")
def show_warehouses(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    running = [s.session.warehouse for s in ctx.account.statements.running() if s.query_id != ctx.query_id]

    def row(obj: CatalogueObject) -> tuple[Any, ...]:
        props = obj.props
        state = warehouses.state(obj)
        started = state == "STARTED"
        return (
            obj.name,
            state,
            props.get("type"),
            props.get("size"),
            props.get("min_cluster_count") or 1,
            props.get("max_cluster_count") or 1,
            int(started),
            running.count(obj.name) if started else 0,
            0,
            "N",
            "Y" if ctx.session.warehouse == obj.name else "N",
            props.get("auto_suspend"),
            str(bool(props.get("auto_resume", True))).lower(),
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
            props.get("query_acceleration_max_scale_factor") or 8,
            str(props.get("resource_monitor") or "null"),
            0,
            0,
            0,
            0 if started else 1,
            str(obj.id),
            props.get("scaling_policy") or "STANDARD",
            "ROLE",
            props.get("resource_constraint"),
            None if props.get("generation") is None else str(props["generation"]),
        )

    return show(ctx, cursor, "WAREHOUSE", _COLUMNS, row)


@command("DESCRIBE", "WAREHOUSE")
def describe(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get("WAREHOUSE", cursor.name(), anything=True)
    cursor.end()
    return ResultSet([timestamp("created_on"), text("name"), text("kind")], [(obj.created_on, obj.name, "WAREHOUSE")])
