"""From `@name`, `@~` and `@%table` to a stage: a user's and a table's own stage exist without being made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator import errors
from emulator.catalogue.store import CatalogueObject

if TYPE_CHECKING:
    from emulator.commands.context import CommandContext
    from emulator.sql.parser import StageRef


def find_stage(ctx: CommandContext, reference: StageRef, *privileges: str) -> CatalogueObject:
    """The stage, checked for one of the privileges. Raises 2003 and 3001. A table's stage is for the table's owner."""
    if reference.kind == "user":
        user = ctx.store.find("USER", "", "", ctx.session.user)
        if user is None:
            raise errors.unsupported("the user stage of a service")
        return _own(user, "~")
    if reference.kind == "table":
        table = ctx.get("TABLE", reference.name)
        return _own(table, f"%{table.name}")
    return ctx.get("STAGE", reference.name, *privileges)


def file_label(stage: CatalogueObject, path: str) -> str:
    """The file's name as LIST and METADATA$FILENAME show it: with the stage's name in front, but for users' and tables' stages."""
    return path if stage.name.startswith(("~", "%")) else f"{stage.name.lower()}/{path}"


def _own(owner: CatalogueObject, name: str) -> CatalogueObject:
    """The stage of a user or table: its files lie under the owner's number, and go with the owner."""
    return CatalogueObject(owner.id, "STAGE", owner.database, owner.schema, name, owner.owner, "", owner.created_on, owner.updated_on)
