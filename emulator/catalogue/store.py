"""The durable catalogue: one SQLite file that holds every object, user, role and grant.

A kill at any moment loses nothing committed. All access goes through one connection and one lock: catalogue work is short, and
serialised changes spare every command the question what happens when two sessions create the same name.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulator import errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, database TEXT NOT NULL, schema TEXT NOT NULL, name TEXT NOT NULL,
  owner TEXT NOT NULL, comment TEXT, created_on REAL NOT NULL, updated_on REAL NOT NULL, props TEXT NOT NULL,
  UNIQUE (kind, database, schema, name));
CREATE TABLE IF NOT EXISTS role_grants (
  role TEXT NOT NULL, to_kind TEXT NOT NULL, to_name TEXT NOT NULL, granted_by TEXT NOT NULL, created_on REAL NOT NULL,
  PRIMARY KEY (role, to_kind, to_name));
CREATE TABLE IF NOT EXISTS grants (
  privilege TEXT NOT NULL, kind TEXT NOT NULL, database TEXT NOT NULL, schema TEXT NOT NULL, name TEXT NOT NULL,
  role TEXT NOT NULL, grant_option INTEGER NOT NULL, granted_by TEXT NOT NULL, future INTEGER NOT NULL, created_on REAL NOT NULL,
  PRIMARY KEY (privilege, kind, database, schema, name, role, future));
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass
class CatalogueObject:
    """One row of the catalogue. `database` and `schema` are '' where the kind has none; `comment` None means never set.

    `props` holds what only the kind knows. Times are epoch seconds.
    """

    id: int
    kind: str
    database: str
    schema: str
    name: str
    owner: str
    comment: str | None
    created_on: float
    updated_on: float
    props: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in (self.database, self.schema, self.name) if part)

    @property
    def fqn(self) -> str:
        """`DB.SCHEMA.NAME` in stored form, unquoted."""
        return ".".join(self.parts)


@dataclass(frozen=True)
class Grant:
    """A privilege on an object (or, `future`, on the kind inside a database or schema) for a role."""

    privilege: str
    kind: str
    database: str
    schema: str
    name: str
    role: str
    grant_option: bool
    granted_by: str
    future: bool
    created_on: float


@dataclass(frozen=True)
class RoleGrant:
    """`role` was granted to a role or a user (`to_kind` ROLE or USER)."""

    role: str
    to_kind: str
    to_name: str
    granted_by: str
    created_on: float


# The method `list` hides the builtin inside the class.
Objects = list[CatalogueObject]
Grants = list[Grant]
RoleGrants = list[RoleGrant]
Rows = list[Any]


class Store:
    """The SQLite file and its lock."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._afterwards: list[Callable[[], None]] = []
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        if path.exists():  # not for a copy in memory
            path.chmod(0o600)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The database itself, under the lock; for what looks at all rows alike."""
        with self._lock:
            yield self._db

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nests (the outermost one commits)."""
        with self._lock:
            if self._depth == 0:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._afterwards.clear()
                    self._db.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth > 0:
                return
            self._db.execute("COMMIT")
            todo, self._afterwards = self._afterwards, []
        for step in todo:
            step()

    def after_commit(self, step: Callable[[], None]) -> None:
        """Runs `step` once the changes of the open transaction are durable, at once without one; not at all if they are rolled back."""
        with self._lock:
            if self._depth > 0:
                self._afterwards.append(step)
                return
        step()

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> Rows:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def _run(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        with self.transaction():
            return self._db.execute(sql, values).rowcount

    # -- objects

    def create(
        self,
        kind: str,
        database: str,
        schema: str,
        name: str,
        *,
        owner: str,
        comment: str | None = None,
        props: dict[str, Any] | None = None,
    ) -> CatalogueObject:
        """Raises 2002/42710 if the name is taken."""
        now = time.time()
        try:
            self._run(
                "INSERT INTO objects (kind, database, schema, name, owner, comment, created_on, updated_on, props)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (kind, database, schema, name, owner, comment, now, now, json.dumps(props or {})),
            )
        except sqlite3.IntegrityError:
            raise errors.already_exists(name) from None
        found = self.find(kind, database, schema, name)
        assert found is not None
        return found

    def find(self, kind: str, database: str, schema: str, name: str) -> CatalogueObject | None:
        rows = self._rows(
            "SELECT * FROM objects WHERE kind = ? AND database = ? AND schema = ? AND name = ?",
            (kind, database, schema, name),
        )
        return _object(rows[0]) if rows else None

    def by_id(self, object_id: int) -> CatalogueObject | None:
        rows = self._rows("SELECT * FROM objects WHERE id = ?", (object_id,))
        return _object(rows[0]) if rows else None

    def list(self, kind: str, database: str | None = None, schema: str | None = None) -> Objects:
        """Objects of a kind by name, in a scope; None is any."""
        sql, values = "SELECT * FROM objects WHERE kind = ?", [kind]
        for column, value in (("database", database), ("schema", schema)):
            if value is not None:
                sql += f" AND {column} = ?"
                values.append(value)
        return [_object(row) for row in self._rows(sql + " ORDER BY name, database, schema", tuple(values))]

    def contents(self, database: str, schema: str | None = None) -> Objects:
        """Every object inside a database or schema, of all kinds, the schemas themselves last."""
        sql, values = "SELECT * FROM objects WHERE database = ?", [database]
        if schema is not None:
            sql += " AND schema = ?"
            values.append(schema)
        return [_object(row) for row in self._rows(sql + " ORDER BY kind = 'SCHEMA', id", tuple(values))]

    def update(self, obj: CatalogueObject) -> None:
        """Writes the row back (by id) and moves `updated_on`. Raises 2002 if a rename meets a taken name."""
        obj.updated_on = time.time()
        try:
            self._run(
                "UPDATE objects SET database = ?, schema = ?, name = ?, owner = ?, comment = ?, updated_on = ?, props = ? WHERE id = ?",
                (
                    obj.database,
                    obj.schema,
                    obj.name,
                    obj.owner,
                    obj.comment,
                    obj.updated_on,
                    json.dumps(obj.props),
                    obj.id,
                ),
            )
        except sqlite3.IntegrityError:
            raise errors.already_exists(obj.name) from None

    def set_props(self, obj: CatalogueObject, **changes: Any) -> None:
        """Merges `changes` into the stored props without moving `updated_on` (for runtime state such as counters)."""
        with self.transaction():
            current = self.by_id(obj.id)
            if current is None:
                return
            current.props.update(changes)
            self._run("UPDATE objects SET props = ? WHERE id = ?", (json.dumps(current.props), obj.id))
            obj.props = current.props

    def drop(self, obj: CatalogueObject) -> None:
        """Removes the row and the grants on it, of a database or schema also those on what would have been made in it."""
        with self.transaction():
            self._run("DELETE FROM objects WHERE id = ?", (obj.id,))
            self._run(
                "DELETE FROM grants WHERE kind = ? AND database = ? AND schema = ? AND name = ? AND future = 0",
                (obj.kind, obj.database, obj.schema, obj.name),
            )
            if obj.kind == "DATABASE":
                self._run("DELETE FROM grants WHERE database = ? AND future = 1", (obj.name,))
            elif obj.kind == "SCHEMA":
                self._run("DELETE FROM grants WHERE database = ? AND schema = ? AND future = 1", (obj.database, obj.name))

    def move_grants(self, obj: CatalogueObject, old: tuple[str, str, str]) -> None:
        """Grants follow a rename; `old` is (database, schema, name)."""
        self._run(
            "UPDATE OR REPLACE grants SET database = ?, schema = ?, name = ?"
            " WHERE kind = ? AND database = ? AND schema = ? AND name = ? AND future = 0",
            (obj.database, obj.schema, obj.name, obj.kind, *old),
        )

    def move_future_grants(self, old: tuple[str, str, str], new: tuple[str, str, str], kind: str) -> None:
        """Future grants follow the rename of the database or schema that they are for."""
        if kind == "DATABASE":
            self._run("UPDATE OR REPLACE grants SET database = ? WHERE database = ? AND future = 1", (new[2], old[2]))
        else:
            sql = "UPDATE OR REPLACE grants SET schema = ? WHERE database = ? AND schema = ? AND future = 1"
            self._run(sql, (new[2], old[0], old[2]))

    # -- grants of privileges

    def grant(self, grant: Grant) -> None:
        """Adds the grant; a repeated one only gains the grant option."""
        self._run(
            "INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " grant_option = max(grant_option, excluded.grant_option)",
            (
                grant.privilege,
                grant.kind,
                grant.database,
                grant.schema,
                grant.name,
                grant.role,
                int(grant.grant_option),
                grant.granted_by,
                int(grant.future),
                grant.created_on,
            ),
        )

    def revoke(self, privilege: str, key: tuple[str, str, str, str], role: str, future: bool = False) -> int:
        """`key` is (kind, database, schema, name). Gives the number of grants removed."""
        return self._run(
            "DELETE FROM grants WHERE privilege = ? AND kind = ? AND database = ? AND schema = ? AND name = ? AND role = ? AND future = ?",
            (privilege, *key, role, int(future)),
        )

    def grants_on(self, kind: str, database: str, schema: str, name: str) -> Grants:
        return self._grants("kind = ? AND database = ? AND schema = ? AND name = ? AND future = 0", (kind, database, schema, name))

    def grants_to(self, role: str) -> Grants:
        return self._grants("role = ? AND future = 0", (role,))

    def future_grants(self, database: str, schema: str | None = None, role: str | None = None) -> Grants:
        """Future grants in a database (`schema` '' for those on the database itself) or, with `role`, all to a role."""
        if role is not None:
            return self._grants("role = ? AND future = 1", (role,))
        return self._grants("database = ? AND schema = ? AND future = 1", (database, schema or ""))

    def _grants(self, where: str, values: tuple[Any, ...]) -> Grants:
        rows = self._rows(f"SELECT * FROM grants WHERE {where} ORDER BY created_on, privilege", values)
        return [Grant(r[0], r[1], r[2], r[3], r[4], r[5], bool(r[6]), r[7], bool(r[8]), r[9]) for r in rows]

    def forget_role(self, role: str) -> None:
        """Removes what was granted to and of a dropped role."""
        with self.transaction():
            self._run("DELETE FROM grants WHERE role = ?", (role,))
            self._run("DELETE FROM role_grants WHERE role = ? OR (to_kind = 'ROLE' AND to_name = ?)", (role, role))

    # -- grants of roles

    def grant_role(self, role: str, to_kind: str, to_name: str, granted_by: str) -> None:
        self._run("INSERT OR IGNORE INTO role_grants VALUES (?, ?, ?, ?, ?)", (role, to_kind, to_name, granted_by, time.time()))

    def revoke_role(self, role: str, to_kind: str, to_name: str) -> int:
        return self._run("DELETE FROM role_grants WHERE role = ? AND to_kind = ? AND to_name = ?", (role, to_kind, to_name))

    def role_grants(self, *, role: str | None = None, to: tuple[str, str] | None = None) -> RoleGrants:
        """Grants of a role (`role`), to a grantee (`to` = kind, name), or all."""
        sql, values = "SELECT * FROM role_grants WHERE 1", []
        if role is not None:
            sql += " AND role = ?"
            values.append(role)
        if to is not None:
            sql += " AND to_kind = ? AND to_name = ?"
            values.extend(to)
        return [RoleGrant(*row) for row in self._rows(sql + " ORDER BY created_on, role", tuple(values))]

    # -- settings

    def setting(self, key: str) -> Any:
        rows = self._rows("SELECT value FROM settings WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def set_setting(self, key: str, value: Any) -> None:
        self._run("INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, json.dumps(value)))


def _object(row: Any) -> CatalogueObject:
    number, kind, database, schema, name, owner, comment, created_on, updated_on, props = row
    return CatalogueObject(number, kind, database, schema, name, owner, comment, created_on, updated_on, json.loads(props))
