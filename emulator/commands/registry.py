"""Dispatch tables: which function runs which statement, SYSTEM$ function or table function.

    @command("CREATE", "STAGE")
    def create_stage(ctx: CommandContext, cursor: Cursor) -> ResultSet: ...

The words before the object kind (OR REPLACE, TEMPORARY …) and IF [NOT] EXISTS after it are read here and given in
`ctx.modifiers`; the cursor then stands on the name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emulator import errors
from emulator.results import ResultSet
from emulator.sql.parser import Cursor

if TYPE_CHECKING:
    from emulator.commands.context import CommandContext

Handler = Callable[["CommandContext", Cursor], ResultSet]
SystemFunction = Callable[["CommandContext", list[Any]], Any]

_ADJECTIVES = ("TEMPORARY", "TEMP", "TRANSIENT", "VOLATILE", "LOCAL", "GLOBAL", "SECURE", "RECURSIVE")
_OBJECT_VERBS = ("CREATE", "ALTER", "DROP", "DESCRIBE", "SHOW", "EXECUTE")
_LAST_WORDS = frozenset(  # of kinds whose names have several words
    {"TABLE", "VIEW", "POLICY", "INTEGRATION", "MONITOR", "GROUP", "TABLES", "VIEWS", "POLICIES", "INTEGRATIONS", "MONITORS", "GROUPS"}
)
_commands: dict[tuple[str, ...], Handler] = {}
_system_functions: dict[str, SystemFunction] = {}
_table_functions: dict[str, Callable[[CommandContext, list[Any]], ResultSet]] = {}


@dataclass(frozen=True)
class Modifiers:
    """What stands around the kind in CREATE, ALTER and DROP."""

    or_replace: bool = False
    if_not_exists: bool = False
    if_exists: bool = False
    temporary: bool = False
    terse: bool = False
    adjectives: frozenset[str] = frozenset()  # words between CREATE and the kind: `TRANSIENT`


def command(*words: str) -> Callable[[Handler], Handler]:
    """Registers a statement by its leading keywords (`DESCRIBE` also serves `DESC`). The longest match wins."""

    def register(handler: Handler) -> Handler:
        if words in _commands:
            raise ValueError(f"two handlers for {' '.join(words)}")
        _commands[words] = handler
        return handler

    return register


def system_function(name: str) -> Callable[[SystemFunction], SystemFunction]:
    """Registers `SYSTEM$…` for CALL and for SELECT with constant arguments (given as plain values)."""

    def register(function: SystemFunction) -> SystemFunction:
        _system_functions[name.upper()] = function
        return function

    return register


def table_function(
    name: str,
) -> Callable[[Callable[[CommandContext, list[Any]], ResultSet]], Callable[[CommandContext, list[Any]], ResultSet]]:
    """Registers a function for `TABLE(name(…))`. A method of an object is registered with its `!`: `!SPCS_GET_LOGS` gets the
    object's name as first argument; `INFORMATION_SCHEMA.X` is registered as `X`."""

    def register(
        function: Callable[[CommandContext, list[Any]], ResultSet],
    ) -> Callable[[CommandContext, list[Any]], ResultSet]:
        _table_functions[name.upper()] = function
        return function

    return register


def find_system_function(name: str) -> SystemFunction | None:
    return _system_functions.get(name.upper())


def find_table_function(name: str) -> Callable[[CommandContext, list[Any]], ResultSet] | None:
    return _table_functions.get(name.upper())


def find_command(cursor: Cursor) -> tuple[Handler, Modifiers] | None:
    """Finds the statement's handler and moves the cursor behind its keywords; None (cursor unmoved) if there is none.

    Raises SqlError 2 for a kind of object that this account does not have.
    """
    start = cursor.index
    first = cursor.peek()
    if first.kind != "word":
        return None
    verb = "DESCRIBE" if first.value == "DESC" else first.value
    cursor.next()
    or_replace = terse = False
    adjectives: set[str] = set()
    if verb == "CREATE":
        if cursor.accept("OR"):
            if not (cursor.accept("REPLACE") or cursor.accept("ALTER")):
                raise cursor.error()
            or_replace = True
        while cursor.peek().is_word(*_ADJECTIVES):
            adjectives.add(cursor.next().value)
    elif verb == "SHOW":
        terse = cursor.accept("TERSE")
    handler = _longest(verb, cursor)
    if handler is None:
        if verb in _OBJECT_VERBS and cursor.peek().kind == "word" and (verb == "SHOW" or cursor.peek(1).kind != "eof"):
            raise errors.unsupported(_kind(cursor))
        cursor.index = start
        return None
    if_not_exists = verb == "CREATE" and cursor.accept("IF", "NOT", "EXISTS")
    if_exists = verb in ("ALTER", "DROP", "COMMENT") and cursor.accept("IF", "EXISTS")
    if or_replace and if_not_exists:
        raise cursor.error(cursor.peek(-3))
    temporary = bool(adjectives & {"TEMPORARY", "TEMP", "VOLATILE"})
    return handler, Modifiers(or_replace, if_not_exists, if_exists, temporary, terse, frozenset(adjectives))


def _kind(cursor: Cursor) -> str:
    """The kind of object that the cursor stands on: `SEQUENCE`, `MATERIALIZED VIEW`."""
    words = [cursor.peek(ahead).value for ahead in range(3)]
    if words[1] in ("IN", "ON", "LIKE"):
        return words[0]
    return " ".join(words[: next((length for length in (2, 3) if words[length - 1] in _LAST_WORDS), 1)])


def _longest(verb: str, cursor: Cursor) -> Handler | None:
    best: Handler | None = _commands.get((verb,))
    length = 0
    words = [verb]
    ahead = 0
    while ahead < 4 and cursor.peek(ahead).kind == "word":
        words.append(cursor.peek(ahead).value)
        ahead += 1
        if tuple(words) in _commands:
            best, length = _commands[tuple(words)], ahead
    cursor.index += length
    return best
