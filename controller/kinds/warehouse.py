"""Virtual warehouses. A suspended one that resumes by itself is as it should be: it costs nothing until it is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Row
from controller.api.objects import DesiredObject
from controller.api.warehouse import Warehouse
from controller.kinds.base import Health, View
from controller.kinds.properties import Property, TableKind, Verdict, as_bool, as_int, as_upper

_SAME_SIZE = {"2XLARGE": "XXLARGE", "X2LARGE": "XXLARGE", "3XLARGE": "XXXLARGE", "X3LARGE": "XXXLARGE"}


def size(value: Any) -> str | None:
    """A size in one spelling: SHOW says `X-Small` and `4X-Large`, statements take `XSMALL` and `X4LARGE`."""
    text = re.sub(r"[\s_-]", "", as_upper(value) or "")
    turned = re.sub(r"^([4-6])X", r"X\1", text)
    return _SAME_SIZE.get(turned, turned) or None


def _seconds(value: Any) -> int:
    return as_int(value) or 0  # NULL and 0 both mean never


class WarehouseKind(TableKind):
    name: ClassVar[str] = "Warehouse"
    manifest: ClassVar[type[Warehouse]] = Warehouse
    what: ClassVar[str] = "WAREHOUSE"
    plural: ClassVar[str] = "WAREHOUSES"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("size", "WAREHOUSE_SIZE", sql.word, "size", size, size),
        Property("auto_suspend", "AUTO_SUSPEND", sql.number, "auto_suspend", _seconds),
        Property("auto_resume", "AUTO_RESUME", sql.flag, "auto_resume", as_bool),
        Property("initially_suspended", "INITIALLY_SUSPENDED", sql.flag),
    )

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        state = as_upper(row.get("state")) or "UNKNOWN"
        if state in {"SUSPENDED", "SUSPENDING"}:
            if as_bool(row.get("auto_resume")) is not False:
                return Verdict(Health.HEALTHY, "suspended; resumes with the next query", "Suspended")
            return Verdict(
                Health.DEGRADED,
                f"suspended, and autoResume is off, so no query runs: ALTER WAREHOUSE {obj.key.name.sql} RESUME, or autoResume: true",
                "SuspendedForGood",
            )
        if state in {"RESIZING", "RESUMING"}:
            return Verdict(Health.PROGRESSING, state.lower(), state.capitalize())
        return Verdict(Health.HEALTHY, state.lower(), state.capitalize())

    def observed(self, row: Row) -> Mapping[str, Any]:
        return {column: row.get(column) for column in ("state", "size", "type", "running", "queued", "resumed_on")}
