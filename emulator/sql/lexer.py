"""Tokens of Snowflake SQL.

The account's own grammar is read from tokens, never by regular expressions over the text: comments, `$$` bodies and quoted names
would break those.
"""

from __future__ import annotations

from dataclasses import dataclass

from emulator import errors

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f"}
_OPERATORS = ("->>", "<=>", "::", "=>", "->", "<=", ">=", "<>", "!=", "||")


@dataclass(frozen=True)
class Token:
    """One token. `kind`: word, quoted, string, number, variable (`$1`), op, eof.

    `value` is the meaning (unescaped, words upper-case), `text` the source; `line` counts from 1, `position` from 0.
    """

    kind: str
    text: str
    value: str
    line: int
    position: int
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.value in words

    def is_op(self, *ops: str) -> bool:
        return self.kind == "op" and self.text in ops


class _Lexer:
    def __init__(self, source: str) -> None:
        self.source = source
        self.index = 0
        self.line = 1
        self.line_start = 0
        self.tokens: list[Token] = []

    def run(self) -> list[Token]:
        while True:
            self._skip_blank()
            if self.index >= len(self.source):
                break
            self._one()
        self._emit("eof", self.index, "<EOF>", "<EOF>")
        return self.tokens

    def _emit(self, kind: str, start: int, text: str, value: str) -> None:
        self.tokens.append(Token(kind, text, value, self.line, start - self.line_start, start, self.index))

    def _newlines(self, start: int) -> None:
        """Moves the line counter over what lies between `start` and the current index."""
        at = self.source.find("\n", start, self.index)
        while at >= 0:
            self.line += 1
            self.line_start = at + 1
            at = self.source.find("\n", at + 1, self.index)

    def _fail(self, start: int) -> errors.SqlError:
        return errors.syntax_error(self.source[start : start + 20], self.line, start - self.line_start)

    def _skip_blank(self) -> None:
        source = self.source
        while self.index < len(source):
            start = self.index
            char = source[start]
            if char.isspace():
                self.index += 1
            elif source.startswith("--", start) or self._slash_comment(start):
                end = source.find("\n", start)
                self.index = len(source) if end < 0 else end
            elif source.startswith("/*", start) and not self._in_file_address(start):
                end = source.find("*/", start + 2)
                if end < 0:
                    raise self._fail(start)
                self.index = end + 2
            else:
                return
            self._newlines(start)

    def _in_file_address(self, at: int) -> bool:
        """`/*` opens a comment, but not in `file:///folder/*`."""
        begin = max(self.source.rfind(blank, 0, at) for blank in " \t\n")
        return self.source.startswith("file://", begin + 1)

    def _slash_comment(self, at: int) -> bool:
        """`//` opens a comment, but not in `file:///x`."""
        return self.source.startswith("//", at) and (at == 0 or self.source[at - 1] not in ":/")

    def _one(self) -> None:
        source, start = self.source, self.index
        char = source[start]
        if char == "'":
            self._string(start)
        elif source.startswith("$$", start):
            end = source.find("$$", start + 2)
            if end < 0:
                raise self._fail(start)
            self._finish("string", start, end + 2, source[start + 2 : end])
        elif char == '"':
            self._quoted(start)
        elif char.isalpha() or char == "_":
            end = start + 1
            while end < len(source) and (source[end].isalnum() or source[end] in "_$"):
                end += 1
            self._finish("word", start, end, source[start:end].upper())
        elif char.isdigit() or (char == "." and source[start + 1 : start + 2].isdigit() and not self._after_name()):
            self._number(start)
        elif char == "$" and (source[start + 1 : start + 2].isalnum() or source[start + 1 : start + 2] == "_"):
            end = start + 1
            while end < len(source) and (source[end].isalnum() or source[end] == "_"):
                end += 1
            self._finish("variable", start, end, source[start + 1 : end].upper())
        else:
            text = next((op for op in _OPERATORS if source.startswith(op, start)), char)
            self._finish("op", start, start + len(text), text)

    def _after_name(self) -> bool:
        last = self.tokens[-1] if self.tokens else None
        return last is not None and last.kind in ("word", "quoted") and last.end == self.index

    def _finish(self, kind: str, start: int, end: int, value: str) -> None:
        self.index = end
        self._emit(kind, start, self.source[start:end], value)
        self._newlines(start)

    def _string(self, start: int) -> None:
        source, at, parts = self.source, start + 1, []
        while at < len(source):
            char = source[at]
            if char == "\\" and at + 1 < len(source):
                following = source[at + 1]
                if following == "u" and at + 6 <= len(source):
                    try:
                        parts.append(chr(int(source[at + 2 : at + 6], 16)))
                        at += 6
                        continue
                    except ValueError:
                        raise self._fail(at) from None
                parts.append(_ESCAPES.get(following, following))
                at += 2
            elif char == "'":
                if source.startswith("''", at):
                    parts.append("'")
                    at += 2
                else:
                    self._finish("string", start, at + 1, "".join(parts))
                    return
            else:
                parts.append(char)
                at += 1
        raise self._fail(start)

    def _quoted(self, start: int) -> None:
        source, at, parts = self.source, start + 1, []
        while at < len(source):
            if source[at] == '"':
                if source.startswith('""', at):
                    parts.append('"')
                    at += 2
                    continue
                self._finish("quoted", start, at + 1, "".join(parts))
                return
            parts.append(source[at])
            at += 1
        raise self._fail(start)

    def _number(self, start: int) -> None:
        source, at = self.source, start
        while at < len(source) and (source[at].isdigit() or source[at] == "."):
            at += 1
        if at < len(source) and source[at] in "eE":
            after = at + 1
            if source[after : after + 1] in ("+", "-"):
                after += 1
            if source[after : after + 1].isdigit():
                at = after
                while at < len(source) and source[at].isdigit():
                    at += 1
        self._finish("number", start, at, source[start:at])


def tokenize(source: str) -> list[Token]:
    """All tokens of `source`, with an `eof` token last. Raises 1003 for an unclosed string, name or comment."""
    return _Lexer(source).run()


def split_statements(source: str) -> list[str]:
    """The statements of a `;`-separated text, without the semicolons and without empty ones."""
    parts: list[str] = []
    first: int | None = None
    last = 0
    for token in tokenize(source):
        if token.kind == "eof" or token.is_op(";"):
            if first is not None:
                parts.append(source[first:last])
            first = None
            continue
        if first is None:
            first = token.start
        last = token.end
    return parts
