"""COMPUTE POOL statements. Source of grammar, columns and texts: compute pool pages of the SQL reference, 2026."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command, system_function
from emulator.commands.show import like_pattern, show
from emulator.results import ResultSet, number, text, timestamp
from emulator.runtime.families import FAMILIES
from emulator.runtime.manager import Manager
from emulator.sql.parser import Cursor

_DEFAULT_SUSPEND = 3600
_SETTINGS = {
    "MIN_NODES": "int",
    "MAX_NODES": "int",
    "INSTANCE_FAMILY": "word",
    "AUTO_RESUME": "bool",
    "AUTO_SUSPEND_SECS": "int",
    "PLACEMENT_GROUP": "string",
    "BACKUP_INSTANCE_FAMILIES": "list",
    "COMMENT": "string",
    "TAG": "any",
}
_UNSET = {
    "AUTO_SUSPEND_SECS": _DEFAULT_SUSPEND,
    "AUTO_RESUME": True,
    "PLACEMENT_GROUP": None,
    "BACKUP_INSTANCE_FAMILIES": None,
}
_COLUMNS = [
    text("name"), text("state"), number("min_nodes"), number("max_nodes"), text("instance_family"), number("num_services"),
    number("num_jobs"), number("auto_suspend_secs"), text("auto_resume"), number("active_nodes"), number("idle_nodes"),
    number("target_nodes"), timestamp("created_on"), timestamp("resumed_on"), timestamp("updated_on"), text("owner"),
    text("comment"), text("is_exclusive"), text("application"), text("placement_group"), text("backup_instance_families"),
]  # fmt: skip
_DESCRIBE_COLUMNS = [
    *_COLUMNS[:19], text("budget"), text("error_code"), text("status_message"), *_COLUMNS[19:],
]  # fmt: skip


def runtime(ctx: CommandContext) -> Manager:
    """The container runtime behind the account."""
    manager = ctx.account.runtime
    assert isinstance(manager, Manager)
    return manager


@command("CREATE", "COMPUTE", "POOL")
def create_pool(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    if ctx.modifiers.or_replace:
        raise errors.unsupported("CREATE OR REPLACE COMPUTE POOL")
    name = cursor.name()
    application = None
    if cursor.accept("FOR", "APPLICATION"):
        application = cursor.identifier()
    given = cursor.properties({**_SETTINGS, "INITIALLY_SUSPENDED": "bool"}, "COMPUTE POOL")
    cursor.end()
    missing = [key for key in ("MIN_NODES", "MAX_NODES", "INSTANCE_FAMILY") if key not in given]
    if missing:
        raise errors.missing_option(*missing)
    props: dict[str, Any] = {
        **{key.lower(): value for key, value in _UNSET.items()},
        **{key.lower(): value for key, value in given.items() if key not in ("COMMENT", "TAG", "INITIALLY_SUSPENDED")},
        "application": application,
        "suspended": bool(given.get("INITIALLY_SUSPENDED")),
    }
    _check(props)
    obj, status = ctx.create("COMPUTE POOL", name, comment=given.get("COMMENT"), props=props)
    if obj is not None:
        ctx.store.set_props(obj, resumed_on=obj.created_on)
        with runtime(ctx).lock:
            runtime(ctx).add_pool(obj)
    return status


def _check(props: dict[str, Any]) -> None:
    family = props["instance_family"] = str(props["instance_family"]).upper()
    backups = [str(name).upper() for name in props["backup_instance_families"] or []]
    props["backup_instance_families"] = backups or None
    for name in (family, *backups):
        if name not in FAMILIES:
            raise errors.invalid_property(name, "INSTANCE_FAMILY")
    if family in backups or len(set(backups)) != len(backups):
        raise errors.invalid_property(", ".join(backups), "BACKUP_INSTANCE_FAMILIES")
    if props["min_nodes"] is None or props["min_nodes"] < 1:
        raise errors.invalid_property(props["min_nodes"], "MIN_NODES")
    if props["max_nodes"] is None or props["max_nodes"] < props["min_nodes"]:
        raise errors.invalid_property(props["max_nodes"], "MAX_NODES")
    if props["max_nodes"] > 750:
        message = f"Requested number of nodes {props['max_nodes']} exceeds the node limit for the account"
        raise errors.SqlError(392512, "22023", message)
    if (props["auto_suspend_secs"] or 0) < 0:
        raise errors.invalid_property(props["auto_suspend_secs"], "AUTO_SUSPEND_SECS")
    props["auto_suspend_secs"] = props["auto_suspend_secs"] or 0


@command("ALTER", "COMPUTE", "POOL")
def alter_pool(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    done = ResultSet.status("Statement executed successfully.")
    verb = cursor.accept_any("SUSPEND", "RESUME", "STOP", "SET", "UNSET")
    if verb is None:
        raise cursor.error()
    obj = ctx.get_if("COMPUTE POOL", name, "OPERATE" if verb in ("SUSPEND", "RESUME", "STOP") else "MODIFY")
    if obj is None:
        return done
    manager = runtime(ctx)
    if verb == "SUSPEND":
        cursor.end()
        manager.suspend_pool(obj)
    elif verb == "RESUME":
        cursor.end()
        manager.resume_pool(obj)
    elif verb == "STOP":
        _stop_all(ctx, cursor, obj)
    else:
        _change(ctx, obj, _read_set(cursor) if verb == "SET" else _read_unset(cursor))
    return done


def _stop_all(ctx: CommandContext, cursor: Cursor, obj: CatalogueObject) -> None:
    cursor.expect("ALL")
    if cursor.accept("OF", "TYPE"):
        cursor.rest()
    cursor.end()
    manager = runtime(ctx)
    for service in manager.services_in(obj.name):
        if service.is_job:
            with manager.lock:
                service.cancel()
        else:
            ctx.account.drop(service.obj)


def _read_set(cursor: Cursor) -> dict[str, Any]:
    given = cursor.properties(_SETTINGS, "COMPUTE POOL")
    cursor.end()
    if not given:
        raise cursor.error()
    return given


def _read_unset(cursor: Cursor) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    while True:
        if cursor.accept("TAG"):
            cursor.name()
        else:
            key = cursor.accept_any(*_UNSET, "COMMENT")
            if key is None:
                raise cursor.error()
            changes[key] = _UNSET.get(key)
        if not cursor.accept_op(","):
            break
    cursor.end()
    return changes


def _change(ctx: CommandContext, obj: CatalogueObject, changes: dict[str, Any]) -> None:
    manager = runtime(ctx)
    with manager.lock:
        state = manager.pools[obj.name].state
        for key in ("INSTANCE_FAMILY", "PLACEMENT_GROUP"):
            if key in changes and state != "SUSPENDED":
                message = f"{key} of compute pool {obj.name} can only be changed while it is SUSPENDED (it is {state})."
                raise errors.SqlError(392510, "22023", message)
        if "COMMENT" in changes:
            obj.comment = changes.pop("COMMENT")
        changes.pop("TAG", None)
        obj.props.update({key.lower(): value for key, value in changes.items()})
        _check(obj.props)
        ctx.store.update(obj)
        manager.configure_pool(obj)


@command("DROP", "COMPUTE", "POOL")
def drop_pool(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    obj = ctx.get_if("COMPUTE POOL", name)
    manager = runtime(ctx)
    if obj is not None:
        running = manager.services_in(obj.name)
        services = sorted(service.obj.fqn for service in running if not service.is_job)
        if services:
            message = (
                f"Cannot drop compute pool {obj.name}: it has services ({', '.join(services[:5])}). Drop them, or use "
                f"ALTER COMPUTE POOL {obj.name} STOP ALL, first."
            )
            raise errors.SqlError(392511, "2BP01", message)
        with manager.lock:
            for service in running:
                service.cancel()
                service.kill_all()
    return ctx.drop("COMPUTE POOL", name)


@command("SHOW", "COMPUTE", "POOLS")
def show_pools(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    with runtime(ctx).lock:
        return show(ctx, cursor, "COMPUTE POOL", _COLUMNS, lambda obj: _row(ctx, obj))


def _row(ctx: CommandContext, obj: CatalogueObject) -> list[Any]:
    manager = runtime(ctx)
    pool, props = manager.shown_pool(obj), obj.props
    running = [s for s in manager.services_in(obj.name) if not s.terminal]
    jobs = sum(1 for service in running if service.is_job)
    backups = props["backup_instance_families"]
    return [
        obj.name,
        pool.state,
        props["min_nodes"],
        props["max_nodes"],
        props["instance_family"],
        len(running) - jobs,
        jobs,
        props["auto_suspend_secs"],
        str(bool(props["auto_resume"])).lower(),
        pool.active_nodes,
        pool.idle_nodes,
        pool.target,
        obj.created_on,
        props.get("resumed_on"),
        obj.updated_on,
        obj.owner,
        obj.comment,
        str(props["application"] is not None).lower(),
        props["application"],
        None if pool.state == "SUSPENDED" else props["placement_group"],
        json.dumps(backups) if backups else None,
    ]


@command("DESCRIBE", "COMPUTE", "POOL")
def describe_pool(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    obj = ctx.get("COMPUTE POOL", name, "MONITOR")
    with runtime(ctx).lock:
        row = _row(ctx, obj)
        code, message = runtime(ctx).pools[obj.name].diagnosis
    return ResultSet(_DESCRIBE_COLUMNS, [[*row[:19], None, code, message, *row[19:]]])


@command("SHOW", "COMPUTE", "POOL", "INSTANCE")
def show_families(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    cursor.expect("FAMILIES")
    cursor.end()
    columns = [
        text("name"), text("description"), number("vcpu"), number("memory_gib"), number("storage_gib"), text("gpu"),
        number("gpu_count"), number("gpu_memory_gib"), number("current_node_usage"), text("message"),
    ]  # fmt: skip
    with runtime(ctx).lock:
        used = [node.family.name for pool in runtime(ctx).pools.values() for node in pool.nodes]
    rows: list[Sequence[Any]] = [
        [f.name, f.description, f.vcpu, f.memory_gib, f.storage_gib, f.gpu, f.gpu_count, f.gpu_memory_gib, used.count(f.name), ""]
        for f in FAMILIES.values()
    ]
    return ResultSet(columns, rows)


@command("SHOW", "NODES")
def show_nodes(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    cursor.expect("IN", "COMPUTE", "POOL")
    obj = ctx.get("COMPUTE POOL", cursor.name(), anything=True)
    pattern = cursor.string() if cursor.accept("LIKE") else "%"
    limit = cursor.integer() if cursor.accept("LIMIT") else 10_000
    cursor.end()
    columns = [
        text("node_id"), text("instance_family"), timestamp("created_on"), text("placement_group"), number("vcpu"),
        number("memory_gib", scale=2), number("storage_gib", scale=2), text("gpu"), number("gpu_count"), number("gpu_memory_gib"),
    ]  # fmt: skip
    matches = like_pattern(pattern)
    with runtime(ctx).lock:
        nodes = [node for node in runtime(ctx).pools[obj.name].nodes if matches.match(node.id)]
        rows: list[Sequence[Any]] = [
            [
                node.id,
                node.family.name,
                node.created,
                obj.props["placement_group"] or "local",
                node.family.vcpu,
                node.family.memory_gib,
                node.family.storage_gib,
                node.family.gpu,
                node.family.gpu_count,
                node.family.gpu_count * node.family.gpu_memory_gib,
            ]
            for node in sorted(nodes, key=lambda node: node.id)
        ]
    return ResultSet(columns, rows[:limit])


@system_function("SYSTEM$GET_COMPUTE_POOL_STATUS")
def pool_status(ctx: CommandContext, args: list[Any]) -> str:
    if len(args) != 1:
        raise errors.compilation("SYSTEM$GET_COMPUTE_POOL_STATUS takes the name of a compute pool.")
    obj = ctx.get("COMPUTE POOL", Cursor(str(args[0])).name(), "MONITOR", "USAGE", "OPERATE")
    with runtime(ctx).lock:
        pool = runtime(ctx).pools[obj.name]
        return json.dumps({"status": pool.state, "message": pool.diagnosis[1]})


@system_function("SYSTEM$GET_COMPUTE_POOL_PENDING_MAINTENANCE")
def pending_maintenance(ctx: CommandContext, args: list[Any]) -> str:
    return json.dumps({"maintenanceRequired": False})
