"""Functions around services: status, logs, events, waiting, cancelling, job history."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from emulator import errors
from emulator.commands.compute_pool import runtime
from emulator.commands.context import CommandContext
from emulator.commands.registry import system_function, table_function
from emulator.commands.service_show import container_rows, dns_domain, find_service
from emulator.results import ResultSet, text, timestamp
from emulator.runtime.logs import ContainerLog, LogLine
from emulator.runtime.service import TERMINAL, Service
from emulator.sql.parser import Cursor

_POLL_SECONDS = 0.05
_DEFAULT_LINES = 500
_KEYS = (("status", 7), ("message", 8), ("containerName", 6), ("instanceId", 4), ("serviceName", 2), ("image", 9),
         ("restartCount", 11), ("startTime", 12))  # fmt: skip


def _service(ctx: CommandContext, name: object, *privileges: str, anything: bool = False) -> Service:
    cursor = Cursor(str(name))
    found = find_service(ctx, cursor, *privileges, anything=anything)
    cursor.end()
    return found


@system_function("SYSTEM$GET_SERVICE_STATUS")
def service_status(ctx: CommandContext, args: list[Any]) -> str:
    if not args:
        raise errors.compilation("SYSTEM$GET_SERVICE_STATUS takes the name of a service.")
    service = _service(ctx, args[0], "MONITOR")
    if len(args) > 1:
        _wait(ctx, service, ("RUNNING", *TERMINAL), float(args[1]))
    with runtime(ctx).lock:
        rows = container_rows(service)
    found = [{key: row[index] if row[index] is not None else "" for key, index in _KEYS} for row in rows]
    for entry in found:
        entry["status"] = entry["status"] or service.status
        entry["serviceName"] = service.obj.name
    return json.dumps(found)


@system_function("SYSTEM$GET_SERVICE_LOGS")
def service_logs(ctx: CommandContext, args: list[Any]) -> str:
    if len(args) < 3:
        raise errors.compilation("SYSTEM$GET_SERVICE_LOGS takes service, instance id, container and optionally a number of lines.")
    service = _service(ctx, args[0], "MONITOR")
    instance, container = str(args[1]), str(args[2])
    names = [c.name for c in service.version.spec.containers]
    if container not in names:
        message = f"Container '{container}' of service {service.obj.name} does not exist; its containers are {', '.join(names)}."
        raise errors.SqlError(395014, "22023", message)
    folder = service.places.logs / instance / container
    if not instance.isdigit() or not folder.is_dir():
        return ""
    lines = int(args[3]) if len(args) > 3 and args[3] is not None else _DEFAULT_LINES
    previous = _truth(args[4]) if len(args) > 4 else False
    since = _moment(args[5]) if len(args) > 5 and args[5] else None
    stamps = _truth(args[6]) if len(args) > 6 else False
    return ContainerLog(folder).tail(max(1, lines), previous=previous, since=since, stamps=stamps)


def _truth(value: Any) -> bool:
    return value is True or str(value).lower() == "true"


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        parsed = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise errors.invalid_parameter(value, "TIMESTAMP") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


@system_function("SYSTEM$WAIT_FOR_SERVICES")
def wait_for_services(ctx: CommandContext, args: list[Any]) -> str:
    seconds, names = float(args[0]), args[1:]
    deadline = time.monotonic() + seconds
    for name in names:
        _wait(ctx, _service(ctx, name, "MONITOR", "OPERATE", "USAGE"), ("RUNNING", "DONE"), deadline - time.monotonic())
    return "OK"


@system_function("!SPCS_WAIT_FOR")
def wait_for(ctx: CommandContext, args: list[Any]) -> str:
    """`CALL svc!SPCS_WAIT_FOR('RUNNING', 180)`."""
    service = _service(ctx, args[0], anything=True)
    wanted = str(args[1]).upper()
    _wait(ctx, service, (wanted,), float(args[2]) if len(args) > 2 else 600.0)
    return f"Service {service.obj.name} is {wanted}."


def _wait(ctx: CommandContext, service: Service, wanted: tuple[str, ...], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while service.status not in wanted:
        late = time.monotonic() > deadline
        if late or service.terminal or service.dropped:
            why = "timed out" if late else "the status cannot be reached any more"
            raise errors.execution(
                f"Waiting for service {service.obj.name} to be {' or '.join(wanted)}: {why}. Current status: {service.status}. "
                f"{service.message}".strip()
            )
        ctx.check_cancelled()
        ctx.cancelled.wait(_POLL_SECONDS)


@system_function("!SPCS_CANCEL_JOB")
def cancel_job(ctx: CommandContext, args: list[Any]) -> str:
    service = _service(ctx, args[0], "OPERATE")
    if not service.is_job:
        raise errors.execution(f"{service.obj.name} is not a job service.")
    with runtime(ctx).lock:
        if service.terminal:
            return f"Job {service.obj.name} is already in the terminal state {service.status}."
        service.cancel()
    return f"Cancellation of job {service.obj.name} was requested."


@system_function("SYSTEM$CANCEL_JOB")
def system_cancel_job(ctx: CommandContext, args: list[Any]) -> str:
    return str(cancel_job(ctx, args))


@system_function("SYSTEM$GET_SERVICE_DNS_DOMAIN")
def service_dns_domain(ctx: CommandContext, args: list[Any]) -> str:
    database, schema, _ = ctx.resolve("SERVICE", Cursor(f"{args[0]}.X").name())
    return dns_domain(ctx, database, schema)


def _options(args: list[Any]) -> dict[str, Any]:
    """Named arguments of a table function; positional ones in the documented order."""
    found: dict[str, Any] = {}
    for position, value in zip(("START_TIME", "END_TIME"), [a for a in args if not isinstance(a, tuple)], strict=False):
        found[position] = value
    found.update(a for a in args if isinstance(a, tuple))
    return found


def _window(args: list[Any]) -> tuple[datetime, datetime]:
    options = _options(args)
    end = _moment(options["END_TIME"]) if options.get("END_TIME") else datetime.now(UTC)
    start = _moment(options["START_TIME"]) if options.get("START_TIME") else end - timedelta(days=1)
    return start, end


@table_function("!SPCS_GET_LOGS")
def get_logs(ctx: CommandContext, args: list[Any]) -> ResultSet:
    service = _service(ctx, args[0], "MONITOR")
    start, end = _window(args[1:])
    found: list[tuple[LogLine, str, str]] = []
    for folder in sorted(path for path in service.places.logs.glob("*/*") if path.is_dir()):
        for line in ContainerLog(folder).lines():
            if start <= line.time <= end:
                found.append((line, folder.parent.name, folder.name))
    found.sort(key=lambda item: item[0].time)
    columns = [timestamp("TIMESTAMP"), text("INSTANCE_ID"), text("CONTAINER_NAME"), text("LOG"), text("RECORD_ATTRIBUTES")]
    rows: list[Sequence[Any]] = [[line.time, i, c, line.text, json.dumps({"log.iostream": line.stream})] for line, i, c in found]
    return ResultSet(columns, rows)


@table_function("!SPCS_GET_EVENTS")
def get_events(ctx: CommandContext, args: list[Any]) -> ResultSet:
    service = _service(ctx, args[0], "MONITOR")
    start, end = _window(args[1:])
    columns = [
        timestamp("TIMESTAMP"), text("SEVERITY"), text("EVENT_NAME"), text("EVENT_DETAILS"), text("INSTANCE_ID"),
        text("CONTAINER_NAME"), text("RECORD"), text("RECORD_ATTRIBUTES"),
    ]  # fmt: skip
    rows: list[Sequence[Any]] = []
    for event in service.events:
        moment = datetime.fromisoformat(event.time)
        if start <= moment <= end:
            details = json.dumps({"status": event.status, "message": event.message})
            record = json.dumps({"name": event.name, "severity_text": event.severity})
            rows.append([moment, event.severity, event.name, details, event.instance, event.container, record, "{}"])
    return ResultSet(columns, rows)


@table_function("GET_JOB_HISTORY")
def job_history(ctx: CommandContext, args: list[Any]) -> ResultSet:
    """Jobs of the current roles that are still listed, newest first."""
    columns = [
        text("QUERY_ID"), text("ID"), text("NAME"), text("DATABASE_NAME"), text("SCHEMA_NAME"), timestamp("CREATED_TIME"),
        timestamp("COMPLETED_TIME"), timestamp("DELETED_TIME"), text("STATUS"), text("MESSAGE"), text("INSTANCE_STATUSES"),
        text("COMPUTE_POOL_NAME"), text("OWNER"), text("OWNER_ROLE_TYPE"), text("PARAMETERS"), text("MANAGING_OBJECT"),
    ]  # fmt: skip
    named: dict[str, Any] = dict(a for a in args if isinstance(a, tuple))
    limit = int(named.get("RESULT_LIMIT", 100))
    with runtime(ctx).lock:
        jobs = [s for s in runtime(ctx).services.values() if s.is_job and ctx.access.visible(ctx.roles, s.obj)]
        jobs.sort(key=lambda job: job.obj.created_on, reverse=True)
        rows: list[Sequence[Any]] = [_history_row(job) for job in jobs[:limit]]
    return ResultSet(columns, rows)


def _history_row(job: Service) -> list[Any]:
    obj, props = job.obj, job.props
    states = {str(n): i.status for n, i in sorted({**job.finished, **job.instances}.items())}
    parameters = json.dumps({"ASYNC": bool(props.get("is_async_job")), "REPLICAS": props["replicas"]})
    return [
        props.get("query_id"), str(obj.id), obj.name, obj.database, obj.schema, obj.created_on, props.get("job_ended"), None,
        job.status, job.message, json.dumps(states), props["compute_pool"], obj.owner, "ROLE", parameters, None,
    ]  # fmt: skip
