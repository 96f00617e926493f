"""Start-up after a kill: the catalogue and the stored tables agree again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.engine.loads import SCHEMA
from emulator.engine.sources import schema_name

if TYPE_CHECKING:
    from emulator.account import Account

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
    rows = account.engine.execute("SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal AND schema_name <> ?", [SCHEMA])
    stored = {(row[0], row[1]) for row in rows}
    known = {(schema_name(t.database, t.schema), t.name): t for t in store.list("TABLE")}
    for schema, name in stored - set(known):
        account.engine.execute(f"DROP TABLE IF EXISTS {_quoted(schema)}.{_quoted(name)}")
    for key in set(known) - stored:
        store.drop(known[key])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
