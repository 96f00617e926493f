"""One session with an account: statements in, rows out, errors classed, secrets redacted, every statement counted.

Written against what the driver's 4.x and 5.x lines share: `connect`, `cursor`, and the common `errors.Error` with `errno` and `sqlstate`.
A session works for one thread at a time; `SessionPool` lends them out.
"""

from __future__ import annotations

import contextlib
import json
import math
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog

from controller.account import statements
from controller.account.connections import DRIVER_RETRIES, Connection
from controller.account.counters import Counters, class_of_statement
from controller.account.driver import DriverError, connector
from controller.account.driver_errors import from_driver
from controller.account.errors import AccountError, Denied, NotFound, Rejected, StageFull, TimedOut, Transient
from controller.account.limits import Limits
from controller.account.line import Line
from controller.account.redact import redact
from controller.account.snapshot import Row
from controller.account.tracing import span
from controller.api.names import Identifier, NameProblem, QualifiedName

log = structlog.get_logger("snowcat.account")

TAG = "snowcat"
SESSION_PARAMETERS: Mapping[str, str | int | bool] = {
    "CLIENT_TELEMETRY_ENABLED": False,
    "TIMEZONE": "UTC",  # so that the time stamps of two reads compare
    "ABORT_DETACHED_QUERY": False,
}
_GONE = frozenset({390111, 390112, 390113, 390114, 390115, 250001, 250002})  # the session cannot be used again
_SLOW_DOWN = frozenset({290429, 290503, 251011})  # HTTP 429, 503, no answer: the driver has tried for a while, and shows no Retry-After
_SLOWER = 5.0  # seconds for which all sessions hold back then
_CANCELLED = 604
_CANCEL = 5.0  # seconds that a cancelled statement has to come back
DRIVER_CANCELS = DRIVER_RETRIES
"""Whether the driver cancels a statement itself (`timeout=` of `execute`): the 4.x line does. The 5.x line ignores it; there the session is
broken off, and aborted by the next one."""


class Statement(Protocol):
    """What `execute` takes beside plain text: `controller.kinds.base.Sql`."""

    @property
    def text(self) -> str: ...
    @property
    def display(self) -> str | None: ...
    @property
    def tolerate(self) -> frozenset[int]: ...


@dataclass(frozen=True)
class Result:
    """`rows` have lower-case column names, in the order of `columns`. `tolerated` is the error number that was taken as 'already so'."""

    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    query_id: str = ""
    rowcount: int | None = None
    tolerated: int | None = None

    @property
    def scalar(self) -> Any:
        """The first column of the first row, or None when there is no row."""
        return next(iter(self.rows[0].values()), None) if self.rows else None


@dataclass(eq=False)
class Session:
    """One open connection. Made by `open_session` or lent by a `SessionPool`."""

    driver: Any
    counters: Counters = field(default_factory=Counters)
    line: Line = field(default_factory=Line)
    limits: Limits = field(default_factory=Limits)
    alive: bool = True
    aborted: bool = False  # by another session, after this one hung

    @property
    def role(self) -> str:
        """The current role as stored, '' when the account did not say."""
        return str(getattr(self.driver, "role", None) or "").strip('"')

    @property
    def id(self) -> str:
        return str(getattr(self.driver, "session_id", ""))

    def execute(self, statement: Statement | str, parameters: Sequence[Any] | None = None) -> Result:
        """Run one statement and fetch all its rows, once the token bucket lets it pass.

        Raises:
            TimedOut: it took longer than its class may. It was cancelled; or nobody answered, and the session is broken off.
            AccountError: its subclass says what to do; message and statement hold no secret.
        """
        text, display, tolerate = (
            (statement, None, frozenset()) if isinstance(statement, str) else (statement.text, statement.display, statement.tolerate)
        )
        shown = redact(display if display is not None else text)
        kind = self.counters.add(text)
        with span(kind, db__system__name="snowflake", db__operation__name=kind, db__query__text=shown) as traced:
            result = self._send(text, parameters, shown, tolerate)
            traced.set("snowflake.query_id", result.query_id)
            return result

    def _send(self, text: str, parameters: Sequence[Any] | None, shown: str, tolerate: frozenset[int]) -> Result:
        seconds = self.limits.timeouts.of(class_of_statement(text), warehouse=self.counters.with_warehouse)
        bucket = self.limits.bucket
        if bucket is not None and (wait := bucket.take()):
            self.line.pause(wait)
        self.cleared()
        started, told = time.monotonic(), shown.partition("\n")[0]
        try:
            return self.line.call(lambda: self._ask_driver(text, parameters, seconds), seconds + _CANCEL, told)
        except DriverError as error:
            if error.errno in tolerate:
                return Result(tolerated=error.errno)
            classed = self._classed(error, shown)
            if bucket is not None and classed.errno in _SLOW_DOWN:
                bucket.pause(_SLOWER)
            if classed.errno == _CANCELLED and time.monotonic() - started >= seconds:
                message = f"{told}: cancelled after {seconds:g} seconds"
                raise TimedOut(message, errno=classed.errno, sqlstate=classed.sqlstate, statement=shown) from None
            raise classed from None
        except Transient as error:
            self.alive = False
            raise type(error)(error.message, statement=shown) from None

    def _ask_driver(self, text: str, parameters: Sequence[Any] | None, seconds: float) -> Result:
        with contextlib.closing(self.driver.cursor(connector.DictCursor)) as cursor:
            if DRIVER_CANCELS:
                cursor.execute(text, parameters, timeout=math.ceil(seconds))
            else:
                cursor.execute(text, parameters)
            columns = tuple(str(column[0]).lower() for column in cursor.description or ())
            rows = tuple({str(key).lower(): value for key, value in row.items()} for row in cursor.fetchall()) if columns else ()
            return Result(columns, rows, str(cursor.sfqid or ""), cursor.rowcount)

    def cleared(self) -> None:
        """Called right before a statement is sent, after any wait for the token bucket: here raises who may not send any more."""

    def break_off(self, error: AccountError | None = None) -> None:
        """By any thread: the statement under way fails at once where it is waited for, with this error, and no other is sent."""
        self.alive = False
        self.line.break_off(error)

    def _classed(self, error: DriverError, shown: str) -> AccountError:
        classed = from_driver(error, shown)
        if classed.errno in _GONE:
            self.alive = False
        return classed

    @contextlib.contextmanager
    def warehouse(self, name: str) -> Iterator[None]:
        """A warehouse for the statements inside. Nothing else in the controller sets one.

        Raises:
            AccountError: the warehouse is missing or this role may not use it.
        """
        self.execute(statements.use("WAREHOUSE", QualifiedName.parse(name)))
        self.counters.with_warehouse = True
        try:
            yield
        finally:
            self.counters.with_warehouse = False

    # ---- files of stages ---------------------------------------------------------------------------------------------------------------

    def put_file(self, local: Path, stage: QualifiedName, folder: str = "", *, compress: bool = False) -> None:
        """Copy one local file into a folder of a stage; a file of that name there is replaced.

        Raises:
            AccountError: the stage is missing, full, or not writable; or the path has a quote, over which the 4.x driver stumbles (it sends
                the PUT a second time, with a path that it cuts out of the text of the first).
            FileNotFoundError: the local file is missing.
        """
        if not local.is_file():
            raise FileNotFoundError(f"{local} is not a file")
        if "'" in str(local.resolve()):
            raise Rejected(f"{local}: a file with a quote in its path cannot be uploaded; rename it")
        if "'" in folder:
            raise Rejected(f"a file cannot be uploaded to {folder} of @{stage.sql}: take the quote out of the folder's name")
        try:
            stored = self.execute(statements.put(str(local.resolve()), stage, folder, compress=compress)).rows
        except StageFull as error:
            raise StageFull(f"{local.name} does not fit on @{stage.sql}: {error.message}", errno=error.errno) from None
        for row in stored:
            if str(row.get("status", "")).upper() not in {"UPLOADED", "SKIPPED"}:
                raise Transient(f"{local.name} was not stored on @{stage.sql}: {redact(str(row.get('message') or row.get('status')))}")

    def get_file(self, stage: QualifiedName, path: str) -> bytes | None:
        """The content of one file of a stage; None when stage or file does not exist.

        Raises:
            AccountError: anything but absence.
        """
        try:
            listed = self.execute(statements.list_stage(stage, path)).rows
        except NotFound:
            return None
        ends = "/" + path.strip("/").lower()
        if not any(("/" + str(row.get("name", "")).lower()).endswith(ends) for row in listed):
            return None
        with tempfile.TemporaryDirectory(prefix="snowcat-get-") as folder:
            self.execute(statements.get(stage, path, folder))
            local = Path(folder) / Path(path).name
            return local.read_bytes() if local.is_file() else None

    def registry_password(self) -> str:
        """A password for the account's image registry, for the user `0sessiontoken`: a child token of this session, as JSON.

        It lives as long as this session. Source: the `snow spcs image-registry token` command of Snowflake's own client.

        Raises:
            Transient: the account gave none.
        """
        self.cleared()
        rest = self.driver.rest
        own = (getattr(rest, "token", None), getattr(rest, "master_token", None))
        try:
            answer = self.line.call(lambda: rest._token_request("ISSUE"), self.limits.timeouts.read, "token request for the image registry")
        except DriverError as error:
            raise self._classed(error, "token request for the image registry") from None
        finally:
            if own[0] is not None and hasattr(rest, "update_tokens"):
                rest.update_tokens(*own)  # the 4.x line takes the child's token for the session's own
        data = (answer or {}).get("data") or {}
        token = data.get("sessionToken")
        if not token:
            raise Transient("the account gave no token for its image registry")
        redact.learn([token])
        return json.dumps({"token": token, "expires_in": data.get("validityInSecondsST")})

    def close(self, seconds: float = 10.0) -> None:
        """Log out. A session that was broken off is left to a thread of its own."""
        self.alive = False
        if self.line.broken:
            threading.Thread(target=self._log_out, name="log-out", daemon=True).start()
            return
        with contextlib.suppress(AccountError):
            self.line.call(self._log_out, seconds, "log out")
        self.line.break_off()

    def _log_out(self) -> None:
        with contextlib.suppress(DriverError, OSError):
            self.driver.close()


def open_session(
    connection: Connection,
    *,
    role: str | None = None,
    counters: Counters | None = None,
    tag: str = TAG,
    limits: Limits | None = None,
) -> Session:
    """Log in, as the connection's own role or as `role`, with no secondary roles. `tag` is the QUERY_TAG of all its statements.

    Raises:
        LoginFailed: the account refused; the message says what to check.
        Transient: the account could not be reached in the connection's login time-out.
    """
    arguments = connection.driver_arguments()
    if role is not None:
        arguments["role"] = _as_login_name(role)
    redact.learn(connection.secrets())
    limits, line = limits or Limits(), Line()
    parameters = {**SESSION_PARAMETERS, "QUERY_TAG": tag}
    told = f"login to {connection.address}"
    try:
        driver = line.call(lambda: connector.connect(**arguments, session_parameters=parameters), limits.timeouts.login, told)
    except AccountError:
        raise
    except (DriverError, OSError, ValueError, TypeError) as error:  # key files, certificates, sockets: raised as they are by the driver
        line.break_off()
        raise connection.explain(error, role=role) from None
    session = Session(driver, counters or Counters(), line, limits)
    with contextlib.suppress(AccountError):  # accounts whose policy forbids the command have none active either
        session.execute("USE SECONDARY ROLES NONE")
    return session


def _as_login_name(role: str) -> str:
    """A role for the login request, which takes the name as SQL writes it."""
    try:
        return Identifier.parse(role).sql
    except NameProblem:
        return Identifier(role).sql


class SessionPool:
    """At most `size` sessions, opened when first wanted. A session that the account closed is replaced by a fresh one."""

    def __init__(
        self,
        connection: Connection,
        size: int = 4,
        *,
        role: str | None = None,
        tag: str = TAG,
        limits: Limits | None = None,
        opener: Callable[..., Session] = open_session,
    ) -> None:
        self.connection = connection
        self.size = size
        self.role = role
        self.tag = tag
        self.limits = limits or Limits()
        self.counters = Counters()
        self._opener = opener
        self._idle: queue.LifoQueue[Session | None] = queue.LifoQueue()
        self._lent: set[Session] = set()
        self._hung: list[Session] = []  # broken off, and their threads have not come back
        self._lock = threading.Lock()
        self._closed = False
        self._wide: SessionPool | None = None
        for _ in range(size):
            self._idle.put(None)

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Borrow a session; waits while all are lent.

        Raises:
            AccountError: as `open_session`.
        """
        slot = self._idle.get()
        try:
            if self._closed:
                raise Transient("the pool of sessions is closed")
            if slot is None or not slot.alive:
                slot = None
                slot = self._fresh()
            with self._lock:
                self._lent.add(slot)
            yield slot
        finally:
            if slot is not None:
                with self._lock:
                    self._lent.discard(slot)
                if not slot.alive or self._closed:
                    slot.close()
                    self._hung += [slot] if slot.line.hanging else []
                    slot = None
            self._idle.put(slot)

    def _fresh(self) -> Session:
        """A new session. One that hung before is aborted by it first, so that nothing it was sent takes effect any more.

        Raises:
            Transient: too many hang.
            AccountError: as `open_session`.
        """
        with self._lock:
            self._hung = [session for session in self._hung if session.line.hanging]
            hung = list(self._hung)
        if len(hung) >= 2 * self.size:
            raise Transient(f"{len(hung)} sessions hang; no more are opened until some of them end")
        session = self._opener(self.connection, role=self.role, counters=self.counters.child(), tag=self.tag, limits=self.limits)
        for other in hung:
            if other.id.isdigit() and not other.aborted:
                other.aborted = True
                with contextlib.suppress(AccountError):  # not every role may; then the statement may still end by itself
                    session.execute(statements.call_system("ABORT_SESSION", int(other.id)))
        return session

    @property
    def hung(self) -> int:
        """Sessions whose last statement nobody answers, and whose threads are still there."""
        return sum(session.line.hanging for session in self._hung)

    def break_off(self) -> None:
        """By any thread: whatever waits for the account fails now, and nothing more is sent."""
        self._closed = True
        with self._lock:
            lent = list(self._lent)
        for session in lent:
            session.break_off()
        if self._wide is not None:
            self._wide.break_off()

    def expire(self) -> None:
        """By any thread: all sessions may have been ended by somebody else. Who waits for an answer is let go; the next ones are new."""
        with self._lock:
            lent, wide = list(self._lent), self._wide
        for session in lent:
            session.break_off()
        if wide is not None:
            wide.expire()
        slots: list[Session | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                slots.append(self._idle.get_nowait())
        for slot in slots:
            self._idle.put(None)
            if slot is not None:
                threading.Thread(target=slot.close, name="close", daemon=True).start()

    def wide(self) -> SessionPool:
        """A small pool beside this one whose sessions see with all roles of the user.

        A schema's owner drops what others made inside, and may not even see it: before a drop one looks as wide as one can.
        """
        with self._lock:
            if self._wide is None:
                self._wide = SessionPool(self.connection, 2, role=self.role, tag=self.tag, limits=self.limits, opener=self._open_wide)
                self._wide.counters = self.counters
            return self._wide

    def _open_wide(self, connection: Connection, **how: Any) -> Session:
        session = self._opener(connection, **how)
        with contextlib.suppress(Denied, Rejected):  # a policy of the account forbids it, or the session can have one role only
            session.execute("USE SECONDARY ROLES ALL")
        return session

    def close(self, seconds: float = 2.0) -> None:
        """Close the idle sessions now, side by side and within so many seconds, and each lent one as it comes back."""
        self._closed = True
        slots: list[Session | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                slots.append(self._idle.get_nowait())
        for _ in slots:
            self._idle.put(None)
        closing = [threading.Thread(target=slot.close, args=(seconds,), name="close", daemon=True) for slot in slots if slot is not None]
        for thread in closing:
            thread.start()
        end = time.monotonic() + seconds
        if self._wide is not None:
            self._wide.close(seconds)
        for thread in closing:
            thread.join(max(0.0, end - time.monotonic()))
