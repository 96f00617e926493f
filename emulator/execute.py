"""From a query request to an answer: split, bind, dispatch to the account's grammar or the query engine, encode."""

from __future__ import annotations

import sys
import threading
import time
import traceback
import uuid
from typing import TYPE_CHECKING, Any

from emulator import errors, parameters
from emulator.commands.context import CommandContext
from emulator.commands.registry import find_command
from emulator.results import ResultSet
from emulator.session import Session
from emulator.sql.bind import substitute
from emulator.sql.lexer import split_statements, tokenize
from emulator.sql.parser import Cursor
from emulator.sql.redact import redact
from emulator.wire import responses
from emulator.wire.statements import Statement

if TYPE_CHECKING:
    from emulator.account import Account


class TransferAnswer(Exception):
    """PUT and GET answer with data of their own shape instead of rows."""

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__("stage transfer")
        self.data = data


def submit(account: Account, session: Session, body: dict[str, Any], request_id: str) -> Statement:
    """Starts the request's statement(s) on a thread."""
    text = str(body.get("sqlText") or "")

    def run(statement: Statement) -> None:
        run_request(account, statement, text, body)

    return account.statements.start(session, redact(text), request_id, run)


def run_request(account: Account, statement: Statement, text: str, body: dict[str, Any]) -> None:
    """Runs it to its end and sets its response."""
    try:
        count = _number(body, "MULTI_STATEMENT_COUNT", 1)
        parts = split_statements(text)
        if not parts:
            raise errors.empty_statement()
        if (count != 1 and len(parts) > 1) or count > 1:
            if count not in (0, len(parts)):
                raise _count_mismatch(len(parts), count)
            _run_many(account, statement, parts, body)
            return
        if len(parts) > 1:
            raise _count_mismatch(len(parts), 1)
        _run_one(account, statement, parts[0], body)
    except Exception as error:  # noqa: BLE001 - whatever fails must reach the client as a SQL error
        fail(statement, error)


def _number(body: dict[str, Any], name: str, default: int) -> int:
    """A numeric parameter of the request. Raises 1008 for what is no number."""
    given = body.get("parameters")
    value = given.get(name, default) if isinstance(given, dict) else default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise errors.invalid_parameter(value, name) from None


def _count_mismatch(actual: int, wanted: int) -> errors.SqlError:
    return errors.SqlError(8, "0A000", f"Actual statement count {actual} did not match the desired statement count {wanted}.")


def fail(statement: Statement, error: Exception) -> None:
    """Turns whatever happened into a SQL error: a 5xx would make the driver run the statement again."""
    if not isinstance(error, errors.SqlError):
        traceback.print_exception(error, file=sys.stderr)
        error = errors.internal(f"{type(error).__name__}: {error}")
    if statement.timed_out is not None:
        error = errors.statement_timeout(statement.timed_out)
    elif statement.cancelled.is_set() and error.errno != 604:
        error = errors.canceled()
    statement.error = error
    statement.response = responses.failure(error, statement.query_id)


def _run_one(account: Account, statement: Statement, text: str, body: dict[str, Any]) -> None:
    session = statement.session
    ctx = _context(account, statement, text)
    timer = time_limit(statement, session, body)
    try:
        result = run_statement(ctx, text, _bindings(body), describe_only=bool(body.get("describeOnly")))
    except TransferAnswer as transfer:
        statement.response = responses.stage_transfer(transfer.data, statement, session)
        return
    finally:
        timer.cancel()
        statement.used_warehouse = ctx.used_warehouse
        statement.warehouse = session.warehouse
        account.save(session)
    _remember(session, statement.query_id)
    statement.result = result
    statement.response = responses.success(result, statement, session)
    statement.bytes = result.arrow.nbytes if result.arrow is not None else 200 * len(result.rows)


def _bindings(body: dict[str, Any]) -> dict[str, Any]:
    given = body.get("bindings") or {}
    if not isinstance(given, dict) or not all(isinstance(bind, dict) for bind in given.values()):
        raise errors.invalid_parameter("bindings", "BINDINGS")
    return given


def time_limit(statement: Statement, session: Session, body: dict[str, Any]) -> threading.Timer:
    """A running timer that cancels the statement when it takes longer than STATEMENT_TIMEOUT_IN_SECONDS."""
    default = int(session.parameters.get("STATEMENT_TIMEOUT_IN_SECONDS") or parameters.TIMEOUT_SECONDS)
    seconds = _number(body, "STATEMENT_TIMEOUT_IN_SECONDS", default) or default

    def stop() -> None:
        statement.timed_out = seconds
        statement.cancel()

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    return timer


def _remember(session: Session, query_id: str) -> None:
    session.last_query_ids.append(query_id)
    del session.last_query_ids[:-50]


def _context(account: Account, statement: Statement, text: str) -> CommandContext:
    return CommandContext(
        account,
        statement.session,
        query_id=statement.query_id,
        text=text,
        cancelled=statement.cancelled,
        on_cancel=statement.on_cancel,
        past=statement.past,
    )


def _run_many(account: Account, parent: Statement, parts: list[str], body: dict[str, Any]) -> None:
    children: list[Statement] = []
    types: list[int] = []
    for text in parts:
        child = Statement(
            str(uuid.uuid4()),
            parent.session,
            redact(text),
            role=parent.session.role,
            warehouse=parent.session.warehouse,
            cancelled=parent.cancelled,
            on_cancel=parent.on_cancel,
        )
        account.statements.add(child)
        children.append(child)
        try:
            _run_one(account, child, text, body)
        except Exception as error:
            fail(child, error)
            raise
        finally:
            child.ended = time.time()
        types.append(child.result.statement_type if child.result is not None else 0x4000)
    parent.children = [child.query_id for child in children]
    parent.response = responses.multi(parent, children, types, parent.session)


def run_statement(ctx: CommandContext, text: str, binds: dict[str, Any] | None = None, *, describe_only: bool = False) -> ResultSet:
    """Runs one statement with everything that it may be. Raises SqlError."""
    ctx.check_cancelled()
    text = substitute(text, binds or {}, ctx.session.variables)
    steps = _pipe(text)
    results: list[ResultSet] = []
    for step in steps:
        results.append(_run_step(ctx, step, results, describe_only))
    return results[-1]


def _run_step(ctx: CommandContext, text: str, earlier: list[ResultSet], describe_only: bool) -> ResultSet:
    ctx.text = text
    cursor = method_call(Cursor(text))
    if cursor.at_end():
        raise errors.empty_statement()
    found = None if describe_only and cursor.peek().is_word("SELECT", "WITH") else find_command(cursor)
    if found is not None:
        handler, ctx.modifiers = found
        return handler(ctx, cursor)
    return ctx.account.engine.query(ctx, text, earlier, describe_only=describe_only)


def method_call(cursor: Cursor) -> Cursor:
    """`SELECT object!METHOD(…)` is the same as CALL; everything else stays as it is."""
    ahead = 1
    while cursor.peek(ahead).kind in ("word", "quoted") and cursor.peek(ahead + 1).is_op("."):
        ahead += 2
    if cursor.peek().is_word("SELECT") and cursor.peek(ahead + 1).is_op("!"):
        return Cursor("CALL" + cursor.source[cursor.peek().end :])
    return cursor


def _pipe(text: str) -> list[str]:
    """The steps of a `->>` chain; one step without."""
    steps, start = [], 0
    for token in tokenize(text):
        if token.is_op("->>"):
            steps.append(text[start : token.start])
            start = token.end
    return [*steps, text[start:]]
