"""What tools ask about the account itself before anything else: its edition, its version, the bundles of changed behaviour."""

from __future__ import annotations

import json
from typing import Any

from emulator.commands.context import CommandContext
from emulator.commands.registry import system_function

_VERSION = "9.36.0"


@system_function("SYSTEM$BOOTSTRAP_DATA_REQUEST")
def _bootstrap(ctx: CommandContext, arguments: list[Any]) -> str:
    """Undocumented; what Snowflake's web pages start with. Of `ACCOUNT` the two parts that tools are known to read."""
    return json.dumps({"serverVersion": _VERSION, "accountInfo": {"serviceLevelName": "ENTERPRISE", "accountName": ctx.account.name}})


@system_function("SYSTEM$SHOW_ACTIVE_BEHAVIOR_CHANGE_BUNDLES")
def _bundles(ctx: CommandContext, arguments: list[Any]) -> str:
    """Docs: sql-reference/functions/system_show_active_behavior_change_bundles. None is active here."""
    return "[]"
