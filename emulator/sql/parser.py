"""A cursor over tokens for the account's own statements.

One small reader serves all object kinds: keywords, names (also `IDENTIFIER('x')`), literals and property lists in any order.
Everything unexpected is 1003/42000 with line and position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emulator import errors
from emulator.sql.lexer import Token, tokenize
from emulator.sql.names import QualifiedName


@dataclass(frozen=True)
class StageRef:
    """`@[db.][schema.]stage[/path]`. `~` and `%table` stages have `kind` user and table."""

    name: QualifiedName
    path: str
    kind: str = "named"


class Cursor:
    """Reads one statement from left to right."""

    def __init__(self, source: str, tokens: list[Token] | None = None) -> None:
        self.source = source
        self.tokens = tokens if tokens is not None else tokenize(source)
        self.index = 0

    # -- single tokens

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.index + ahead, len(self.tokens) - 1)]

    def next(self) -> Token:
        token = self.peek()
        if self.index < len(self.tokens) - 1:
            self.index += 1
        return token

    def at_end(self) -> bool:
        return self.peek().kind == "eof" or (self.peek().is_op(";") and self.peek(1).kind == "eof")

    def error(self, token: Token | None = None) -> errors.SqlError:
        token = token or self.peek()
        return errors.syntax_error(token.text, token.line, token.position)

    def end(self) -> None:
        """The statement must be over here."""
        if not self.at_end():
            raise self.error()

    def rest(self) -> str:
        """The unread source text, consumed."""
        text = self.source[self.peek().start :]
        self.index = len(self.tokens) - 1
        return text

    # -- keywords and operators

    def accept(self, *words: str) -> bool:
        """Consumes the keyword sequence if it is next."""
        if all(self.peek(i).is_word(word) for i, word in enumerate(words)):
            self.index += len(words)
            return True
        return False

    def accept_any(self, *words: str) -> str | None:
        """Consumes one of the single keywords, and gives it back."""
        return self.next().value if self.peek().is_word(*words) else None

    def expect(self, *words: str) -> None:
        for word in words:
            if not self.accept(word):
                raise self.error()

    def accept_op(self, op: str) -> bool:
        if self.peek().is_op(op):
            self.next()
            return True
        return False

    def expect_op(self, op: str) -> None:
        if not self.accept_op(op):
            raise self.error()

    # -- names

    def identifier(self) -> str:
        """One name part in stored form: unquoted is upper-cased."""
        if self.peek().is_word("IDENTIFIER") and self.peek(1).is_op("("):
            name = self.name()
            if len(name.parts) != 1:
                raise self.error()
            return name.name
        token = self.next()
        if token.kind in ("word", "quoted"):
            return token.value
        raise self.error(token)

    def name(self) -> QualifiedName:
        """A dotted name, `IDENTIFIER('a.b')`, or (as the drivers write it) a name in single quotes."""
        if self.peek().is_word("IDENTIFIER") and self.peek(1).is_op("("):
            self.next()
            self.expect_op("(")
            inner = Cursor(self.string()).name()
            self.expect_op(")")
            return inner
        if self.peek().kind == "string":
            return Cursor(self.next().value).name()
        parts = [self.identifier()]
        while self.peek().is_op("."):
            self.next()
            if self.peek().is_op("."):  # `db..object` means schema PUBLIC
                parts.append("PUBLIC")
                continue
            parts.append(self.identifier())
        if len(parts) > 3:
            raise self.error()
        return QualifiedName(tuple(parts))

    def names(self) -> list[QualifiedName]:
        """A list of names, with or without parentheses."""
        if not self.accept_op("("):
            return [self.name()]
        found: list[QualifiedName] = []
        while not self.accept_op(")"):
            found.append(self.name())
            self.accept_op(",")
        return found

    # -- literals

    def string(self) -> str:
        token = self.next()
        if token.kind != "string":
            raise self.error(token)
        return token.value

    def integer(self) -> int:
        sign = -1 if self.accept_op("-") else 1
        token = self.next()
        if token.kind in ("number", "string"):
            try:
                return sign * int(token.value)
            except ValueError:
                raise self.error(token) from None
        raise self.error(token)

    def boolean(self) -> bool:
        token = self.next()
        if token.kind in ("word", "string") and token.value.upper() in ("TRUE", "FALSE"):
            return token.value.upper() == "TRUE"
        raise self.error(token)

    def value(self) -> Any:
        """Any literal: str, int, float, bool, None, a word as written, or a list (in parentheses) of these.

        `(KEY = value …)` inside parentheses gives a dict with upper-case keys.
        """
        token = self.peek()
        if token.is_op("(") or token.is_op("["):
            return self._group()
        if token.is_op("-") or token.kind == "number":
            return self._number()
        self.next()
        if token.kind == "string":
            return token.value
        if token.kind == "word":
            if token.value in ("TRUE", "FALSE"):
                return token.value == "TRUE"
            if token.value == "NULL":
                return None
            if self.peek().is_op("."):
                self.index -= 1
                return str(self.name())
            return token.value
        if token.kind == "quoted":
            return token.value
        raise self.error(token)

    def _number(self) -> int | float:
        sign = -1 if self.accept_op("-") else 1
        token = self.next()
        if token.kind != "number":
            raise self.error(token)
        if token.value.isdigit():
            return sign * int(token.value)
        return sign * float(token.value)

    def _group(self) -> Any:
        closing = ")" if self.next().is_op("(") else "]"
        keyed: dict[str, Any] = {}
        plain: list[Any] = []
        while not self.accept_op(closing):
            if self.peek().kind in ("word", "quoted", "string") and self.peek(1).is_op("="):
                key = self.next().value
                self.expect_op("=")
                keyed[key.upper()] = self.value()
            else:
                plain.append(self.value())
            self.accept_op(",")
        return keyed if keyed and not plain else plain

    # -- property lists

    def properties(self, kinds: Mapping[str, str], what: str = "statement") -> dict[str, Any]:
        """`KEY = value` pairs in any order, until the statement ends or a word follows that is no known key.

        `kinds` maps the upper-case key to `string`, `int`, `bool`, `word` (upper-case), `name` (QualifiedName), `names`, `list`
        (of plain values) or `any`. A repeated key is a syntax error. `WITH` and commas between pairs are allowed.
        """
        found: dict[str, Any] = {}
        while not self.at_end():
            self.accept("WITH")
            self.accept_op(",")
            token = self.peek()
            if token.kind != "word" or token.value not in kinds or token.value in found:
                if token.kind == "word" and self.peek(1).is_op("=") and token.value not in found:
                    raise errors.invalid_option(token.value, what)
                if token.kind == "word" and token.value in found:
                    raise self.error(token)
                break
            self.next()
            self.accept_op("=")
            found[token.value] = self._typed(kinds[token.value], token.value)
        return found

    def _typed(self, kind: str, key: str) -> Any:
        token = self.peek()
        if token.is_word("NULL") and kind in ("string", "int"):
            self.next()
            return None
        if kind == "string":
            return self.string()
        if kind == "int":
            if token.kind == "word":
                raise errors.invalid_property(token.text, key)
            return self.integer()
        if kind == "bool":
            if token.kind not in ("word", "string") or token.value.upper() not in ("TRUE", "FALSE"):
                raise errors.invalid_property(token.text, key)
            return self.boolean()
        if kind == "word":
            value = self.value()
            return value.upper() if isinstance(value, str) else value
        if kind == "name":
            return self.name()
        if kind == "names":
            return self.names()
        if kind == "list":
            value = self.value()
            return value if isinstance(value, list) else [value]
        return self.value()

    def stage_ref(self) -> StageRef:
        """`@db.schema.stage/path`, quoted or not. The path ends at blank, `)`, `,` or `;`."""
        if self.peek().kind == "string":
            return Cursor(self.next().value).stage_ref()
        self.expect_op("@")
        kind = "named"
        if self.accept_op("~"):
            kind, name = "user", QualifiedName(("~",))
        else:
            if self.accept_op("%"):
                kind = "table"
            name = self.name()
        end = start = self.tokens[self.index - 1].end
        while end < len(self.source) and not self.source[end].isspace() and self.source[end] not in "),;'":
            end += 1
        path = self.source[start:end]
        if path and not path.startswith("/"):
            raise self.error()
        while self.peek().kind != "eof" and self.peek().start < end:
            self.next()
        return StageRef(name, path.strip("/") if path != "/" else "", kind)
