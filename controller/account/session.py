"""One session with an account: statements in, rows out, errors classed, secrets redacted, every statement counted.

Written against what the driver's 4.x and 5.x lines share: `connect`, `cursor`, and the common `errors.Error` with `errno` and `sqlstate`.
A session works for one thread at a time; `controller.account.pool.SessionPool` lends them out.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import structlog

from controller.account import statements
from controller.account.answering import SLOW
from controller.account.connections import DRIVER_RETRIES, Connection
from controller.account.counters import Counters, class_of_statement
from controller.account.driver import DriverError, connector
from controller.account.driver_errors import from_driver
from controller.account.errors import AccountError, NotFound, Rejected, StageFull, TimedOut, Transient
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
_SHORT = 60.0  # seconds: what may take no longer is expected to be answered soon
_TOLD = 100  # characters of a statement in the message of an error
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
    """One open connection. Made by `open_session` or lent by a `SessionPool` (controller.account.pool)."""

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
        told = shown.partition("\n")[0]
        told = told if len(told) <= _TOLD else f"{told[:_TOLD]}…"
        started, answering = time.monotonic(), self.limits.answering
        slow = SLOW if seconds <= _SHORT else None
        try:
            result = self.line.call(
                lambda: self._ask_driver(text, parameters, seconds),
                seconds + _CANCEL,
                told,
                slow=slow,
                notice=lambda: answering.missed(started),
            )
            answering.answered()
            return result
        except DriverError as error:
            classed = self._classed(error, shown)
            answering.failed(classed)
            if error.errno in tolerate:
                return Result(tolerated=error.errno)
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
        with contextlib.closing(self.driver.cursor()) as cursor:
            if DRIVER_CANCELS:
                cursor.execute(text, parameters, timeout=math.ceil(seconds))
            else:
                cursor.execute(text, parameters)
            columns = tuple(
                sys.intern(str(column[0]).lower()) for column in cursor.description or ()
            )  # one text for all rows of all answers
            rows = tuple(dict(zip(columns, row, strict=True)) for row in cursor.fetchall()) if columns else ()
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
        place = local.parent.resolve() / local.name  # not what it may be a link to: that has another name
        if "'" in str(place):
            raise Rejected(f"{local}: a file with a quote in its path cannot be uploaded; rename it")
        if "'" in folder:
            raise Rejected(f"a file cannot be uploaded to {folder} of @{stage.sql}: take the quote out of the folder's name")
        try:
            stored = self.execute(statements.put(str(place), stage, folder, compress=compress)).rows
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

    def list_files(self, stage: QualifiedName, path: str, pattern: str = "") -> dict[str, int]:
        """The sizes in bytes of the files below a folder of a stage whose whole path is like the pattern, by path, the stage's name first.

        Empty where there is no such stage.

        Raises:
            AccountError: anything but absence.
        """
        try:
            rows = self.execute(statements.list_stage(stage, path, pattern)).rows
        except NotFound:
            return {}
        return {str(row.get("name", "")): int(row.get("size") or 0) for row in rows}

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
    answering, started = limits.answering, time.monotonic()
    if "backoff_policy" in arguments:
        arguments["backoff_policy"] = partial(answering.waits, arguments["backoff_policy"])
    parameters = {**SESSION_PARAMETERS, "QUERY_TAG": tag}
    told = f"login to {connection.address}"
    try:
        driver = line.call(
            lambda: connector.connect(**arguments, session_parameters=parameters),
            limits.timeouts.login,
            told,
            slow=SLOW,
            notice=lambda: answering.missed(started),
        )
        answering.answered()
    except AccountError:
        raise
    except (DriverError, OSError, ValueError, TypeError) as error:  # key files, certificates, sockets: raised as they are by the driver
        line.break_off()
        explained = connection.explain(error, role=role)
        answering.failed(explained)
        raise explained from None
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
