"""The texts of a SELECT's projections: Snowflake names a column without an alias after them."""

from __future__ import annotations

from emulator.sql.lexer import tokenize


def projection_texts(text: str) -> list[str] | None:
    """The projections of a statement that begins with SELECT, as written; None for other statements."""
    tokens = tokenize(text)
    if not tokens[0].is_word("SELECT"):
        return None
    index = 2 if tokens[1].is_word("DISTINCT", "ALL") else 1
    found: list[str] = []
    start, depth = tokens[index].start, 0
    end = start
    for token in tokens[index:]:
        closing = (
            token.kind == "eof" or token.is_op(";") or token.is_word("FROM", "WHERE", "UNION", "ORDER", "LIMIT", "EXCEPT", "INTERSECT")
        )
        if depth == 0 and (closing or token.is_op(",")):
            found.append(text[start:end])
            if closing:
                break
            start = -1
            continue
        if start < 0:
            start = token.start
        depth += token.is_op("(", "[", "{") - token.is_op(")", "]", "}")
        end = token.end
    return found
