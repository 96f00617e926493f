"""Start-up after a kill: the catalogue and the stored tables agree again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.engine.sources import TABLES

if TYPE_CHECKING:
    from emulator.account import Account
    from emulator.catalogue.store import CatalogueObject

_SESSION_KINDS = ("TABLE", "STAGE", "FILE FORMAT", "VIEW")


def recover(account: Account) -> None:
    """A stored table without an entry goes, and an entry without its table too; temporary objects of ended sessions go."""
    store = account.store
    live = {session.id for session in account.tokens.sessions()}
    for kind in _SESSION_KINDS:
        for obj in store.list(kind):
            owner = obj.props.get("temporary_of")
            if owner is not None and owner not in live:
                store.drop(obj)
    rows = account.engine.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = ?", [TABLES])
    stored = {row[0] for row in rows}
    known = {table.props.get("stored") for table in store.list("TABLE")}
    for name in stored - known:
        account.engine.execute(f'DROP TABLE IF EXISTS {TABLES}."{name}"')
    for table in store.list("TABLE"):
        if table.props.get("stored") not in stored:
            store.drop(table)
    for table in store.list("TABLE"):
        if table.props.get("pending"):
            _finish_columns(account, table)
    objects = {str(obj.id) for kind in ("STAGE", "TABLE", "USER") for obj in store.list(kind)}
    account.stages.keep_only(objects)


def _finish_columns(account: Account, table: CatalogueObject) -> None:
    """A kill came while columns were altered: the catalogue takes what the stored table has."""
    sql = "SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE schema_name = ? AND table_name = ? ORDER BY column_index"
    found = [tuple(row) for row in account.engine.execute(sql, [TABLES, table.props["stored"]])]
    pending = table.props.pop("pending")
    if found == [(col["name"], col["stored"].replace(", ", ","), col["nullable"]) for col in pending]:
        table.props["columns"] = pending
    account.store.update(table)
