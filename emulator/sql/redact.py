"""Removes secret values from statement text before it is kept anywhere."""

from __future__ import annotations

from emulator.errors import SqlError
from emulator.sql.lexer import tokenize

_SECRET_KEYS = {
    "PASSWORD",
    "SECRET_STRING",
    "OAUTH_REFRESH_TOKEN",
    "OAUTH_CLIENT_SECRET",
    "AWS_SECRET_KEY",
    "AZURE_SAS_TOKEN",
    "MASTER_KEY",
    "TOKEN",
}


def redact(text: str) -> str:
    """`text` with the values after secret keys replaced by `'***'`. Text that cannot be read as tokens is dropped."""
    try:
        tokens = tokenize(text)
    except SqlError:
        return "<unreadable statement>"
    parts, at = [], 0
    for key, equals, value in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if key.kind == "word" and key.value in _SECRET_KEYS and equals.is_op("=", "=>") and value.kind == "string":
            parts += [text[at : value.start], "'***'"]
            at = value.end
    return "".join([*parts, text[at:]])
