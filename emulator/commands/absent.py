"""SHOW of the kinds that cannot be made in this account: whoever asks what is in a schema gets an empty list, and no error."""

from __future__ import annotations

from emulator.commands.context import CommandContext
from emulator.commands.registry import command
from emulator.commands.show import read_options
from emulator.results import ResultSet, text
from emulator.sql.parser import Cursor

_COLUMNS = [text(name) for name in ("created_on", "name", "database_name", "schema_name", "owner", "comment")]
_KINDS = (
    *("USER PROCEDURES", "SEQUENCES", "TASKS", "STREAMS", "PIPES", "ALERTS"),
    *("MODELS", "NOTEBOOKS", "STREAMLITS", "GIT REPOSITORIES", "SNAPSHOTS", "TAGS"),
)


def _nothing(ctx: CommandContext, cursor: Cursor) -> ResultSet:
    read_options(ctx, cursor, "STAGE")  # the filters of all kinds that live in a schema; 2043 for a schema that is not there
    return ResultSet(_COLUMNS, [])


for _kind in _KINDS:
    command("SHOW", *_kind.split())(_nothing)
