"""The catalogue as it was some seconds ago: a SHOW that answers late sees neither the newest objects nor that others are gone.

Triggers of the running connection write the earlier row of every change into a temporary table. To look back, the catalogue is copied
into memory and the changes since then are undone there, so that every read of the store works on it unchanged.
"""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

from emulator.catalogue.store import Store
from emulator.faults.rules import LONGEST_STALE

_TABLES = ("objects", "role_grants", "grants")


class Past:
    """Remembers from now on; made once per process, before the first change that matters."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with store.connection() as db:
            db.create_function("moment", 0, time.time)
            db.execute("PRAGMA recursive_triggers = ON")  # so that rows that REPLACE takes away are remembered as well
            db.execute("CREATE TEMP TABLE past (at REAL NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, before TEXT)")
            for table in _TABLES:
                row = ", ".join(f"old.{column}" for column in _columns(db, table))
                for event, number, before in (
                    ("INSERT", "new.rowid", "NULL"),
                    ("UPDATE", "old.rowid", f"json_array({row})"),
                    ("DELETE", "old.rowid", f"json_array({row})"),
                ):
                    db.execute(
                        f"CREATE TEMP TRIGGER past_{table}_{event} AFTER {event} ON main.{table} BEGIN"
                        f" INSERT INTO past VALUES (moment(), '{table}', {number}, {before}); END"
                    )

    def as_of(self, moment: float) -> Store:
        """A copy of the catalogue as it stood at the epoch second `moment`, at most `LONGEST_STALE` seconds ago."""
        copy = Store(Path(":memory:"))
        with self._store.connection() as live, copy.connection() as db:
            live.execute("DELETE FROM past WHERE at < ?", (time.time() - LONGEST_STALE,))
            live.backup(db)
            changes = live.execute("SELECT name, number, before FROM past WHERE at > ? ORDER BY rowid DESC", (moment,)).fetchall()
            for table, number, before in changes:
                db.execute(f"DELETE FROM {table} WHERE rowid = ?", (number,))
                if before is not None:
                    _put_back(db, table, number, json.loads(before))
        return copy


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def _put_back(db: sqlite3.Connection, table: str, number: int, row: list[object]) -> None:
    columns = _columns(db, table)
    if "id" not in columns:  # else the id is the number already
        columns, row = ["rowid", *columns], [number, *row]
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})", row)
