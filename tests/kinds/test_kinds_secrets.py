"""Secrets: where values come from, how a rotation is seen, and that a value is never shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kinds_project import Offline, comment_of, one, row_for, seen_as, sql_of, view_of

from controller.account.snapshot import Describe
from controller.api.objects import DesiredObject
from controller.kinds.base import Health, KindError, Stalled, Waiting
from controller.kinds.registry import KINDS
from controller.kinds.secret_values import tag

SECRET = KINDS["Secret"]
VALUE = "sw0rdf!sh'\\x"
ENV = "valueFrom: {env: TEST_TOKEN}"


def value_tag(value: str = VALUE) -> str:
    return tag(value, "proj/Secret/thing")


def test_create_sends_the_value_and_shows_stars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", VALUE)
    obj, graph = one(tmp_path, "Secret", ENV)
    (step,) = SECRET.create(obj, view_of(graph))
    assert "SECRET_STRING = 'sw0rdf!sh''\\\\x'" in step.text, "quote and backslash are escaped"
    assert sql_of([step]) == [
        f"CREATE SECRET DB.SCH.THING TYPE = GENERIC_STRING SECRET_STRING = '********' COMMENT = '{comment_of(obj, value=value_tag())}'"
    ]


def test_a_password_has_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", VALUE)
    obj, graph = one(tmp_path, "Secret", ENV + "\ntype: password\nusername: o'neil")
    (step,) = SECRET.create(obj, view_of(graph))
    assert "TYPE = PASSWORD USERNAME = 'o''neil' PASSWORD = '********'" in sql_of([step])[0]


def test_nothing_but_the_statement_holds_the_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", VALUE)
    obj, graph = one(tmp_path, "Secret", ENV)
    row = row_for(obj, secret_type="GENERIC_STRING", comment=comment_of(obj, value=value_tag("the old one")))
    view, seen = seen_as(obj, graph, row)
    steps = SECRET.update(obj, seen, view)
    assert [VALUE in text for text in (repr(view.facts), repr(seen), str(steps[0]), steps[0].display or "")] == [False] * 4
    assert "sw0rdf" in steps[0].text


def test_the_same_value_is_no_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", VALUE)
    obj, graph = one(tmp_path, "Secret", ENV)
    _, seen = seen_as(obj, graph, row_for(obj, secret_type="GENERIC_STRING", comment=comment_of(obj, value=value_tag())))
    assert seen.drift == ()


def test_another_value_at_the_source_is_sent_with_its_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", "rotated")
    obj, graph = one(tmp_path, "Secret", ENV)
    view, seen = seen_as(obj, graph, row_for(obj, secret_type="GENERIC_STRING", comment=comment_of(obj, value=value_tag())))
    assert {change.path for change in seen.drift} == {"valueFrom", "mark"}
    wanted = comment_of(obj, value=value_tag("rotated"))
    assert sql_of(SECRET.update(obj, seen, view)) == [f"ALTER SECRET DB.SCH.THING SET SECRET_STRING = '********' COMMENT = '{wanted}'"]


def test_the_type_cannot_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", VALUE)
    obj, graph = one(tmp_path, "Secret", ENV)
    _, seen = seen_as(obj, graph, row_for(obj, secret_type="PASSWORD", comment=comment_of(obj, value=value_tag())))
    assert [(c.path, c.before, c.after, c.immutable) for c in seen.drift] == [("type", "PASSWORD", "GENERIC_STRING", True)]


def test_describe_tells_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", VALUE)
    obj, graph = one(tmp_path, "Secret", ENV + "\ntype: password\nusername: anna")
    row = row_for(obj, secret_type="PASSWORD", comment=comment_of(obj, value=value_tag()))
    view, seen = seen_as(obj, graph, row, answers={Describe("SECRET", "DB.SCH.THING"): [{"username": "otto"}]})
    assert sql_of(SECRET.update(obj, seen, view)) == ["ALTER SECRET DB.SCH.THING SET USERNAME = 'anna'"]


SOURCES = [
    ("an unset variable", "valueFrom: {env: TEST_TOKEN}", Stalled, "TEST_TOKEN is not set"),
    ("no such file", "valueFrom: {file: token.txt}", Stalled, "there is no file"),
    ("a failing command", "valueFrom: {command: ['false']}", Stalled, "'false' ended with exit code 1"),
    ("no such command", "valueFrom: {command: [no-such-command]}", Stalled, "no command 'no-such-command'"),
    ("a silent command", "valueFrom: {command: ['true']}", Stalled, "printed nothing"),
    ("optional: it waits", "valueFrom: {env: TEST_TOKEN, optional: true}", Waiting, "TEST_TOKEN is not set"),
]


@pytest.mark.parametrize(("reason", "spec", "error", "message"), SOURCES)
def test_no_value_says_what_to_do(
    reason: str, spec: str, error: type[KindError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_TOKEN", raising=False)
    obj, graph = one(tmp_path, "Secret", spec)
    view = view_of(graph)
    with pytest.raises(error, match=message):
        SECRET.create(obj, view)


UNKNOWN = [
    ("an unset variable", "valueFrom: {env: TEST_TOKEN}", "the environment variable TEST_TOKEN is not set for the snowcat process"),
    ("no such file", "valueFrom: {file: token.txt}", "there is no file"),
    ("a failing command", "valueFrom: {command: ['false']}", "'false' ended with exit code 1"),
    ("an optional one", "valueFrom: {env: TEST_TOKEN, optional: true}", "the environment variable TEST_TOKEN is not set"),
]


@pytest.mark.parametrize(("reason", "spec", "says"), UNKNOWN)
def test_a_secret_that_exists_is_fine_without_its_value_here(
    reason: str, spec: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_TOKEN", raising=False)
    obj, graph = one(tmp_path, "Secret", spec)
    _, seen = seen_as(obj, graph, row_for(obj, secret_type="GENERIC_STRING", comment=comment_of(obj, value=value_tag())))
    assert (seen.health, seen.drift) == (Health.HEALTHY, ()), reason
    assert seen.message.startswith("its value is not checked: ") and says in seen.message
    assert "export" not in seen.message, "nothing has to be done"


def test_without_its_value_the_rest_is_kept_in_step_and_the_tag_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_TOKEN", raising=False)
    obj, graph = one(tmp_path, "Secret", ENV + "\ncomment: for the hub")
    row = row_for(obj, secret_type="GENERIC_STRING", comment=comment_of(obj, text="of old", value=value_tag()))
    view, seen = seen_as(obj, graph, row)
    assert [change.path for change in seen.drift] == ["comment"]
    wanted = comment_of(obj, text="for the hub", value=value_tag())
    assert sql_of(SECRET.update(obj, seen, view)) == [f"ALTER SECRET DB.SCH.THING SET COMMENT = '{wanted}'"]


NOT_SENT = [
    ("no mark", lambda obj: ""),
    ("our mark without a tag", lambda obj: comment_of(obj)),
    ("another object's mark, copied", lambda obj: comment_of(obj, value=value_tag()).replace("Secret/thing", "Secret/other")),
]


@pytest.mark.parametrize(("reason", "comment"), NOT_SENT)
def test_what_we_never_sent_a_value_needs_it(
    reason: str, comment: Callable[[DesiredObject], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_TOKEN", raising=False)
    obj, graph = one(tmp_path, "Secret", ENV)
    view, seen = seen_as(obj, graph, row_for(obj, secret_type="GENERIC_STRING", comment=comment(obj)))
    assert "valueFrom" in [change.path for change in seen.drift], reason
    with pytest.raises(Stalled, match="TEST_TOKEN is not set for the snowcat process: export it"):
        SECRET.update(obj, seen, view)


def test_a_file_beside_the_manifest_without_its_line_break(tmp_path: Path) -> None:
    (tmp_path / "token.txt").write_text("from a file\n")
    obj, graph = one(tmp_path, "Secret", "valueFrom: {file: token.txt}")
    assert "'from a file'" in SECRET.create(obj, view_of(graph))[0].text


def test_what_a_failing_command_wrote_is_not_told(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "Secret", "valueFrom: {command: [sh, -c, 'echo very-secret >&2; echo very-secret; exit 3']}")
    view = view_of(graph)
    with pytest.raises(Stalled, match="ended with exit code 3") as error:
        SECRET.create(obj, view)
    assert "very-secret" not in f"{error.value} {view.facts}"


def test_a_failing_command_is_not_run_again_at_every_look(tmp_path: Path) -> None:
    """A password manager asks its user."""
    obj, graph = one(tmp_path, "Secret", "valueFrom: {command: [sh, -c, 'echo x >> asked; exit 3']}")
    for _ in range(3):
        view_of(graph)
    assert obj.location.file.parent.joinpath("asked").read_text() == "x\n"


def test_offline_needs_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_TOKEN", raising=False)
    obj, graph = one(tmp_path, "Secret", ENV)
    (step,) = SECRET.create(obj, view_of(graph, gatherer=Offline()))
    assert "SECRET_STRING = '********'" in str(step)


def test_tags_differ_by_value_and_by_secret() -> None:
    assert len({tag("a", "p/Secret/x"), tag("b", "p/Secret/x"), tag("a", "p/Secret/y")}) == 3
    assert tag("a", "p/Secret/x") == tag("a", "p/Secret/x")
