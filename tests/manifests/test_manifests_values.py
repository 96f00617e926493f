"""`${name}` in manifests: types, defaults, escapes, and what cannot be filled in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.manifests.nodes import YamlProblem, documents, node_of
from controller.manifests.values import Values

KNOWN = {
    "n": 3,
    "half": 0.5,
    "on": True,
    "none": None,
    "name": "lab",
    "list": [1, "a"],
    "map": {"a": 1},
    "path": "/data/${name}/x",
    "twice": "${path}-${n}",
    "self": "a ${self}",
    "ping": "${pong}",
    "pong": "${ping}",
}


@pytest.mark.parametrize(
    ("reason", "text", "expected"),
    [
        ("nothing to replace", "plain $ {n} text", "plain $ {n} text"),
        ("a number keeps its type", "${n}", 3),
        ("a fraction too", "${half}", 0.5),
        ("a boolean too", "${on}", True),
        ("nothing stays nothing", "${none}", None),
        ("a list stands alone", "${list}", [1, "a"]),
        ("a mapping stands alone", "${map}", {"a": 1}),
        ("within text it becomes text", "n=${n}, on=${on}, none=${none}.", "n=3, on=true, none=."),
        ("a value made of values", "${twice}", "/data/lab/x-3"),
        ("a default is not needed", "${n:-7}", 3),
        ("a default has a type", "${m:-7}", 7),
        ("a default is text", "${m:-seven}", "seven"),
        ("an empty default is nothing", "${m:-}", None),
        ("a default of a value", "${m:-${name}}", "lab"),
        ("a default within a default", "${m:-${k:-x}}-y", "x-y"),
        ("an escape", "$${n}", "${n}"),
        ("an escape beside a value", "a $${n} ${n}", "a ${n} 3"),
        ("a shell's variable", "echo $HOME $(date)", "echo $HOME $(date)"),
    ],
)
def test_a_scalar_is_filled_in(reason: str, text: str, expected: Any) -> None:
    assert Values(KNOWN).apply(node_of(text, 1)).plain == expected, reason


@pytest.mark.parametrize(
    ("reason", "text", "says"),
    [
        ("not defined", "${nme}", "the value ${nme} is not defined"),
        ("never closed", "${n", "is not ${name}"),
        ("an expression", "${n+1}", "is not ${name}"),
        ("no name", "${}", "is not ${name}"),
        ("made of itself", "${self}", "made of itself: self → self"),
        ("made of each other", "${ping}", "made of itself: ping → pong → ping"),
        ("a list within text", "x ${list}", "a list or a mapping cannot be part of a text"),
    ],
)
def test_what_cannot_be_filled_in_says_why(reason: str, text: str, says: str) -> None:
    with pytest.raises(YamlProblem) as caught:
        Values(KNOWN).apply(node_of(text, 4))
    assert says in caught.value.message, reason
    assert caught.value.line == 4


def test_keys_are_left_as_they_are() -> None:
    node = next(documents("a:\n  ${n}: ${n}\n  b: '${n}'\n"))
    assert Values(KNOWN).apply(node).plain == {"a": {"${n}": 3, "b": 3}}


@given(st.text())
def test_any_text_survives_when_it_is_escaped(text: str) -> None:
    """An escaped text is its own value, whatever it holds."""
    assert Values({}).apply(node_of(text.replace("${", "$${"), 1)).plain == text


@given(st.text(), st.text(), st.text())
def test_a_value_is_put_in_its_place_and_is_not_read_again(before: str, value: str, after: str) -> None:
    """What a value holds cannot open a new replacement together with the text around it."""
    clean = [part.replace("$", "S") for part in (before, value, after)]
    filled = Values({"v": clean[1]}).apply(node_of(f"{clean[0]}${{v}}{clean[2]}", 1)).plain
    assert filled == "".join(clean)
