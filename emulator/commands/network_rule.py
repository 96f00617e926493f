"""NETWORK RULE."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject
from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import show
from emulator.results import ResultSet, number, text, timestamp
from emulator.sql.parser import Cursor

_TYPES = ("IPV4", "AWSVPCEID", "AZURELINKID", "GCPPSCID", "HOST_PORT", "PRIVATE_HOST_PORT")
_BY_HOST = ("HOST_PORT", "PRIVATE_HOST_PORT")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?(:(?P<port>\d{1,5}))?")
_MODES = ("INGRESS", "INTERNAL_STAGE", "EGRESS", "POSTGRES_INGRESS", "POSTGRES_EGRESS")
_DONE = "Statement executed successfully."


def _check(kind: str, values: list[Any]) -> None:
    """Raises 1422 for a value that is none of the type: a host with a wildcard, a port out of range, a wrong address."""
    for value in map(str, values):
        host = _HOST.fullmatch(value)
        if kind in _BY_HOST and (host is None or not 1 <= int(host["port"] or 443) <= 65535):
            raise errors.invalid_property(value, "VALUE_LIST")
        if kind == "IPV4":
            try:
                ip_network(value, strict=False)
            except ValueError:
                raise errors.invalid_property(value, "VALUE_LIST") from None


@command("CREATE", "NETWORK", "RULE")
def create(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    given = cursor.properties({"TYPE": "word", "MODE": "word", "VALUE_LIST": "list", "COMMENT": "string"}, "NETWORK RULE")
    cursor.end()
    if "TYPE" not in given:
        raise errors.missing_option("TYPE")
    if given["TYPE"] not in _TYPES:
        raise errors.invalid_property(given["TYPE"], "TYPE")
    if given.get("MODE", "INGRESS") not in _MODES:
        raise errors.invalid_property(given["MODE"], "MODE")
    mode = given.get("MODE", "INGRESS")
    if (given["TYPE"] in _BY_HOST and mode not in ("EGRESS", "POSTGRES_EGRESS")) or (given["TYPE"] not in _BY_HOST and mode == "EGRESS"):
        raise errors.invalid_property(mode, "MODE")
    _check(given["TYPE"], given.get("VALUE_LIST", []))
    props = {"type": given["TYPE"], "mode": given.get("MODE", "INGRESS"), "values": [str(v) for v in given.get("VALUE_LIST", [])]}
    _, status = ctx.create("NETWORK RULE", name, comment=given.get("COMMENT"), props=props)
    return status


@command("ALTER", "NETWORK", "RULE")
def alter(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get_if("NETWORK RULE", cursor.name())
    if obj is None:
        return ResultSet.status(_DONE)
    if cursor.accept("SET"):
        given = cursor.properties({"VALUE_LIST": "list", "COMMENT": "string"}, "NETWORK RULE")
        if not given:
            raise cursor.error()
        if "VALUE_LIST" in given:
            _check(obj.props["type"], given["VALUE_LIST"])
            obj.props["values"] = [str(v) for v in given["VALUE_LIST"]]
        if "COMMENT" in given:
            obj.comment = given["COMMENT"]
    else:
        cursor.expect("UNSET")
        while not cursor.at_end():
            key = cursor.identifier()
            if key == "COMMENT":
                obj.comment = None
            elif key == "VALUE_LIST":
                obj.props["values"] = []
            else:
                raise errors.invalid_option(key, "NETWORK RULE")
            cursor.accept_op(",")
    cursor.end()
    ctx.store.update(obj)
    return ResultSet.status(_DONE)


@command("DROP", "NETWORK", "RULE")
def drop(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    name = cursor.name()
    cursor.end()
    return ctx.drop("NETWORK RULE", name)


_HEAD = [timestamp("created_on"), *map(text, ("name", "database_name", "schema_name", "owner", "comment", "type", "mode"))]


def _head(o: CatalogueObject) -> tuple[Any, ...]:
    return (o.created_on, o.name, o.database, o.schema, o.owner, o.comment or "", o.props["type"], o.props["mode"])


@command("SHOW", "NETWORK", "RULES")
def show_rules(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    columns = [*_HEAD, number("entries_in_valuelist"), text("owner_role_type")]
    return show(ctx, cursor, "NETWORK RULE", columns, lambda o: (*_head(o), len(o.props["values"]), "ROLE"))


@command("DESCRIBE", "NETWORK", "RULE")
def describe(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    obj = ctx.get("NETWORK RULE", cursor.name(), anything=True)
    cursor.end()
    return ResultSet([*_HEAD, text("value_list")], [(*_head(obj), ",".join(obj.props["values"]))])
