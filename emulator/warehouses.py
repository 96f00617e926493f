"""Warehouses: there is nothing to start, but their states, and what is refused in which state, are kept as the real ones do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from emulator import errors
from emulator.catalogue.store import CatalogueObject, Store

if TYPE_CHECKING:
    from emulator.commands.context import CommandContext


def state(warehouse: CatalogueObject, now: float | None = None) -> str:
    """STARTED or SUSPENDED; an idle time over AUTO_SUSPEND suspends it without anybody doing so."""
    props = warehouse.props
    if props.get("suspended"):
        return "SUSPENDED"
    after = props.get("auto_suspend")
    last = float(props.get("last_used") or warehouse.created_on)
    if after and (now or time.time()) - last > after:
        return "SUSPENDED"
    return "STARTED"


def resume(store: Store, warehouse: CatalogueObject) -> None:
    """Raises 90063 when it is not suspended."""
    if state(warehouse) != "SUSPENDED":
        raise errors.warehouse_not_suspended(warehouse.name)
    _start(store, warehouse)


def _start(store: Store, warehouse: CatalogueObject) -> None:
    now = time.time()
    store.set_props(warehouse, suspended=False, last_used=now, resumed_on=now)


def suspend(store: Store, warehouse: CatalogueObject) -> None:
    """Raises 90064 when it is suspended already."""
    if state(warehouse) == "SUSPENDED":
        raise errors.warehouse_already_suspended(warehouse.name)
    store.set_props(warehouse, suspended=True)


def use(ctx: CommandContext) -> None:
    """The statement needs the session's warehouse: resumes it if it may. Raises 606 without a usable one."""
    name = ctx.session.warehouse
    warehouse = ctx.store.find("WAREHOUSE", "", "", name) if name else None
    if warehouse is None or not ctx.access.has(ctx.roles, warehouse, "USAGE"):
        raise errors.no_warehouse()
    if state(warehouse) == "SUSPENDED":
        if not warehouse.props.get("auto_resume", True):
            raise errors.warehouse_suspended(warehouse.name)
        _start(ctx.store, warehouse)
    elif time.time() - float(warehouse.props.get("last_used") or 0) > 1:
        ctx.store.set_props(warehouse, last_used=time.time())
    ctx.used_warehouse = True


def defaults() -> dict[str, Any]:
    """The properties of a warehouse that CREATE says nothing about."""
    return {"type": "STANDARD", "size": "X-Small", "auto_suspend": 600, "auto_resume": True, "suspended": False}
