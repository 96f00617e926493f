"""The project's local memory: events, transition times, generations, last good manifests, failures and caches, in one SQLite file.

Nothing here is needed to converge: marks in the account and `run.json` on stages are. Losing the file loses history and costs re-reads,
so a damaged one is moved aside and a new one begun. One daemon writes while commands read (write-ahead log).
"""

from __future__ import annotations

import errno
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from platformdirs import user_state_path

from controller.account.redact import redact
from controller.api.objects import ObjectKey
from controller.reconcile.events import Event, Reason, key_of, type_of
from controller.reconcile.report import Condition, ObjectStatus
from controller.reconcile.work.backoff import Failure, FailureClass

log = structlog.get_logger("snowcat.state")

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY, first REAL, last REAL, object TEXT, type TEXT, reason TEXT, message TEXT, count INTEGER, generation INTEGER,
  statement_id TEXT);
CREATE INDEX IF NOT EXISTS events_by_object ON events (object, last);
CREATE TABLE IF NOT EXISTS conditions (
  object TEXT, type TEXT, status TEXT, reason TEXT, message TEXT, generation INTEGER, transition REAL, PRIMARY KEY (object, type));
CREATE TABLE IF NOT EXISTS generations (object TEXT PRIMARY KEY, generation INTEGER, hash TEXT);
CREATE TABLE IF NOT EXISTS failures (object TEXT PRIMARY KEY, kind TEXT, reason TEXT, message TEXT, fingerprint TEXT, count INTEGER);
CREATE TABLE IF NOT EXISTS manifests (file TEXT PRIMARY KEY, text TEXT);
CREATE TABLE IF NOT EXISTS manifest_times (file TEXT PRIMARY KEY, kept REAL);
CREATE TABLE IF NOT EXISTS cache (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS births (object TEXT PRIMARY KEY, born TEXT);
CREATE TABLE IF NOT EXISTS pokes (id INTEGER PRIMARY KEY, object TEXT);
"""
_KEPT_EVENTS = 5000
_DEDUPE = 3600.0  # seconds within which an equal event counts up


def identity(key: ObjectKey) -> str:
    """A key with its full name, as the state file knows it: quoted as in SQL where it must be, so that it can be read back."""
    return f"{key.kind}/{key.name.sql}"


class State:
    """Opens or creates the file. Safe for use from several threads; several processes may read and write at once."""

    def __init__(self, path: Path | None, *, wall: Callable[[], float] = time.time) -> None:
        """`path` None keeps everything in memory (offline planning, tests)."""
        self.path = path
        self._wall = wall
        self._lock = threading.RLock()
        self._fresh: list[Event] = []
        self._good: tuple[int, dict[Path, str]] | None = None  # the last good texts, and the state of the file in which they were read
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # a folder in its place, no permission, a full disk
                raise OSError(errno.EIO, f"the history of objects cannot be kept here: {error}", str(path)) from None
            if path is None:
                raise
            aside = path.with_name(f"{path.name}.damaged-{int(wall())}")
            path.replace(aside)
            for tail in ("-wal", "-shm"):
                path.with_name(path.name + tail).unlink(missing_ok=True)
            log.warning(
                "state file was damaged and is moved aside; history starts anew", file=str(path), moved_to=str(aside), error=str(error)
            )
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path or ":memory:", timeout=10, check_same_thread=False, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"written by another version of snowcat ({found})")
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA user_version={_VERSION}")
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("failed its integrity check")
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction; a failure to write history is logged, never an error of the loop."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._good = None
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                log.warning("state file could not be written", file=str(self.path), error=str(error))

    def _rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, parameters).fetchall()

    def _rows_of(self, table: str, columns: str, keys: Iterable[ObjectKey]) -> list[tuple[Any, ...]]:
        """The rows of some objects: a look that moved a few of thousands need not read those of all."""
        names = json.dumps([identity(key) for key in keys])
        return self._rows(f"SELECT {columns} FROM {table} WHERE object IN (SELECT value FROM json_each(?))", names)  # noqa: S608 - constants

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # ---- events ----------------------------------------------------------------------------------------------------------------------

    def event(self, target: ObjectKey | str, reason: Reason, message: str, *, generation: int = 0, statement_id: str = "") -> Event:
        """Write one event; an equal one in the last hour counts up instead."""
        name = target if isinstance(target, str) else identity(target)
        now, text = self._wall(), redact(message)
        count, first = 1, now
        with self._write() as db:
            last = db.execute(
                "SELECT id, first, count FROM events WHERE object=? AND reason=? AND message=? AND generation=? AND last>? "
                "ORDER BY last DESC",
                (name, reason, text, generation, now - _DEDUPE),
            ).fetchone()
            if last:
                count, first = last[2] + 1, last[1]
                db.execute("UPDATE events SET last=?, count=?, statement_id=? WHERE id=?", (now, count, statement_id, last[0]))
            else:
                db.execute(
                    "INSERT INTO events (first, last, object, type, reason, message, count, generation, statement_id) "
                    "VALUES (?,?,?,?,?,?,1,?,?)",
                    (now, now, name, type_of(reason), reason, text, generation, statement_id),
                )
                db.execute("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (_KEPT_EVENTS,))
        event = Event(_time(now), _time(first), name, type_of(reason), reason, text, count, generation, statement_id)
        with self._lock:
            self._fresh.append(event)
        return event

    def fresh_events(self) -> tuple[Event, ...]:
        """Those written by this process since the last call."""
        with self._lock:
            fresh, self._fresh = tuple(self._fresh), []
        return fresh

    def events(self, target: ObjectKey | None = None, limit: int = 200) -> list[Event]:
        """The newest events, oldest of them first; of one object, or of all."""
        where, parameters = ("WHERE object=?", (identity(target),)) if target else ("", ())
        rows = self._rows(
            "SELECT last, first, object, type, reason, message, count, generation, statement_id "  # noqa: S608 - `where` is one of two constants
            f"FROM events {where} ORDER BY last DESC, id DESC LIMIT ?",
            *parameters,
            limit,
        )
        return [Event(_time(r[0]), _time(r[1]), *r[2:]) for r in reversed(rows)]

    # ---- conditions, generations, failures ----------------------------------------------------------------------------------------------

    def generations(self, hashes: Mapping[ObjectKey, str], *, keep: bool = True) -> dict[ObjectKey, int]:
        """The generation of each object: counts the changes of its specification's hash. `keep` false only looks."""
        known = {r[0]: (r[1], r[2]) for r in self._rows_of("generations", "object, generation, hash", hashes)}
        result: dict[ObjectKey, int] = {}
        moved: list[tuple[str, int, str]] = []
        for key, digest in hashes.items():
            generation, old = known.get(identity(key), (0, ""))
            if digest != old:
                generation += 1
                moved.append((identity(key), generation, digest))
            result[key] = generation
        if moved and keep:
            with self._write() as db:
                db.executemany("INSERT OR REPLACE INTO generations VALUES (?,?,?)", moved)
        return result

    def transitions(self, statuses: Iterable[ObjectStatus], *, keep: bool = True) -> list[ObjectStatus]:
        """The statuses with the time at which each condition last changed its status; `keep` remembers them."""
        now = self._wall()
        found = list(statuses)
        columns = "object, type, status, transition, reason, message, generation"
        known = {(r[0], r[1]): r[2:] for r in self._rows_of("conditions", columns, (status.key for status in found))}
        result, changed = [], []
        for status in found:
            conditions: list[Condition] = []
            for condition in status.conditions:
                old = known.get((identity(status.key), condition.type))
                since = old[1] if old and old[0] == condition.status else now
                conditions.append(replace(condition, last_transition=_time(since)))
                row = (condition.status, since, condition.reason, condition.message, condition.observed_generation)
                if row != old:
                    changed.append((identity(status.key), condition.type, *row))
            result.append(status.with_conditions(tuple(conditions)))
        if changed and keep:
            with self._write() as db:
                db.executemany(
                    "INSERT OR REPLACE INTO conditions (object, type, status, transition, reason, message, generation) "
                    "VALUES (?,?,?,?,?,?,?)",
                    changed,
                )
        return result

    def condition(self, key: ObjectKey, kind: str) -> tuple[str, str, int] | None:
        """Status, reason and generation of a condition as last remembered."""
        rows = self._rows("SELECT status, reason, generation FROM conditions WHERE object=? AND type=?", identity(key), kind)
        return rows[0] if rows else None

    def forget(self, key: ObjectKey) -> None:
        """An object is gone: its conditions, generation and failure go too; its events stay."""
        with self._write() as db:
            for table in ("conditions", "generations", "failures"):
                db.execute(f"DELETE FROM {table} WHERE object=?", (identity(key),))  # noqa: S608 - constants

    def keep_failure(self, key: ObjectKey, failure: Failure | None) -> None:
        with self._write() as db:
            if failure is None:
                db.execute("DELETE FROM failures WHERE object=?", (identity(key),))
            else:
                row = (identity(key), failure.kind, failure.reason, redact(failure.message), failure.fingerprint, failure.count)
                db.execute("INSERT OR REPLACE INTO failures VALUES (?,?,?,?,?,?)", row)

    def failures(self, keys: Iterable[ObjectKey]) -> dict[ObjectKey, Failure]:
        """The last failure of each object, for commands that run beside the daemon."""
        known = {r[0]: Failure(FailureClass(r[1]), *r[2:]) for r in self._rows("SELECT * FROM failures")}
        return {key: known[identity(key)] for key in keys if identity(key) in known}

    def births(self) -> dict[ObjectKey, str]:
        """When each object was created that has carried our mark, as the account said it."""
        return {key: born for name, born in self._rows("SELECT object, born FROM births") if (key := key_of(name)) is not None}

    def keep_births(self, moved: Mapping[ObjectKey, str]) -> None:
        with self._write() as db:
            db.executemany("INSERT OR REPLACE INTO births VALUES (?,?)", [(identity(key), born) for key, born in moved.items()])

    # ---- manifests, cache, pokes ---------------------------------------------------------------------------------------------------------

    def last_good(self) -> Mapping[Path, str]:
        """The text of each file when it last loaded without a problem. Read again only when another process has written."""
        with self._lock:
            now = self._rows("PRAGMA data_version")[0][0]
            if self._good is None or self._good[0] != now:
                self._good = now, {Path(r[0]): r[1] for r in self._rows("SELECT file, text FROM manifests")}
            return self._good[1]

    def good_since(self, file: Path) -> datetime | None:
        """When the last good text of a file was first read; None where an older Snowcat has kept it."""
        rows = self._rows("SELECT kept FROM manifest_times WHERE file=?", str(file))
        return _time(rows[0][0]) if rows else None

    def keep_good(self, texts: Mapping[Path, str], *, complete: bool) -> None:
        """Remember the texts that just loaded; after a complete load all others are forgotten."""
        known = self.last_good()
        changed = {file: text for file, text in texts.items() if known.get(file) != text}
        gone = known.keys() - texts.keys() if complete else set()
        if changed or gone:
            with self._write() as db:
                db.executemany("INSERT OR REPLACE INTO manifests VALUES (?,?)", [(str(file), text) for file, text in changed.items()])
                db.executemany("INSERT OR REPLACE INTO manifest_times VALUES (?,?)", [(str(file), self._wall()) for file in changed])
                for table in ("manifests", "manifest_times"):
                    db.executemany(f"DELETE FROM {table} WHERE file=?", [(str(file),) for file in gone])  # noqa: S608 - constants
                if self._good is not None:
                    self._good = self._good[0], {file: text for file, text in {**known, **changed}.items() if file not in gone}

    def remember(self, key: str, value: Any) -> None:
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO cache VALUES (?,?)", (key, json.dumps(value)))

    def recall(self, key: str) -> Any | None:
        rows = self._rows("SELECT value FROM cache WHERE key=?", key)
        return json.loads(rows[0][0]) if rows else None

    def poke(self, target: str = "") -> None:
        """Ask the daemon to look now: at one object (`Kind/name`), or at everything."""
        with self._write() as db:
            db.execute("INSERT INTO pokes (object) VALUES (?)", (target,))

    def has_pokes(self) -> bool:
        return bool(self._rows("SELECT 1 FROM pokes LIMIT 1"))

    def take_pokes(self) -> list[str]:
        """What was asked since the last call; each is handed out once."""
        if not self.has_pokes():
            return []
        with self._write() as db:
            taken = db.execute("DELETE FROM pokes RETURNING object").fetchall()
            return [row[0] for row in taken]
        return []


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def state_file(account: str, project: str, folder: Path | None = None) -> Path:
    """Where a project keeps its state for an account: in `folder`, else `$XDG_STATE_HOME/snowcat`."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{account}-{project}".lower())
    return (folder or user_state_path("snowcat")) / f"{safe}.db"
