"""A full look that shows what the last one showed is not worked out again; one that shows anything else is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from controller.account.snapshot import Describe, Missing, Read, Row, Show
from controller.kinds.base import Project
from controller.kinds.registry import KINDS
from controller.manifests.project import load_project
from controller.reconcile.look import observe, scopes
from controller.reconcile.look.deep import DeepReads
from controller.reconcile.look.observe import look

PROJECT = "apiVersion: snowcat/v1\nkind: Project\nproject: p\nrole: r\nexisting: [Schema/db.s]\n"
RULE = "apiVersion: snowcat/v1\nkind: NetworkRule\nmetadata: {name: rule, schema: db.s}\nspec: {values: [example.com]}\n"
ROW: Row = {"name": "RULE", "database_name": "DB", "schema_name": "S", "type": "HOST_PORT", "mode": "EGRESS", "comment": ""}


def test_only_what_has_moved_is_worked_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "snowcat.yaml").write_text(PROJECT)
    (tmp_path / "a.yaml").write_text(RULE)
    graph = load_project(tmp_path).graph
    rows: list[Row] = []
    asked: list[Read] = []
    expanded: list[int] = []
    real = observe.expand_all
    monkeypatch.setattr(observe, "expand_all", lambda *args: expanded.append(1) or real(*args))  # type: ignore[func-returns-value]

    def ask(questions: Iterable[Read]) -> dict[Read, tuple[Row, ...] | Missing]:
        found = list(questions)
        asked.extend(found)
        return {q: tuple(rows) if isinstance(q, Show) and q.what == "NETWORK RULES" else () for q in found}

    deep, project = DeepReads(), Project("p", tmp_path)

    def see(full: bool = True, **facts: object) -> tuple[bool, bool]:
        """Whether the rule was described, and whether anything was worked out."""
        asked.clear()
        expanded.clear()
        view = look(project, graph, facts, KINDS, ask, deep, full=full)
        assert {q for q in asked if isinstance(q, Show)} <= view.snapshot.answers.keys()
        assert any(isinstance(q, Show) for q in asked), "the account is asked every time"
        return any(isinstance(q, Describe) for q in asked), bool(expanded)

    assert see() == (False, True), "nothing is there to describe"
    assert see() == (False, False), "the same again"
    rows.append(ROW)
    assert see() == (True, True), "it is there now"
    assert see() == (True, False), "its turn comes in each full look"
    assert see(full=False) == (False, False), "a lesser look has nothing to add to it"
    rows[0] = {**ROW, "comment": "moved"}
    assert see(full=False) == (True, True), "unless something has moved"
    assert see(full=False) == (False, False), "which the next one knows"
    rows[0] = {**ROW, "comment": "by hand"}
    assert see() == (True, True), "a column has moved"
    assert see(other="fact") == (True, True), "a fact has moved"  # type: ignore[arg-type]
    rows.clear()
    assert see(other="fact") == (False, True), "it is gone"
    assert see(other="fact") == (False, False)


def test_an_equal_answer_is_let_go_and_what_follows_from_it_is_not_worked_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a daemon at rest keeps one copy of all rows, and later comparisons are of the same object with itself."""
    (tmp_path / "snowcat.yaml").write_text(PROJECT)
    (tmp_path / "a.yaml").write_text(RULE)
    graph, deep, project = load_project(tmp_path).graph, DeepReads(), Project("p", tmp_path)
    sorted_out: list[int] = []
    real = scopes.derived
    monkeypatch.setattr(scopes, "derived", lambda *args: sorted_out.append(1) or real(*args))  # type: ignore[func-returns-value]
    asked: list[Read] = []

    def ask(questions: Iterable[Read]) -> dict[Read, tuple[Row, ...] | Missing]:
        found = list(questions)
        asked.extend(found)
        return {q: (dict(ROW),) if isinstance(q, Describe) or q.what == "NETWORK RULES" else () for q in found}

    first = look(project, graph, {}, KINDS, ask, deep).snapshot.answers
    inner, wide, told = Show("NETWORK RULES", "SCHEMA DB.S"), Show("NETWORK RULES", "ACCOUNT"), Describe("NETWORK RULE", "DB.S.RULE")
    assert wide in asked and told in asked and inner not in asked and first[inner] == first[wide]
    sorted_out.clear()
    for full in (True, False):
        again = look(project, graph, {}, KINDS, ask, deep, full=full).snapshot.answers
        assert again.keys() == first.keys() and all(again[question] is first[question] for question in first)
    assert not sorted_out
    assert asked.count(wide) == 3 and inner not in asked
