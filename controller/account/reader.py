"""Asks many SHOW and DESCRIBE questions side by side and hands back the answers, for `controller.account.snapshot`."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import structlog

from controller.account.errors import AccountError, Denied, NotFound, TimedOut
from controller.account.pool import SessionPool
from controller.account.snapshot import Missing, Read, Row
from controller.account.tracing import carried

log = structlog.get_logger("snowcat.account")

SHOW_LIMIT = 10_000
"""Snowflake cuts every SHOW here, before filters (docs: sql-reference/sql/show-services)."""

FOR_WORK = 2
"""Sessions of a pool that a look leaves free, so that what a person has just saved need not wait for it."""


def read(pool: SessionPool, reads: Iterable[Read], *, first: bool = False) -> dict[Read, tuple[Row, ...] | Missing]:
    """The answer to each question. What is missing or may not be seen by this role answers `Missing`; what hung is left without an answer.
    `first`: before other reads that wait for a session.

    Raises:
        TimedOut: several questions, and all of them hung.
        AccountError: any other answer; of several, the first in the order of the questions. None is half an answer: the caller tries again.
    """
    wanted = list(dict.fromkeys(reads))
    if not wanted:
        return {}
    ask = carried(_ask)
    with ThreadPoolExecutor(max_workers=min(max(1, pool.size - FOR_WORK), len(wanted)), thread_name_prefix="read") as workers:
        asked = [workers.submit(ask, pool, question, first) for question in wanted]
        try:
            answers = [question.result() for question in asked]
            silent = [answer for answer in answers if isinstance(answer, TimedOut)]
            if len(silent) == len(answers) > 1:
                raise silent[0]
        except AccountError:
            workers.shutdown(wait=False, cancel_futures=True)  # each question to an account that is away takes its time
            raise
    return {question: answer for question, answer in zip(wanted, answers, strict=True) if not isinstance(answer, TimedOut)}


def _ask(pool: SessionPool, question: Read, first: bool) -> tuple[Row, ...] | Missing | TimedOut:
    try:
        with pool.session(first=first) as session:
            rows = session.execute(question.sql).rows
    except (NotFound, Denied) as error:
        return Missing(error.message)
    except TimedOut as error:
        log.warning("a question hung", statement=question.sql, error=error.message)
        return error
    if len(rows) >= SHOW_LIMIT:
        log.warning("answer cut by the account", statement=question.sql, rows=len(rows))
    return rows


def current_role(pool: SessionPool) -> str:
    """The role that the pool's sessions work as.

    Raises:
        AccountError: as `SessionPool.session`.
    """
    with pool.session() as session:
        return session.role
