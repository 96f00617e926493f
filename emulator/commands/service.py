"""SERVICE and JOB SERVICE statements that change something. Source: service pages of the SQL reference, 2026."""

from __future__ import annotations

import uuid
from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.compute_pool import runtime
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.service_create import (
    JOB_OPTIONS,
    SERVICE_OPTIONS,
    apply_instances,
    block_volumes,
    check_blocks,
    options_to_props,
    pool_for,
    pool_suspended,
    read,
    version_for,
)
from emulator.results import ResultSet
from emulator.runtime.instance import Version
from emulator.runtime.service import Service
from emulator.sql.names import QualifiedName, is_plain
from emulator.sql.parser import Cursor

_DONE = "Statement executed successfully."
_UNSET = ("MIN_INSTANCES", "AUTO_SUSPEND_SECS", "MAX_INSTANCES", "LOG_LEVEL", "MIN_READY_INSTANCES", "QUERY_WAREHOUSE",
          "AUTO_RESUME", "EXTERNAL_ACCESS_INTEGRATIONS", "COMMENT")  # fmt: skip


@command("CREATE", "SERVICE")
def create_service(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    if ctx.modifiers.or_replace:
        raise errors.unsupported("CREATE OR REPLACE SERVICE")
    name = cursor.name()
    given = read(ctx, cursor, SERVICE_OPTIONS, "SERVICE")
    props = options_to_props(ctx, given.options)
    apply_instances(props)
    home = _home(ctx, name)
    existing = ctx.find("SERVICE", name)
    if existing is not None and ctx.modifiers.if_not_exists:
        return ResultSet.status(f"{existing.name} already exists, statement succeeded.")
    ctx.access.require_create(ctx.session.role, "SERVICE", *home)
    if existing is not None:
        raise errors.already_exists(existing.fqn)
    pool = pool_for(ctx, given.pool)
    version = version_for(ctx, given.specification, pool, home)
    check_blocks(version.spec.document, props)
    with runtime(ctx).lock:
        obj, status = ctx.create("SERVICE", name, comment=given.options.get("COMMENT"), props=_props(props, version, pool, is_job=False))
        assert obj is not None
        runtime(ctx).add_service(obj, version)
    return status


@command("EXECUTE", "JOB", "SERVICE")
def execute_job(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    given = read(ctx, cursor, JOB_OPTIONS, "JOB SERVICE")
    name = given.options.get("NAME") or QualifiedName((f"JOB_{uuid.UUID(ctx.query_id)}".replace("-", "_").upper(),))
    replicas = given.options.get("REPLICAS", 1)
    if replicas is None or replicas < 1:
        raise errors.invalid_property(replicas, "REPLICAS")
    home = _home(ctx, name)
    ctx.access.require_create(ctx.session.role, "SERVICE", *home)
    existing = ctx.find("SERVICE", name)
    if existing is not None:
        raise errors.already_exists(existing.fqn)
    pool = pool_for(ctx, given.pool)
    version = version_for(ctx, given.specification, pool, home)
    background = bool(given.options.get("ASYNC"))
    props = {
        **options_to_props(ctx, given.options),
        "is_async_job": background,
        "replicas": replicas,
        "replicas_given": "REPLICAS" in given.options,
        "query_id": ctx.query_id,
    }
    apply_instances(props)
    with runtime(ctx).lock:
        obj, _ = ctx.create("SERVICE", name, comment=given.options.get("COMMENT"), props=_props(props, version, pool, is_job=True))
        assert obj is not None
        job = runtime(ctx).add_service(obj, version)
    if background:
        return ResultSet.status(f"Job {obj.name} successfully submitted.")
    return _wait_for_job(ctx, job)


def _wait_for_job(ctx: CommandContext, job: Service) -> ResultSet:
    """A synchronous job: an abort of the statement cancels it."""
    while not job.terminal and not job.dropped:
        if ctx.cancelled.wait(0.05):
            with runtime(ctx).lock:
                job.cancel()
            ctx.check_cancelled()
    if job.status == "DONE":
        return ResultSet.status(f"Job {job.obj.name} completed successfully with status: DONE.")
    status = "DELETED" if job.dropped else job.status
    raise errors.SqlError(395012, "P0000", f"Job {job.obj.name} failed with status: {status}. {job.message}")


def _home(ctx: CommandContext, name: QualifiedName) -> tuple[str, str]:
    database, schema, last = ctx.resolve("SERVICE", name)
    if not all(is_plain(part) for part in (database, schema, last)):
        raise errors.compilation(f"Service names must be unquoted identifiers, got '{name}'.")
    return database, schema


def _props(props: dict[str, Any], version: Version, pool: CatalogueObject, *, is_job: bool) -> dict[str, Any]:
    return {
        **props,
        "compute_pool": pool.name,
        "is_job": is_job,
        "spec": version.spec.document,
        "digests": version.digests,
        "spec_digest": version.digest,
        "service_roles": list(version.spec.roles),
        "suspended": False,
        "resumed_on": None,
        "suspended_on": None,
    }


@command("ALTER", "SERVICE")
def alter_service(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    verb = cursor.accept_any("SUSPEND", "RESUME", "SET", "UNSET", "RESTORE")
    if verb == "RESTORE":
        raise errors.unsupported("RESTORE VOLUME")
    obj = ctx.get_if("SERVICE", name, *(() if verb in ("SET", "UNSET") else ("OPERATE",)))
    if obj is None:
        return ResultSet.status(_DONE)
    if obj.props.get("is_job"):
        raise errors.unsupported("ALTER of a job service")
    manager = runtime(ctx)
    service = manager.services[obj.id]
    if verb == "SUSPEND":
        cursor.end()
        manager.suspend_service(service)
    elif verb == "RESUME":
        cursor.end()
        _resume(ctx, service)
    elif verb == "SET":
        _set(ctx, obj, cursor)
    elif verb == "UNSET":
        _unset(ctx, obj, cursor)
    else:
        _upgrade(ctx, obj, service, cursor)
    return ResultSet.status(_DONE)


def _resume(ctx: CommandContext, service: Service) -> None:
    """An explicit RESUME works whatever AUTO_RESUME of the service says; the pool's own still counts."""
    pool = ctx.store.find("COMPUTE POOL", "", "", service.props["compute_pool"])
    if pool is not None and pool.props["suspended"]:
        if not pool.props["auto_resume"]:
            raise pool_suspended(pool.name)
        runtime(ctx).resume_pool(pool)
    runtime(ctx).resume_service(service)


def _set(ctx: CommandContext, obj: CatalogueObject, cursor: Cursor) -> None:
    given = cursor.properties(SERVICE_OPTIONS, "SERVICE")
    cursor.end()
    if not given:
        raise cursor.error()
    _keep_instances(obj, given)
    obj.props.update(options_to_props(ctx, given))
    if "COMMENT" in given:
        obj.comment = given["COMMENT"]
    _store(ctx, obj)


def _unset(ctx: CommandContext, obj: CatalogueObject, cursor: Cursor) -> None:
    while True:
        key = cursor.accept_any(*_UNSET, "TAG")
        if key is None:
            raise cursor.error()
        if key == "TAG":
            cursor.name()
        elif key == "COMMENT":
            obj.comment = None
        else:
            _keep_instances(obj, {key: None})
            stored = {"EXTERNAL_ACCESS_INTEGRATIONS": "eais", "QUERY_WAREHOUSE": "query_warehouse"}
            obj.props.pop(stored.get(key, f"set_{key.lower()}"), None)
        if not cursor.accept_op(","):
            break
    cursor.end()
    _store(ctx, obj)


def _keep_instances(obj: CatalogueObject, given: dict[str, Any]) -> None:
    if block_volumes(obj.props["spec"]) and any(key in given for key in ("MIN_INSTANCES", "MAX_INSTANCES")):
        raise errors.invalid_spec(f"the number of instances of service {obj.name} cannot be changed, as it uses block volumes")


def _store(ctx: CommandContext, obj: CatalogueObject) -> None:
    apply_instances(obj.props)
    with runtime(ctx).lock:
        ctx.store.update(obj)
        runtime(ctx).refresh_service(obj)


def _upgrade(ctx: CommandContext, obj: CatalogueObject, service: Service, cursor: Cursor) -> None:
    given = read(ctx, cursor, {}, "SERVICE")
    pool = ctx.store.find("COMPUTE POOL", "", "", obj.props["compute_pool"])
    assert pool is not None
    version = version_for(ctx, given.specification, pool, (obj.database, obj.schema))
    if block_volumes(version.spec.document) != block_volumes(obj.props["spec"]):
        raise errors.invalid_spec("block volumes of a service cannot be added, removed or given another size, speed or encryption")
    with runtime(ctx).lock:
        obj.props.update(
            spec=version.spec.document,
            digests=version.digests,
            spec_digest=version.digest,
            service_roles=list(version.spec.roles),
        )
        ctx.store.update(obj)
        if version.digest != service.version.digest:
            service.is_upgrading = not service.suspended
        service.version = version
        runtime(ctx).refresh_service(obj)


@command("DROP", "SERVICE")
def drop_service(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    force = cursor.accept("FORCE")
    cursor.end()
    obj = ctx.get_if("SERVICE", name)
    if obj is not None and block_volumes(obj.props["spec"]) and not force:
        message = f"Service {obj.name} uses block volumes, whose content would be lost. Use DROP SERVICE {obj.name} FORCE."
        raise errors.SqlError(395013, "2BP01", message)
    return ctx.drop("SERVICE", name)
