"""Sessions and their tokens, and the tokens handed to containers; all durable.

Clients survive a restart of the account because session tokens (as hashes) and the session's state are on disk. Expired
session tokens are renewed with the master token, as the drivers do by themselves.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from emulator.session import Session

MASTER_SECONDS = 14_400
_REMEMBER_SECONDS = 86_400.0  # an expired login token is told from an unknown one for this long
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
  id INTEGER PRIMARY KEY, state TEXT NOT NULL, token TEXT UNIQUE, expires REAL NOT NULL, master TEXT UNIQUE,
  master_expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (
  hash TEXT PRIMARY KEY, user TEXT NOT NULL, role TEXT, purpose TEXT NOT NULL, name TEXT NOT NULL, expires REAL NOT NULL);
"""


@dataclass(frozen=True)
class Issued:
    """A session's tokens in clear, given out once."""

    session: Session
    token: str
    master: str


@dataclass(frozen=True)
class Bearer:
    """What a login token stands for. `role` fixes the role (containers, restricted PATs)."""

    user: str
    role: str | None
    purpose: str
    name: str
    expires: float


class Tokens:
    """Sessions by token, over one SQLite file. `session_seconds` is the life of a session token."""

    def __init__(self, path: Path, session_seconds: float = 3600.0) -> None:
        self.session_seconds = session_seconds
        self._lock = threading.RLock()
        self._live: dict[int, Session] = {}
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._db.execute("DELETE FROM sessions WHERE master_expires < ?", (time.time(),))
        self._db.execute("DELETE FROM tokens WHERE expires < ?", (time.time() - _REMEMBER_SECONDS,))
        path.chmod(0o600)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # -- sessions

    def open(self, session: Session) -> Issued:
        """Makes the session known and gives out its tokens. `session.id` is set here."""
        token, master = _fresh("ses"), _fresh("mas")
        now = time.time()
        with self._lock:
            session.id = int(now * 1000) * 1000 + secrets.randbelow(1000)
            self._db.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
                (
                    session.id,
                    json.dumps(session.durable()),
                    _hash(token),
                    now + self.session_seconds,
                    _hash(master),
                    now + MASTER_SECONDS,
                ),
            )
            self._live[session.id] = session
        return Issued(session, token, master)

    def session(self, token: str) -> Session | None:
        """The session of a valid session token; None when unknown or expired."""
        with self._lock:
            row = self._db.execute("SELECT id, expires FROM sessions WHERE token = ?", (_hash(token),)).fetchone()
            if row is None or row[1] < time.time():
                return None
            return self._load(row[0])

    def by_master(self, master: str) -> Session | None:
        """The session of a valid master token; None when unknown or expired."""
        with self._lock:
            row = self._db.execute("SELECT id, master_expires FROM sessions WHERE master = ?", (_hash(master),)).fetchone()
            return self._load(row[0]) if row is not None and row[1] >= time.time() else None

    def by_id(self, session_id: int) -> Session | None:
        with self._lock:
            return self._load(session_id)

    def sessions(self) -> list[Session]:
        """All sessions that could still be used."""
        with self._lock:
            rows = self._db.execute("SELECT id FROM sessions WHERE master_expires >= ?", (time.time(),)).fetchall()
            loaded = [self._load(row[0]) for row in rows]
        return [session for session in loaded if session is not None]

    def _load(self, session_id: int) -> Session | None:
        live = self._live.get(session_id)
        if live is not None:
            return live
        row = self._db.execute("SELECT state FROM sessions WHERE id = ?", (session_id,)).fetchone()
        if row is None:
            return None
        session = Session(id=session_id, **json.loads(row[0]))
        self._live[session_id] = session
        return session

    def save(self, session: Session) -> None:
        """Writes the session's state after USE, ALTER SESSION or SET."""
        with self._lock:
            self._db.execute("UPDATE sessions SET state = ? WHERE id = ?", (json.dumps(session.durable()), session.id))

    def renew(self, master: str) -> Issued | None:
        """New tokens for the master token; None if that is unknown or expired."""
        now = time.time()
        with self._lock:
            row = self._db.execute("SELECT id, master_expires FROM sessions WHERE master = ?", (_hash(master),)).fetchone()
            if row is None or row[1] < now:
                return None
            session = self._load(row[0])
            assert session is not None
            token = _fresh("ses")
            self._db.execute(
                "UPDATE sessions SET token = ?, expires = ?, master_expires = ? WHERE id = ?",
                (_hash(token), now + self.session_seconds, now + MASTER_SECONDS, session.id),
            )
        return Issued(session, token, master)

    def expire(self, session: Session, *, master: bool) -> None:
        """Ends the life of the session's token now; with `master` that of its master token too, so that it can only log in again."""
        with self._lock:
            self._db.execute("UPDATE sessions SET expires = 0 WHERE id = ?", (session.id,))
            if master:
                self._db.execute("UPDATE sessions SET master_expires = 0 WHERE id = ?", (session.id,))

    def heartbeat(self, session: Session) -> None:
        """Keeps the master token alive."""
        with self._lock:
            self._db.execute("UPDATE sessions SET master_expires = ? WHERE id = ?", (time.time() + MASTER_SECONDS, session.id))

    def end(self, session_id: int) -> Session | None:
        """Forgets the session and its tokens; gives the session that ended."""
        with self._lock:
            session = self._load(session_id)
            self._db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
            self._live.pop(session_id, None)
        return session

    # -- tokens for login

    def issue_container_token(self, role: str, service: str, seconds: float = 3600.0) -> str:
        """An OAuth token for a container of `service` (its qualified name): logs in as the service's owner `role`."""
        return self.issue(service, role, "container", service, seconds)

    def issue(self, user: str, role: str | None, purpose: str, name: str, seconds: float) -> str:
        """A login token: `purpose` is container, oauth or pat; `name` finds it again for revocation."""
        token = _fresh({"pat": "pat", "container": "spcs"}.get(purpose, "oauth"))
        with self._lock:
            self._db.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)",
                (_hash(token), user, role, purpose, name, time.time() + seconds),
            )
        return token

    def bearer(self, token: str) -> Bearer | None:
        """What a login token stands for; None when unknown or expired."""
        with self._lock:
            row = self._db.execute("SELECT user, role, purpose, name, expires FROM tokens WHERE hash = ?", (_hash(token),)).fetchone()
        if row is None or row[4] < time.time():
            return None
        return Bearer(*row)

    def is_expired(self, token: str) -> bool:
        """Whether the login token was good once."""
        with self._lock:
            row = self._db.execute("SELECT expires FROM tokens WHERE hash = ?", (_hash(token),)).fetchone()
        return row is not None and row[0] < time.time()

    def revoke(self, purpose: str, name: str, user: str | None = None) -> int:
        """Makes tokens of that purpose and name useless."""
        with self._lock:
            sql, values = "DELETE FROM tokens WHERE purpose = ? AND name = ?", [purpose, name]
            if user is not None:
                sql += " AND user = ?"
                values.append(user)
            return self._db.execute(sql, values).rowcount


def bearer_of(header: str) -> str:
    """The token in an Authorization header of the drivers, '' when there is none."""
    _, _, quoted = header.partition('Token="')
    return quoted.partition('"')[0]


def _fresh(prefix: str) -> str:
    return f"{prefix}:{secrets.token_urlsafe(32)}"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
