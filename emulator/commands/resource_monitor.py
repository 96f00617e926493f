"""RESOURCE MONITOR: kept by name so that warehouses can name one; nothing is counted here."""

from __future__ import annotations

from emulator import errors
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import show
from emulator.results import ResultSet, text, timestamp
from emulator.sql.parser import Cursor


@command("CREATE", "RESOURCE", "MONITOR")
def create(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties({"CREDIT_QUOTA": "int", "FREQUENCY": "word", "START_TIMESTAMP": "any"}, "RESOURCE MONITOR")
    if cursor.accept("TRIGGERS"):
        cursor.rest()
    cursor.end()
    if "ACCOUNTADMIN" not in ctx.access.inherited(ctx.session.role):
        raise errors.insufficient_privileges("account", "LOCAL")
    _, status = ctx.create("RESOURCE MONITOR", name, props={"credit_quota": given.get("CREDIT_QUOTA")})
    return status


@command("DROP", "RESOURCE", "MONITOR")
def drop(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    return ctx.drop("RESOURCE MONITOR", name)


@command("SHOW", "RESOURCE", "MONITORS")
def show_monitors(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    columns = [text("name"), text("credit_quota"), text("used_credits"), timestamp("created_on"), text("owner"), text("comment")]

    def quota(value: object) -> str | None:
        return None if value is None else f"{value}.00"

    return show(
        ctx, cursor, "RESOURCE MONITOR", columns, lambda o: (o.name, quota(o.props["credit_quota"]), "0.00", o.created_on, o.owner, "")
    )
