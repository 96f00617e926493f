"""What a drop would take along, what is left over, and the integrations whose lists only DESCRIBE tells."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from kinds_project import comment_of, graph_of, one, row_for, seen_as, show_of, sql_of, view_of

from controller.account.snapshot import Describe
from controller.kinds.base import Gatherer, Health
from controller.kinds.registry import KINDS
from controller.kinds.security_integration import BELIEVED

OURS = {"comment": "text [snowcat proj/Stage/x delete=yes]"}
INSIDE = [
    ("nothing", {}, []),
    ("ours alone", {"STAGES": [{"name": "X", **OURS}]}, []),
    ("a table of somebody", {"OBJECTS": [{"name": "T", "comment": ""}]}, ["table or view T"]),
    ("another project's service", {"SERVICES": [{"name": "S", "comment": "[snowcat other/Service/s]"}]}, ["service S"]),
    ("views of the system are not counted", {"OBJECTS": [{"name": "V", "schema_name": "INFORMATION_SCHEMA"}]}, []),
    (
        "functions show their comment as description",
        {"USER FUNCTIONS": [{"name": "F", "description": OURS["comment"]}, {"name": "G"}]},
        ["function G"],
    ),
]


@pytest.mark.parametrize("kind", ["Database", "Schema"])
@pytest.mark.parametrize(("reason", "rows", "foreign"), INSIDE)
def test_foreign_things_inside(kind: str, reason: str, rows: dict[str, list[dict[str, str]]], foreign: list[str], tmp_path: Path) -> None:
    obj, graph = one(tmp_path, kind)
    questions = list(KINDS[kind].drop_reads(obj.key))
    scope = {"Database": "DATABASE THING", "Schema": "SCHEMA DB.THING"}[kind]
    assert {question.scope for question in questions} == {scope}, "never the whole account"
    view = view_of(graph, {question: rows.get(question.what, []) for question in questions})
    assert list(KINDS[kind].foreign_inside(obj.key, view)) == foreign, reason


def test_a_schema_of_somebody_keeps_a_database(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "Database")
    kind = KINDS["Database"]
    schemas = [{"name": "INFORMATION_SCHEMA"}, {"name": "PUBLIC"}, {"name": "OURS", **OURS}, {"name": "THEIRS"}]
    view = view_of(graph, {question: schemas if question.what == "SCHEMAS" else [] for question in kind.drop_reads(obj.key)})
    assert list(kind.foreign_inside(obj.key, view)) == ["schema THEIRS"]


def test_inventory_finds_marks_of_this_project_and_kind(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "Stage")
    place = {"database_name": "DB", "schema_name": "SCH"}
    rows = [
        {"name": "A", **place, "comment": "[snowcat proj/Stage/a delete=yes]"},
        {"name": "B", **place, "comment": "[snowcat other/Stage/b delete=yes]"},
        {"name": "C", **place, "comment": "[snowcat proj/Dataset/c delete=yes]"},
        {"name": "D", **place, "comment": "no mark"},
        {"name": "q d", **place, "comment": '[snowcat proj/Stage/"q%20d"]'},
    ]
    kind = KINDS["Stage"]
    (question,) = kind.inventory_reads()
    found = {str(item.key.name): dict(item.mark.attributes) for item in kind.inventory(view_of(graph, {question: rows}))}
    assert found == {"DB.SCH.A": {"delete": "yes"}, "DB.SCH.q d": {}}
    assert obj.key not in found


INGRESS = {"type": "OAUTH - SNOWSERVICES_INGRESS", "enabled": "true"}
PRESENT = [
    ("ours", {**INGRESS, "name": "THING", "comment": "[snowcat proj/SecurityIntegration/thing delete=yes]"}, True),
    ("one of another name", {**INGRESS, "name": "BUILT_IN", "comment": None}, False),
    ("one of that name without a mark", {**INGRESS, "name": "THING", "enabled": "false", "comment": ""}, False),
]


@pytest.mark.parametrize(("reason", "row", "markable"), PRESENT)
def test_any_ingress_integration_will_do(reason: str, row: dict[str, str], markable: bool, tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "SecurityIntegration")
    _, seen = seen_as(obj, graph, row)
    assert (seen.exists, seen.health, seen.drift, seen.markable) == (True, Health.HEALTHY, (), markable), reason


def test_our_integration_is_kept_when_somebody_writes_over_its_mark(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "SecurityIntegration")
    row = row_for(obj, type="OAUTH - SNOWSERVICES_INGRESS", enabled="false", created_on="today") | {"comment": "theirs"}
    view, seen = seen_as(obj, graph, row)
    assert (seen.markable, KINDS["SecurityIntegration"].update(obj, seen, view)) == (False, ()), "it may be anybody's"
    known = replace(view, births={obj.key: "today"})
    seen = KINDS["SecurityIntegration"].observe(obj, known)
    assert (seen.markable, {change.path for change in seen.drift}) == (True, {"enabled", "comment"})
    (sent,) = sql_of(KINDS["SecurityIntegration"].update(obj, seen, known))
    assert sent == f"ALTER SECURITY INTEGRATION THING SET ENABLED = TRUE COMMENT = '{comment_of(obj)}'"


def test_one_ingress_integration_more_is_tolerated(tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "SecurityIntegration")
    view = view_of(graph, {show_of(obj): [{"name": "OTHER", "type": "SAML2"}]})
    assert not KINDS["SecurityIntegration"].observe(obj, view).exists
    create, note = KINDS["SecurityIntegration"].create(obj, view)
    assert 390950 in create.tolerate and "cannot see" in str(note)


@pytest.mark.parametrize(("age", "believed"), [(60.0, True), (BELIEVED + 60, False), (-3600.0, False)])
def test_an_unseen_integration_is_believed_in_for_a_while(age: float, believed: bool, tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "SecurityIntegration")
    found = SimpleNamespace(recall=lambda _: time.time() - age)
    assert KINDS["SecurityIntegration"].gather(obj, graph, cast(Gatherer, found)) is believed, "a clock that was set back proves nothing"


EAI = """
kind: ExternalAccessIntegration
metadata: {name: thing}
spec: {networkRules: [rule], secrets: [token]}
"""
RULE = "kind: NetworkRule\nmetadata: {name: rule, schema: db.sch}\nspec: {values: [a.com]}"
TOKEN = "kind: Secret\nmetadata: {name: token, schema: db.sch}\nspec: {valueFrom: {command: [echo, zq81-of-nobody]}}"
ALTER = "ALTER EXTERNAL ACCESS INTEGRATION THING SET"
LISTS = [
    ("as it should be", "[DB.SCH.RULE]", "[DB.SCH.TOKEN]", []),
    ("no brackets, other case", "db.sch.rule", "db.sch.token", []),
    ("another rule", "[DB.SCH.RULE, DB.SCH.MORE]", "[DB.SCH.TOKEN]", [f"{ALTER} ALLOWED_NETWORK_RULES = (DB.SCH.RULE)"]),
    ("no secrets", "[DB.SCH.RULE]", "none", [f"{ALTER} ALLOWED_AUTHENTICATION_SECRETS = (DB.SCH.TOKEN)"]),
]


@pytest.mark.parametrize(("reason", "rules", "secrets", "update"), LISTS)
def test_lists_of_an_external_access_integration(reason: str, rules: str, secrets: str, update: list[str], tmp_path: Path) -> None:
    graph = graph_of(tmp_path, EAI, RULE, TOKEN)
    (obj,) = graph.of_kind("ExternalAccessIntegration")
    told = [
        {"property": "ENABLED", "property_value": "true"},
        {"property": "ALLOWED_NETWORK_RULES", "property_value": rules},
        {"property": "ALLOWED_AUTHENTICATION_SECRETS", "property_value": secrets},
    ]
    question = Describe("EXTERNAL ACCESS INTEGRATION", "THING")
    view, seen = seen_as(obj, graph, row_for(obj, enabled="true"), answers={question: told})
    assert list(KINDS[obj.key.kind].deep_reads(obj, view)) == [question]
    assert sql_of(KINDS[obj.key.kind].update(obj, seen, view)) == update, reason


def test_an_integration_without_secrets_says_none(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, EAI.replace(", secrets: [token]", ""), RULE)
    (obj,) = graph.of_kind("ExternalAccessIntegration")
    question = Describe("EXTERNAL ACCESS INTEGRATION", "THING")
    told = [{"property": "ALLOWED_AUTHENTICATION_SECRETS", "property_value": "[DB.SCH.TOKEN]"}]
    view, seen = seen_as(obj, graph, row_for(obj, enabled="true"), answers={question: told})
    assert sql_of(KINDS[obj.key.kind].update(obj, seen, view)) == [
        "ALTER EXTERNAL ACCESS INTEGRATION THING SET ALLOWED_AUTHENTICATION_SECRETS = NONE"
    ]


VALUES = [
    ("order and case do not count", "B.com,a.com", []),
    ("one more", "a.com,b.com,c.com", ["ALTER NETWORK RULE DB.SCH.THING SET VALUE_LIST = ('a.com', 'b.com')"]),
]


@pytest.mark.parametrize(("reason", "told", "update"), VALUES)
def test_values_of_a_rule(reason: str, told: str, update: list[str], tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "NetworkRule", "values: [a.com, b.com]")
    row = row_for(obj, type="HOST_PORT", mode="EGRESS", entries_in_valuelist=2)
    view, seen = seen_as(obj, graph, row, answers={Describe("NETWORK RULE", "DB.SCH.THING"): [{"value_list": told}]})
    assert sql_of(KINDS["NetworkRule"].update(obj, seen, view)) == update, reason


STAGE = {"type": "INTERNAL NO CSE", "directory_enabled": "Y"}


def test_files_of_a_stage_are_uploaded_before_the_mark_says_so(tmp_path: Path) -> None:
    (tmp_path / "specs" / "deep").mkdir(parents=True)
    (tmp_path / "specs" / "one.txt").write_text("1")
    (tmp_path / "specs" / "deep" / "two.txt").write_text("2")
    obj, graph = one(tmp_path, "Stage", "files:\n  - {from: specs, to: kept}")
    kind = KINDS["Stage"]
    view = view_of(graph)
    files = view.facts[obj.key]
    assert [upload.path for upload in files.uploads] == ["kept/deep/two.txt", "kept/one.txt"]
    marked = comment_of(obj, files=files.fingerprint)
    create = sql_of(kind.create(obj, view))
    assert create[0].endswith(f"COMMENT = '{comment_of(obj)}'"), "not marked before they are there"
    assert create[1:] == ["upload 2 files to @DB.SCH.THING", f"ALTER STAGE DB.SCH.THING SET COMMENT = '{marked}'"]

    _, seen = seen_as(obj, graph, row_for(obj, **STAGE, comment=marked))
    assert seen.drift == ()

    (tmp_path / "specs" / "one.txt").write_text("another text")
    view, seen = seen_as(obj, graph, row_for(obj, **STAGE, comment=marked))
    assert {change.path for change in seen.drift} == {"files", "mark"}
    update = sql_of(kind.update(obj, seen, view))
    assert update[0] == "upload 2 files to @DB.SCH.THING"
    assert update[1].startswith("ALTER STAGE DB.SCH.THING SET COMMENT"), "the mark goes last"
