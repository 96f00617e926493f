"""GATEWAY statements. The comment is set by COMMENT ON, as CREATE and ALTER GATEWAY know no such clause.

Source: docs.snowflake.com, sql-reference/sql/ create-gateway, alter-gateway, drop-gateway, show-gateways, desc-gateway.
"""

from __future__ import annotations

from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.compute_pool import runtime
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import show
from emulator.results import ResultSet, text, timestamp
from emulator.runtime.gateway import HOST_LABEL, all_targets, parse_gateway
from emulator.runtime.ingress import ingress_host
from emulator.runtime.schema import SpecError
from emulator.runtime.specdoc import emit
from emulator.sql.names import QualifiedName
from emulator.sql.parser import Cursor

_COLUMNS = [
    timestamp("created_on"), text("name"), text("database_name"), text("schema_name"), text("owner"), text("owner_role_type"),
    text("gateway_type"), text("comment"),
]  # fmt: skip
_DESCRIBED = [
    text("name"), text("ingress_url"), text("privatelink_ingress_url"), text("database_name"), text("schema_name"), text("owner"),
    text("owner_role_type"), text("spec"), timestamp("created_on"), timestamp("updated_on"), text("comment"),
]  # fmt: skip


@command("CREATE", "GATEWAY")
def create_gateway(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    props = {"spec": _specification(ctx, cursor)}
    _, status = ctx.create("GATEWAY", name, props=props)
    return status


@command("ALTER", "GATEWAY")
def alter_gateway(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get_if("GATEWAY", cursor.name(), "MODIFY")
    document = _specification(ctx, cursor)
    if obj is not None:
        obj.props["spec"] = document
        ctx.store.update(obj)
    return ResultSet.status("Statement executed successfully.")


def _specification(ctx: CommandContext, cursor: Cursor) -> dict[str, Any]:
    cursor.expect("FROM", "SPECIFICATION")
    written = cursor.string()
    cursor.end()
    if ctx.session.role != "ACCOUNTADMIN" and "BIND SERVICE ENDPOINT" not in ctx.access.global_privileges(ctx.roles):
        message = (
            f"{errors.ACCESS}Insufficient privileges to operate on account '{ctx.account.name}'. Your primary role {ctx.session.role} must "
            "have BIND SERVICE ENDPOINT granted on ACCOUNT."
        )
        raise errors.SqlError(3001, "42501", message)
    try:
        document = parse_gateway(written)
        for target in all_targets(document):
            target["value"] = _target(ctx, str(target["value"]))
    except SpecError as error:
        raise errors.invalid_spec(str(error)) from None
    return document


def _target(ctx: CommandContext, value: str) -> str:
    """`DB.SCHEMA.SERVICE!endpoint` of an endpoint that is there and may be called. Raises 398529 without the service."""
    written, mark, endpoint = value.partition("!")
    if not mark:
        raise SpecError(f"invalid 'value': '{value}'. Expected db.schema.service!endpoint")
    database, schema, name = ctx.resolve("SERVICE", Cursor(written).name())
    service = ctx.find("SERVICE", QualifiedName((database, schema, name)))
    fqn = f"{database}.{schema}.{name}"
    if service is None or service.props.get("is_job") or not ctx.access.visible(ctx.roles, service):
        raise errors.SqlError(398529, "02000", f"Service specified in gateway does not exist or not authorized: {fqn}")
    known = {e["name"].lower(): e for e in service.props["spec"]["spec"].get("endpoints", [])}
    found = known.get(endpoint.lower())
    if found is None or not runtime(ctx).gate.may_call(ctx.roles, service, found["name"]):
        raise errors.does_not_exist("Endpoint", f"{fqn}!{endpoint}")
    if found.get("protocol", "HTTP") == "TCP":
        raise SpecError(f"endpoint '{value}' has protocol TCP; a gateway needs HTTP")
    return f"{fqn}!{found['name']}"


@command("DROP", "GATEWAY")
def drop_gateway(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    return ctx.drop("GATEWAY", name)


@command("SHOW", "GATEWAYS")
def show_gateways(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    def row(obj: CatalogueObject) -> list[Any]:
        kind = obj.props["spec"]["spec"]["type"]
        return [obj.created_on, obj.name, obj.database, obj.schema, obj.owner, "ROLE", kind, obj.comment]

    return show(ctx, cursor, "GATEWAY", _COLUMNS, row)


@command("DESCRIBE", "GATEWAY")
def describe_gateway(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get("GATEWAY", cursor.name(), "USAGE", "MODIFY")
    cursor.end()
    row = [
        obj.name, ingress_host(obj, HOST_LABEL, ctx.account.port), None, obj.database, obj.schema, obj.owner, "ROLE",
        emit(obj.props["spec"]), obj.created_on, obj.updated_on, obj.comment,
    ]  # fmt: skip
    return ResultSet(_DESCRIBED, [row])
