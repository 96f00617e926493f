"""How many statements of which class were sent, and how many of them while a warehouse was set.

Shown by `snowcat` and checked by tests: a steady cycle sends SHOW and DESCRIBE only, and never with a warehouse.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum


class StatementClass(StrEnum):
    SHOW = "SHOW"
    DESCRIBE = "DESCRIBE"
    DDL = "DDL"
    GRANT = "GRANT"
    DML = "DML"
    SELECT = "SELECT"
    FILES = "FILES"  # PUT, GET, LIST, REMOVE
    SESSION = "SESSION"  # USE, ALTER SESSION, BEGIN, COMMIT, ROLLBACK
    CALL = "CALL"  # CALL, EXECUTE
    OTHER = "OTHER"


_FIRST_WORD: Mapping[str, StatementClass] = {
    "SHOW": StatementClass.SHOW,
    "DESCRIBE": StatementClass.DESCRIBE,
    "DESC": StatementClass.DESCRIBE,
    **dict.fromkeys(("CREATE", "ALTER", "DROP", "COMMENT", "UNDROP", "TRUNCATE"), StatementClass.DDL),
    **dict.fromkeys(("GRANT", "REVOKE"), StatementClass.GRANT),
    **dict.fromkeys(("INSERT", "UPDATE", "DELETE", "MERGE", "COPY"), StatementClass.DML),
    **dict.fromkeys(("SELECT", "WITH"), StatementClass.SELECT),
    **dict.fromkeys(("PUT", "GET", "LIST", "LS", "REMOVE", "RM"), StatementClass.FILES),
    **dict.fromkeys(("USE", "BEGIN", "COMMIT", "ROLLBACK", "SET", "UNSET"), StatementClass.SESSION),
    **dict.fromkeys(("CALL", "EXECUTE"), StatementClass.CALL),
}
_WORD = re.compile(r"\s*([A-Za-z]+)(?:\s+([A-Za-z]+))?")


def class_of_statement(text: str) -> StatementClass:
    """The class of one statement, from its first words."""
    match = _WORD.match(text)
    if match is None:
        return StatementClass.OTHER
    first, second = match[1].upper(), (match[2] or "").upper()
    if (first, second) == ("ALTER", "SESSION"):
        return StatementClass.SESSION
    return _FIRST_WORD.get(first, StatementClass.OTHER)


class Counters:
    """Counts of one session, added up into its parent's (the pool's). Safe for use from several threads."""

    def __init__(self, parent: Counters | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._counts: Counter[StatementClass] = Counter()
        self._in_warehouse = 0
        self.with_warehouse = False

    def child(self) -> Counters:
        return Counters(self)

    def add(self, text: str) -> StatementClass:
        """Count one statement; its class."""
        kind = class_of_statement(text)
        self._add(kind, self.with_warehouse)
        return kind

    def _add(self, kind: StatementClass, in_warehouse: bool) -> None:
        with self._lock:
            self._counts[kind] += 1
            self._in_warehouse += in_warehouse
        if self._parent is not None:
            self._parent._add(kind, in_warehouse)

    @property
    def by_class(self) -> dict[StatementClass, int]:
        with self._lock:
            return dict(self._counts)

    @property
    def total(self) -> int:
        return sum(self.by_class.values())

    @property
    def in_warehouse(self) -> int:
        """Statements sent while a warehouse was set by `Session.warehouse`: the only ones that can cost credits of one."""
        return self._in_warehouse
