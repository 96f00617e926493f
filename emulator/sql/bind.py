"""Binds, session variables and IDENTIFIER(): turned into plain text before anything is parsed.

Everything after this step sees one kind of statement, so neither the account's grammar nor the query engine knows about binds.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from emulator import errors
from emulator.sql.lexer import Token, tokenize


def literal(value: Any) -> str:
    """A Python value as a SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"'{text}'"


def bind_literal(kind: str, value: str | None) -> str:
    """A wire bind (`type`, `value` as text) as a SQL literal with its type."""
    if value is None:
        return "NULL"
    kind = kind.upper()
    if kind in ("FIXED", "REAL"):
        try:
            float(value)
        except ValueError:
            return literal(value)
        return value if kind == "FIXED" else f"{value}::FLOAT"
    if kind == "BOOLEAN":
        return "TRUE" if value.lower() in ("true", "1") else "FALSE"
    if kind == "DATE":
        day = dt.date(1970, 1, 1) + dt.timedelta(milliseconds=int(value))
        return f"'{day.isoformat()}'::DATE"
    if kind == "TIME":
        return f"'{_clock(int(value))}'::TIME"
    if kind in ("TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ"):
        return f"'{_moment(value, kind)}'::{kind}"
    if kind == "BINARY":
        return f"TO_BINARY('{value}', 'HEX')"
    return literal(value)


def _clock(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest // 1000:06d}"


def _moment(value: str, kind: str) -> str:
    nanoseconds = int(value.split()[0])
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=nanoseconds // 1000)
    return moment.isoformat(sep=" ") + ("" if kind == "TIMESTAMP_NTZ" else "+00:00")


def substitute(text: str, binds: Mapping[str, Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
    """`text` with `?` and `:n` binds, `$variables` and IDENTIFIER('x') replaced. Raises 904-like errors for a missing one."""
    tokens = tokenize(text)
    if binds:
        tokens, text = _fill(text, tokens, binds)
    if any(t.kind == "variable" and not t.value.isdigit() for t in tokens):
        text = _variables(text, tokens, variables)
        tokens = tokenize(text)
    if any(t.is_word("IDENTIFIER") for t in tokens):
        text = _identifiers(text, tokens)
    return text


def _replace(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    parts, at = [], 0
    for start, end, new in spans:
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def _fill(text: str, tokens: list[Token], binds: Mapping[str, Mapping[str, Any]]) -> tuple[list[Token], str]:
    rows = max((len(b["value"]) for b in binds.values() if isinstance(b.get("value"), list)), default=0)
    if rows:
        return _array(text, tokens, binds, rows)
    text = _replace(text, _spans(tokens, binds, None))
    return tokenize(text), text


def _spans(tokens: list[Token], binds: Mapping[str, Mapping[str, Any]], row: int | None) -> list[tuple[int, int, str]]:
    spans, index = [], 0
    for token, following in itertools.pairwise(tokens):
        if token.is_op("?"):
            index += 1
            spans.append((token.start, token.end, _one(binds, str(index), row)))
        elif token.is_op(":") and following.kind == "number" and following.start == token.end and following.value in binds:
            spans.append((token.start, following.end, _one(binds, following.value, row)))
    return spans


def _one(binds: Mapping[str, Mapping[str, Any]], key: str, row: int | None) -> str:
    bind = binds.get(key)
    if bind is None:
        raise errors.SqlError(2049, "42601", f"{errors.COMPILATION}Bind variable ? not set.")
    value = bind.get("value")
    if row is not None and isinstance(value, list):
        value = value[row]
    return bind_literal(str(bind.get("type", "TEXT")), value)


def _array(text: str, tokens: list[Token], binds: Mapping[str, Mapping[str, Any]], rows: int) -> tuple[list[Token], str]:
    """An INSERT … VALUES (?, …) with array binds: the tuple is repeated once a row."""
    at = next((i for i, token in enumerate(tokens) if token.is_word("VALUES")), None)
    if at is None or not tokens[at + 1].is_op("("):
        raise errors.unsupported("array binds outside INSERT … VALUES")
    depth, last = 0, at + 1
    for last in range(at + 1, len(tokens)):
        depth += 1 if tokens[last].is_op("(") else -1 if tokens[last].is_op(")") else 0
        if depth == 0:
            break
    start, end = tokens[at + 1].start, tokens[last].end
    body = text[start:end]
    inner = tokenize(body)
    tuples = [_replace(body, _spans(inner, binds, row)) for row in range(rows)]
    text = text[:start] + ",\n".join(tuples) + text[end:]
    return tokenize(text), text


def _variables(text: str, tokens: list[Token], variables: Mapping[str, Any]) -> str:
    spans = []
    for token in tokens:
        if token.kind == "variable" and not token.value.isdigit():
            if token.value not in variables:
                raise errors.SqlError(2211, "02000", f"{errors.COMPILATION}Session variable '${token.value}' does not exist")
            spans.append((token.start, token.end, literal(variables[token.value])))
    return _replace(text, spans)


def _identifiers(text: str, tokens: list[Token]) -> str:
    spans = []
    for i, token in enumerate(tokens[:-3]):
        if token.is_word("IDENTIFIER") and tokens[i + 1].is_op("(") and tokens[i + 3].is_op(")") and tokens[i + 2].kind == "string":
            spans.append((token.start, tokens[i + 3].end, tokens[i + 2].value))
    return _replace(text, spans)
