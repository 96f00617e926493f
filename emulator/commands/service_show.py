"""SHOW and DESCRIBE of services, their instances, containers, endpoints and roles. Columns by the reference, 2026."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.compute_pool import runtime
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import ShowOptions, read_options, select
from emulator.results import Column, ResultSet, number, text, timestamp
from emulator.runtime.container import Container
from emulator.runtime.families import FAMILIES
from emulator.runtime.ingress import PROVISIONING, ingress_host
from emulator.runtime.instance import Instance
from emulator.runtime.service import Service
from emulator.runtime.specdoc import describe_spec
from emulator.sql.parser import Cursor

_COLUMNS = [
    text("name"), text("status"), text("database_name"), text("schema_name"), text("owner"), text("compute_pool"),
    text("dns_name"), number("current_instances"), number("target_instances"), number("min_ready_instances"),
    number("min_instances"), number("max_instances"), text("auto_resume"), text("external_access_integrations"),
    timestamp("created_on"), timestamp("updated_on"), timestamp("resumed_on"), timestamp("suspended_on"),
    number("auto_suspend_secs"), text("comment"), text("owner_role_type"), text("query_warehouse"), text("is_job"),
    text("is_async_job"), text("spec_digest"), text("is_upgrading"), text("managing_object_domain"), text("managing_object_name"),
]  # fmt: skip
_INSTANCE_COLUMNS = [
    text("database_name"), text("schema_name"), text("service_name"), text("service_status"), text("instance_id"),
    text("status"), text("spec_digest"), text("creation_time"), text("start_time"), text("ip_address"),
]  # fmt: skip
_CONTAINER_COLUMNS = [
    text("database_name"), text("schema_name"), text("service_name"), text("service_status"), text("instance_id"),
    text("instance_status"), text("container_name"), text("status"), text("message"), text("image_name"), text("image_digest"),
    number("restart_count"), text("start_time"), number("last_exit_code"), text("last_restart_time"),
]  # fmt: skip


def dns_domain(ctx: CommandContext, database: str, schema: str) -> str:
    """`<id>.svc.spcs.internal`; the id belongs to the schema object and dies with it."""
    obj = ctx.store.find("SCHEMA", database, "", schema)
    if obj is None:
        raise errors.does_not_exist("Schema", f"{database}.{schema}")
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    value, found = (obj.id * 2654435761 + int(obj.created_on)) % 32**6, ""
    for _ in range(6):
        value, digit = divmod(value, 32)
        found += alphabet[digit]
    return f"{found}.svc.spcs.internal"


def find_service(ctx: CommandContext, cursor: Cursor, *privileges: str, anything: bool = False) -> Service:
    """The runtime side of the named service, checked."""
    obj = ctx.get("SERVICE", cursor.name(), *privileges, anything=anything)
    service = runtime(ctx).services.get(obj.id)
    if service is None:
        raise errors.does_not_exist("Service", obj.fqn)
    return service


def _bool(value: Any) -> str:
    return str(bool(value)).lower()


def _row(ctx: CommandContext, obj: CatalogueObject) -> list[Any]:
    service, props = runtime(ctx).shown_service(obj), obj.props
    assert service is not None
    eais = props.get("eais")
    return [
        obj.name,
        service.status,
        obj.database,
        obj.schema,
        obj.owner,
        props["compute_pool"],
        f"{obj.name.lower().replace('_', '-')}.{dns_domain(ctx, obj.database, obj.schema)}",
        service.current_instances,
        service.target_instances,
        props["min_ready_instances"],
        props["min_instances"],
        props["max_instances"],
        _bool(props["auto_resume"]),
        f"[{','.join(eais)}]" if eais else None,
        obj.created_on,
        obj.updated_on,
        props.get("resumed_on"),
        props.get("suspended_on"),
        props["auto_suspend_secs"],
        obj.comment,
        "ROLE",
        props.get("query_warehouse"),
        _bool(props.get("is_job")),
        _bool(props.get("is_async_job")),
        props["spec_digest"],
        _bool(service.is_upgrading),
        None,
        None,
    ]


@command("SHOW", "SERVICES")
def show_services(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    if cursor.accept("EXCLUDE", "JOBS"):
        return _list(ctx, cursor, jobs=False, hidden=("is_job", "is_async_job"))
    return _list(ctx, cursor, jobs=None, hidden=())


@command("SHOW", "JOB", "SERVICES")
def show_jobs(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    return _list(ctx, cursor, jobs=True, hidden=("is_job",))


def _list(ctx: CommandContext, cursor: Cursor, *, jobs: bool | None, hidden: tuple[str, ...]) -> ResultSet:
    options, pool = _options(ctx, cursor)
    with runtime(ctx).lock:
        objects = [
            obj
            for obj in select(ctx, "SERVICE", options)
            if (jobs is None or bool(obj.props.get("is_job")) == jobs)
            and (pool is None or obj.props["compute_pool"] == pool)
            and runtime(ctx).shown_service(obj) is not None
        ]
        rows = [_row(ctx, obj) for obj in objects]
    kept = [index for index, column in enumerate(_COLUMNS) if column.name not in hidden]
    return ResultSet([_COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _options(ctx: CommandContext, cursor: Cursor) -> tuple[ShowOptions, str | None]:
    """The usual filters, with `IN COMPUTE POOL p` and `OF TYPE …` as well."""
    start = cursor.index
    like = cursor.string() if cursor.accept("LIKE") else None
    if not cursor.accept("IN", "COMPUTE", "POOL"):
        cursor.index = start
        return read_options(ctx, cursor, "SERVICE"), None
    pool = ctx.get("COMPUTE POOL", cursor.name(), anything=True)
    options = ShowOptions(like=like)
    if cursor.accept("STARTS", "WITH"):
        options.starts_with = cursor.string()
    if cursor.accept("LIMIT"):
        options.limit = cursor.integer()
        if cursor.accept("FROM"):
            options.after = cursor.string()
    cursor.end()
    return options, pool.name


@command("DESCRIBE", "SERVICE")
def describe_service(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    service = find_service(ctx, cursor, anything=True)
    cursor.end()
    obj = ctx.store.by_id(service.obj.id)
    assert obj is not None
    with runtime(ctx).lock:
        row = _row(ctx, obj)
        family = FAMILIES[service.pool.family.name]
        host = f"{ctx.account.host}:{ctx.account.port}" if ctx.account.options.image_names == "host" else ""
        shown = describe_spec(service.version.spec, service.version.digests, family, host)
    spec = shown if ctx.access.has(ctx.roles, obj) else None
    return ResultSet([*_COLUMNS[:6], text("spec"), *_COLUMNS[6:]], [[*row[:6], spec, *row[6:]]])


def iso(seconds: float | None) -> str | None:
    """As instances and containers give times: `2025-04-25T06:01:32Z`."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@command("SHOW", "SERVICE", "INSTANCES")
def show_instances(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    cursor.expect("IN", "SERVICE")
    service = find_service(ctx, cursor, "MONITOR")
    cursor.end()
    with runtime(ctx).lock:
        head = [service.obj.database, service.obj.schema, service.obj.name, service.status]
        rows: list[Sequence[Any]] = [
            [
                *head,
                str(instance.number),
                instance.status,
                instance.version.digest,
                iso(instance.created),
                iso(instance.started),
                instance.address if instance.started else None,
            ]
            for instance in _instances(service)
        ]
        if not rows:
            rows = [[*head[:4], *([None] * 6)]]
    return ResultSet(_INSTANCE_COLUMNS, rows)


def _instances(service: Service) -> list[Instance]:
    return [i for _, i in sorted({**service.finished, **service.instances}.items())]


@command("SHOW", "SERVICE", "CONTAINERS")
def show_containers(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    cursor.expect("IN", "SERVICE")
    service = find_service(ctx, cursor, "MONITOR")
    cursor.end()
    with runtime(ctx).lock:
        return ResultSet(_CONTAINER_COLUMNS, container_rows(service))


def container_rows(service: Service) -> list[Sequence[Any]]:
    """Rows of SHOW SERVICE CONTAINERS; one row of NULLs when there is no instance."""
    head = [service.obj.database, service.obj.schema, service.obj.name, service.status]
    rows: list[Sequence[Any]] = []
    for instance in _instances(service):
        if not instance.containers:
            for spec in instance.version.spec.containers:
                digest = instance.version.digests[spec.name]
                rows.append(
                    [
                        *(*head, str(instance.number), instance.status, spec.name, "PENDING", instance.message),
                        *(_image(service, spec.name), digest, 0, None, None, None),
                    ]
                )
        rows += [[*head, str(instance.number), instance.status, *_container(service, c)] for c in instance.containers]
    if not rows and service.props.get("job_containers"):
        rows = [
            [
                *(*head, c["instance"], c["instance_status"], c["container"], c["status"], c["message"]),
                *(_image(service, c["container"]), c["digest"], 0, iso(c["start_time"]), c["exit_code"], None),
            ]
            for c in service.props["job_containers"]
        ]
    return rows or [[*head, *([None] * 11)]]


def _container(service: Service, container: Container) -> list[Any]:
    return [
        container.spec.name,
        container.status,
        container.message,
        _image(service, container.spec.name),
        container.digest,
        container.restart_count,
        iso(container.start_time),
        container.last_exit_code,
        iso(container.last_restart_time),
    ]


def _image(service: Service, container: str) -> str:
    raw = service.version.spec.document["spec"]["containers"]
    return next((str(c["image"]) for c in raw if c["name"] == container), "")


@command("SHOW", "ENDPOINTS")
def show_endpoints(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    cursor.expect("IN", "SERVICE")
    service = find_service(ctx, cursor, "USAGE", "MONITOR", "OPERATE", anything=True)
    cursor.end()
    columns: list[Column] = [
        text("name"), number("port"), text("port_range"), text("protocol"), text("is_public"), text("ingress_url"),
    ]  # fmt: skip
    rows: list[Sequence[Any]] = []
    for endpoint in service.version.spec.endpoints:
        url = None
        if endpoint.public:
            host = ingress_host(service.obj, endpoint.name, ctx.account.port)
            url = host if service.provisioned else PROVISIONING
        public = _bool(endpoint.public)
        rows.append([endpoint.name, endpoint.port, endpoint.port_range, endpoint.protocol, public, url])
    return ResultSet(columns, rows)


@command("SHOW", "ROLES", "IN", "SERVICE")
def show_service_roles(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    service = find_service(ctx, cursor, "USAGE", "MONITOR", "OPERATE", anything=True)
    cursor.end()
    names = sorted({"ALL_ENDPOINTS_USAGE", *service.version.spec.roles})
    rows: list[Sequence[Any]] = [[service.obj.created_on, name, None] for name in names]
    return ResultSet([timestamp("created_on"), text("name"), text("comment")], rows)
