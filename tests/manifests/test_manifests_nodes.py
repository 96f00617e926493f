"""Reading YAML with lines: types, merging, positions; and that nothing a file holds can break the loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.manifests.nodes import MAX_NODES, YamlProblem, documents, dotted
from controller.manifests.project import load_project

PROJECT = "apiVersion: snowcat/v1\nkind: Project\nproject: test\nrole: worker\n"


@pytest.mark.parametrize(
    ("reason", "text", "expected"),
    [
        ("whole numbers", "[1, -2, +3, 0x1f, 0o17, 007]", [1, -2, 3, 31, 15, 7]),
        ("fractions", "[1.5, .5, 1e-4, 1.0e-4, -2E3]", [1.5, 0.5, 1e-4, 1e-4, -2000.0]),
        ("true and false", "[true, False]", [True, False]),
        ("yes and on are text, so that `on:` can be a key", "{on: yes, off: no}", {"on": "yes", "off": "no"}),
        ("nothing", "[~, null, '']", [None, None, ""]),
        ("quotes make text", "['1', \"true\"]", ["1", "true"]),
        ("times and dates are text", "[12:30, 2026-11-22]", ["12:30", "2026-11-22"]),
        ("blocks", "a: |\n  x\n  y\nb: >-\n  x\n  y\n", {"a": "x\ny\n", "b": "x y"}),
        ("anchors and aliases", "a: &x {k: 1}\nb: *x\n", {"a": {"k": 1}, "b": {"k": 1}}),
        ("merging; own keys win", "a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n", {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}}),
        ("merging several; the first wins", "[&x {k: 1}, &y {k: 2, m: 3}, {<<: [*x, *y]}]", [{"k": 1}, {"k": 2, "m": 3}, {"k": 1, "m": 3}]),
        ("the tag of text", "!!str 5", "5"),
        ("unicode", "ключ: ❄", {"ключ": "❄"}),
    ],
)
def test_values_are_those_of_yaml_1_2(reason: str, text: str, expected: Any) -> None:
    assert next(documents(text)).plain == expected, reason


def test_a_file_holds_several_documents_and_empty_ones_do_not_count() -> None:
    assert [node.plain for node in documents("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n")] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("path", "line", "found"),
    [
        ((), 1, ""),
        (("spec", "rules", 1), 6, "spec.rules[1]"),
        (("spec", "rules", 1, "host"), 7, "spec.rules[1].host"),
        (("spec", "rules", 1, "Rule", "missing"), 6, "spec.rules[1]"),
        (("spec", "missing"), 2, "spec"),
    ],
)
def test_the_deepest_part_of_a_path_that_exists_is_found(path: tuple[str | int, ...], line: int, found: str) -> None:
    node = next(documents("kind: x\nspec:\n  a: 1\n  rules:\n    - host: a\n    - port: 1\n      host: b\n"))
    assert (node.find(path)[0], dotted(node.find(path)[1])) == (line, found)


def test_many_aliases_of_one_anchor_are_fine() -> None:
    text = "a: &a [1, 2, 3]\nb: [" + ", ".join(["*a"] * 1000) + "]\n"
    assert len(next(documents(text)).plain["b"]) == 1000


def test_just_too_many_values() -> None:
    text = "a: &a [" + "1, " * 1000 + "1]\nb: [" + ", ".join(["*a"] * (MAX_NODES // 1000)) + "]\n"
    with pytest.raises(YamlProblem, match="unfolds to more than"):
        list(documents(text))


yaml_ish = st.text(st.sampled_from(list("abk:-[]{}&*!|>'\"#,?%@`\n \t${}0123.~<é❄")), max_size=80)


@given(yaml_ish)
@settings(max_examples=300)
def test_no_text_does_more_than_raise_a_problem_with_a_line(text: str) -> None:
    try:
        for node in documents(text):
            node.plain  # noqa: B018 - must not fail
    except YamlProblem as problem:
        assert 1 <= problem.line <= text.count("\n") + 2
        assert problem.message


@given(st.binary(max_size=120) | yaml_ish.map(str.encode))
@settings(max_examples=100, deadline=None)
def test_no_file_makes_the_loader_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = _folder(tmp_path_factory)
    (folder / "objects.yaml").write_bytes(b"apiVersion: snowcat/v1\nkind: ComputePool\n" + data)
    result = load_project(folder)
    assert result.settings is not None
    assert not result.complete  # no random tail makes a whole pool
    assert all(str(problem) for problem in result.problems)


def _folder(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "any-file"
    folder.mkdir(exist_ok=True)
    (folder / "snowcat.yaml").write_text(PROJECT)
    return folder
