"""Identifiers as Snowflake compares, stores and quotes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.names import Identifier, NameProblem, QualifiedName


@pytest.mark.parametrize(
    ("reason", "written", "stored", "sql"),
    [
        ("bare names fold to upper case", "llm_pool", "LLM_POOL", "LLM_POOL"),
        ("case does not count", "Llm_Pool", "LLM_POOL", "LLM_POOL"),
        ("quoted names keep their case", '"Mixed Case"', "Mixed Case", '"Mixed Case"'),
        ("a quoted name that needs no quotes is the bare one", '"POOL"', "POOL", "POOL"),
        ("a quote within is doubled", '"a""b"', 'a"b', '"a""b"'),
        ("a reserved word", "order", "ORDER", '"ORDER"'),
        ("a word that SHOW … IN takes for another", "account", "ACCOUNT", '"ACCOUNT"'),
        ("a word that may stand before a name", "if", "IF", '"IF"'),
        ("a word in another case is a name like any", '"order"', "order", '"order"'),
        ("dollars and digits", "a$1", "A$1", "A$1"),
    ],
)
def test_names_are_stored_and_quoted(reason: str, written: str, stored: str, sql: str) -> None:
    name = Identifier.parse(written)
    assert (name.text, name.sql) == (stored, sql), reason


@pytest.mark.parametrize("written", ["", "1a", "a-b", "a b", '"', '""', '"a"b"', "é", "a" * 256, '"' + "a" * 256 + '"'])
def test_what_is_no_name(written: str) -> None:
    with pytest.raises(NameProblem):
        Identifier.parse(written)


@pytest.mark.parametrize("written", ["a" * 300, "a-" * 150, '"' + "a" * 300 + '"'])
def test_a_name_that_is_too_long_is_told_its_length_and_not_repeated(written: str) -> None:
    with pytest.raises(NameProblem, match="has 300 characters; a Snowflake identifier has at most 255") as caught:
        Identifier.parse(written)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("written", "parts"),
    [("a", ("A",)), ("a.b", ("A", "B")), ('db."s.t".x', ("DB", "s.t", "X"))],
)
def test_dots_separate_outside_quotes(written: str, parts: tuple[str, ...]) -> None:
    assert tuple(part.text for part in QualifiedName.parse(written).parts) == parts


@given(st.text(min_size=1, max_size=255))
def test_any_text_can_be_a_quoted_name_and_comes_back(text: str) -> None:
    assert Identifier.parse('"' + text.replace('"', '""') + '"').text == text


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3))
def test_sql_text_reads_back_as_the_same_name(parts: list[str]) -> None:
    name = QualifiedName(tuple(Identifier(part) for part in parts))
    assert QualifiedName.parse(name.sql) == name
