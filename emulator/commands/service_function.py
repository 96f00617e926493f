"""Service functions: CREATE FUNCTION … SERVICE = … AS '/path', and what can be altered of them.

Read from the general CREATE FUNCTION once the arguments and return type are known.
"""

from __future__ import annotations

from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.compute_pool import runtime
from emulator.commands.context import CommandContext
from emulator.sql.names import QualifiedName
from emulator.sql.parser import Cursor

OPTIONS = {
    "SERVICE": "name",
    "ENDPOINT": "any",
    "COMMENT": "string",
    "CONTEXT_HEADERS": "list",
    "MAX_BATCH_ROWS": "int",
    "MAX_BATCH_RETRIES": "int",
    "ON_BATCH_FAILURE": "word",
    "BATCH_TIMEOUT_SECS": "int",
}
_MAX_TIMEOUT = 604_800


def read_service_options(ctx: CommandContext, cursor: Cursor) -> dict[str, Any]:
    """The clauses behind RETURNS as props of the function; the cursor then stands behind the path. Raises SqlError."""
    given = cursor.properties(OPTIONS, "FUNCTION")
    cursor.expect("AS")
    path = cursor.string()
    missing = [key for key in ("SERVICE", "ENDPOINT") if key not in given]
    if missing:
        raise errors.missing_option(*missing)
    if not path.startswith("/"):
        raise errors.invalid_property(path, "AS")
    return {"language": "SERVICE", "path": path, **service_props(ctx, given)}


def service_props(ctx: CommandContext, given: dict[str, Any], current: dict[str, Any] | None = None) -> dict[str, Any]:
    """Options as stored, with the service and endpoint checked."""
    props: dict[str, Any] = {key.lower(): value for key, value in given.items() if key not in ("SERVICE", "ENDPOINT", "COMMENT")}
    if "SERVICE" in given or "ENDPOINT" in given:
        old = (current or {}).get("service")
        name = given.get("SERVICE") or QualifiedName(tuple(old or ()))
        service = ctx.get("SERVICE", name, anything=True)
        endpoint = str(given.get("ENDPOINT") or (current or {}).get("endpoint")).lower()
        props["service"] = [service.database, service.schema, service.name]
        props["endpoint"] = endpoint
        _check_endpoint(ctx, service, endpoint)
    failure = props.get("on_batch_failure")
    if failure not in (None, "ABORT", "RETURN_NULL"):
        raise errors.invalid_property(failure, "ON_BATCH_FAILURE")
    limits = {"max_batch_rows": (1, 1 << 31), "max_batch_retries": (0, 1000), "batch_timeout_secs": (1, _MAX_TIMEOUT)}
    for key, (low, high) in limits.items():
        value = props.get(key)
        if value is not None and not low <= value <= high:
            raise errors.invalid_property(value, key.upper())
    return props


def _check_endpoint(ctx: CommandContext, service: CatalogueObject, name: str) -> None:
    if service.props.get("is_job"):
        raise errors.compilation(f"Service functions cannot target the job service {service.name}.")
    endpoints = service.props["spec"]["spec"].get("endpoints", [])
    endpoint = next((e for e in endpoints if e["name"].lower() == name), None)
    if endpoint is None:
        raise errors.does_not_exist("Endpoint", f"{service.fqn}!{name}")
    if endpoint.get("protocol", "HTTP") == "TCP":
        raise errors.compilation(f"Endpoint {name} has protocol TCP; a service function needs HTTP.")
    if not runtime(ctx).gate.may_call(ctx.roles, service, endpoint["name"]):
        raise errors.insufficient_privileges("Service", service.name, ctx.session.role, "SERVICE ROLE")
