"""Roles: grants as sets, who may change them, and the statements for an administrator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kinds_project import Offline, comment_of, graph_of, row_for, sql_of, view_of

from controller.account.snapshot import Missing, Show
from controller.api.objects import Graph
from controller.kinds.base import Health, Stalled, View
from controller.kinds.role import RoleKind, role_statements

ROLE = RoleKind()
TEXT = """
kind: Role
metadata: {name: thing}
spec:
  privileges:
    - {on: account, privileges: [create database, CREATE COMPUTE POOL]}
    - {on: {kind: Database, name: db}, privileges: [USAGE]}
  grantedTo: {roles: [sysadmin], users: [anna]}
"""


def grant(privilege: str, on: str = "ACCOUNT", name: str = "XY12345") -> dict[str, Any]:
    return {"privilege": privilege, "granted_on": on, "name": name, "granted_to": "ROLE", "grantee_name": "THING"}


COMPLETE = [grant("CREATE DATABASE"), grant("CREATE COMPUTE POOL"), grant("USAGE", "DATABASE", "DB")]
HOLDERS = [{"granted_to": "ROLE", "grantee_name": "SYSADMIN"}, {"granted_to": "USER", "grantee_name": "ANNA"}]


def look(folder: Path, held: list[dict[str, Any]] | Missing, holders: list[dict[str, Any]], role: str) -> tuple[Any, View, Any]:
    graph = graph_of(folder, TEXT)
    (obj,) = graph.of_kind("Role")
    marked = comment_of(obj, **ROLE.attributes(obj, view_of(graph)))
    answers = {
        Show("ROLES"): [row_for(obj, comment=marked)],
        Show("GRANTS", "TO ROLE THING"): held,
        Show("GRANTS", "OF ROLE THING"): holders,
    }
    view = view_of(graph, answers, role=role)
    return obj, view, ROLE.observe(obj, view)


CASES = [
    ("all is there", COMPLETE, HOLDERS, [], Health.HEALTHY),
    ("ownership comes with creating", [*COMPLETE, grant("OWNERSHIP", "COMPUTE_POOL", "P")], HOLDERS, [], Health.HEALTHY),
    ("roles in roles are said by the other role", [*COMPLETE, grant("USAGE", "ROLE", "OTHER")], HOLDERS, [], Health.HEALTHY),
    ("functions are granted by their deployment", [*COMPLETE, grant("USAGE", "FUNCTION", "DB.S.F(VARCHAR)")], HOLDERS, [], Health.HEALTHY),
    (
        "one is missing on the account",
        COMPLETE[1:],
        HOLDERS,
        ["GRANT CREATE DATABASE ON ACCOUNT TO ROLE THING"],
        Health.DEGRADED,
    ),
    (
        "one too many on the account, one on another object",
        [*COMPLETE, grant("MANAGE GRANTS"), grant("MONITOR", "COMPUTE_POOL", "P")],
        HOLDERS,
        ["REVOKE MANAGE GRANTS ON ACCOUNT FROM ROLE THING", "REVOKE MONITOR ON COMPUTE POOL P FROM ROLE THING"],
        Health.HEALTHY,
    ),
    (
        "given before taken",
        [grant("CREATE DATABASE"), grant("USAGE", "DATABASE", "DB"), grant("CREATE WAREHOUSE")],
        HOLDERS,
        ["GRANT CREATE COMPUTE POOL ON ACCOUNT TO ROLE THING", "REVOKE CREATE WAREHOUSE ON ACCOUNT FROM ROLE THING"],
        Health.DEGRADED,
    ),
    (
        "nobody has the role",
        COMPLETE,
        [],
        ["GRANT ROLE THING TO ROLE SYSADMIN", "GRANT ROLE THING TO USER ANNA"],
        Health.DEGRADED,
    ),
    ("others who have it are left alone", COMPLETE, [*HOLDERS, {"granted_to": "USER", "grantee_name": "OTTO"}], [], Health.HEALTHY),
    ("what may not be seen is not compared", Missing("not authorized"), HOLDERS, [], Health.HEALTHY),
]


@pytest.mark.parametrize(("reason", "held", "holders", "update", "health"), CASES, ids=[case[0] for case in CASES])
def test_an_administrator_keeps_grants(reason: str, held: Any, holders: Any, update: list[str], health: Health, tmp_path: Path) -> None:
    obj, view, seen = look(tmp_path, held, holders, role="SECURITYADMIN")
    assert sql_of(ROLE.update(obj, seen, view)) == update, reason
    assert bool(seen.drift) == bool(update), reason
    assert (seen.health, seen.markable) == (health, True), reason


def test_others_only_look(tmp_path: Path) -> None:
    obj, view, seen = look(tmp_path, [*COMPLETE[1:], grant("CREATE SHARE")], HOLDERS, role="THING")
    assert (seen.health, seen.markable) == (Health.DEGRADED, False)
    assert "CREATE DATABASE ON ACCOUNT" in seen.message
    assert "snowcat bootstrap" in seen.message
    assert [change.path for change in seen.drift] == ["privileges"]
    assert list(ROLE.update(obj, seen, view)) == [], "nothing that would be refused is sent"


def test_a_role_with_too_much_is_not_the_business_of_one_that_only_looks(tmp_path: Path) -> None:
    _, _, seen = look(tmp_path, [*COMPLETE, grant("CREATE SHARE")], HOLDERS, role="THING")
    assert (seen.health, seen.drift) == (Health.HEALTHY, ())


def test_manage_grants_makes_an_administrator(tmp_path: Path) -> None:
    obj, view, seen = look(tmp_path, [*COMPLETE[1:], grant("MANAGE GRANTS")], HOLDERS, role="THING")
    sent = sql_of(ROLE.update(obj, seen, view))
    assert "GRANT CREATE DATABASE ON ACCOUNT TO ROLE THING" in sent
    assert not any(text.startswith("REVOKE") for text in sent), "it works with what it has"


WEB = """
kind: Service
metadata: {name: web, schema: db.sch}
spec:
  computePool: pool
  specification: {spec: {containers: [{name: main, image: /db/sch/r/i:1}], endpoints: [{name: api, port: 80}]}}
  usage: [thing]
"""
POOL = "kind: ComputePool\nmetadata: {name: pool}\nspec: {instanceFamily: CPU_X64_XS}"
GATEWAY = """
kind: Gateway
metadata: {name: gate, schema: db.sch}
spec: {targets: [{service: web, endpoint: api, weight: 100}], usage: [thing]}
"""
ALL_ENDPOINTS = ("USAGE", "SERVICE_ROLE", "DB.SCH.WEB!ALL_ENDPOINTS_USAGE")
GATE = ("USAGE", "GATEWAY", "DB.SCH.GATE")
REVOKED_WEB = "REVOKE SERVICE ROLE DB.SCH.WEB!ALL_ENDPOINTS_USAGE FROM ROLE THING"
REVOKED_GATE = "REVOKE USAGE ON GATEWAY DB.SCH.GATE FROM ROLE THING"
NOBODY = (WEB.replace("[thing]", "[]"), GATEWAY.replace("[thing]", "[]"))
LEFT, OBSERVED = "metadata: {ignore: [usage], ", "metadata: {managementPolicy: observe, "
GIVEN = [
    ("a service of ours gives it", (WEB,), ALL_ENDPOINTS, []),
    ("a service of ours does not", NOBODY[:1], ALL_ENDPOINTS, [REVOKED_WEB]),
    ("another role of it", (WEB,), ("USAGE", "SERVICE_ROLE", "DB.SCH.WEB!MORE"), [REVOKED_WEB.replace("ALL_ENDPOINTS_USAGE", "MORE")]),
    ("a service of others may have given it", (WEB,), ("USAGE", "SERVICE_ROLE", "DB.SCH.WEB2!ALL_ENDPOINTS_USAGE"), []),
    ("a service of ours leaves it to others", (LEFT.join(NOBODY[0].split("metadata: {")),), ALL_ENDPOINTS, []),
    ("a service that is only observed", (OBSERVED.join(NOBODY[0].split("metadata: {")),), ALL_ENDPOINTS, []),
    ("a gateway of ours leaves it to others", (NOBODY[0], LEFT.join(NOBODY[1].split("metadata: {"))), GATE, []),
    ("a gateway of ours gives it", (WEB, GATEWAY), GATE, []),
    ("a gateway of ours does not", NOBODY, GATE, [REVOKED_GATE]),
    ("nothing but its use", (WEB, GATEWAY), ("MODIFY", *GATE[1:]), [REVOKED_GATE.replace("USAGE", "MODIFY")]),
    ("a gateway of others may have given it", (WEB, GATEWAY), (*GATE[:2], "DB.SCH.GATE2"), []),
    (
        "no manifest gives rights on a service",
        (WEB,),
        ("OPERATE", "SERVICE", "DB.SCH.WEB"),
        ["REVOKE OPERATE ON SERVICE DB.SCH.WEB FROM ROLE THING"],
    ),
]


@pytest.mark.parametrize(("reason", "others", "held", "sent"), GIVEN, ids=[row[0] for row in GIVEN])
def test_what_other_manifests_give_is_theirs(
    reason: str, others: tuple[str, ...], held: tuple[str, str, str], sent: list[str], tmp_path: Path
) -> None:
    graph = graph_of(tmp_path, TEXT, POOL, *others)
    (obj,) = graph.of_kind("Role")
    answers = {
        Show("ROLES"): [row_for(obj, comment=comment_of(obj, **ROLE.attributes(obj, view_of(graph, gatherer=Offline()))))],
        Show("GRANTS", "TO ROLE THING"): [*COMPLETE, grant(*held)],
        Show("GRANTS", "OF ROLE THING"): HOLDERS,
    }
    view = view_of(graph, answers, role="SECURITYADMIN", gatherer=Offline())
    seen = ROLE.observe(obj, view)
    assert sql_of(ROLE.update(obj, seen, view)) == sent, reason
    assert {change.path for change in seen.drift} == ({"serviceRoles" if held[1] == "SERVICE_ROLE" else "privileges"} if sent else set())


def test_a_role_that_an_administrator_made_is_theirs_to_drop(tmp_path: Path) -> None:
    (obj,) = graph_of(tmp_path, TEXT).of_kind("Role")
    listed = {Show("ROLES"): [row_for(obj, owner="SECURITYADMIN")]}
    with pytest.raises(Stalled, match="SECURITYADMIN owns Role/thing, as it made it: have an administrator run DROP ROLE THING;"):
        ROLE.delete(obj.key, view_of(Graph({}), listed, role="WORKER"))
    for reason, answers, role in (
        ("it made it itself", {Show("ROLES"): [row_for(obj)]}, "WORKER"),
        ("an administrator", listed, "SECURITYADMIN"),
        ("not listed any more", {}, "WORKER"),
    ):
        assert sql_of(ROLE.delete(obj.key, view_of(Graph({}), answers, role=role))) == ["DROP ROLE THING"], reason


OWN = """
kind: Role
metadata: {name: reader}
spec:
  privileges:
    - {on: {kind: Database, name: own}, privileges: [USAGE]}
    - {on: {kind: Database, name: db}, privileges: [USAGE]}
"""


def test_grants_on_the_project_s_own_objects_need_no_administrator(tmp_path: Path) -> None:
    """Whoever owns an object may give rights on it; the script of `snowcat bootstrap` comes before it is there."""
    graph = graph_of(tmp_path, OWN, "kind: Database\nmetadata: {name: own}")
    (obj,) = graph.of_kind("Role")
    held = {Show("ROLES"): [row_for(obj)], Show("GRANTS", "TO ROLE READER"): []}
    view = view_of(graph, held, role="WORKER")
    seen = ROLE.observe(obj, view)
    assert sql_of(ROLE.update(obj, seen, view)) == ["GRANT USAGE ON DATABASE OWN TO ROLE READER"]
    assert seen.message.endswith("snowcat bootstrap` and have an administrator run what it prints"), "for the other one"
    view = view_of(graph, {**held, Show("GRANTS", "TO ROLE READER"): [grant("USAGE", "DATABASE", "DB")]}, role="WORKER")
    assert "bootstrap" not in ROLE.observe(obj, view).message


def test_a_missing_role_needs_an_administrator(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, TEXT)
    (obj,) = graph.of_kind("Role")
    with pytest.raises(Stalled, match="snowcat bootstrap"):
        ROLE.create(obj, view_of(graph, role="WORKER"))
    assert sql_of(ROLE.create(obj, view_of(graph, role="ACCOUNTADMIN")))[0].startswith("CREATE ROLE IF NOT EXISTS THING")


def test_statements_for_an_administrator(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        TEXT.replace("name: db}", "name: own}"),
        "kind: Database\nmetadata: {name: own}",
    )
    (obj,) = graph.of_kind("Role")
    assert sql_of(role_statements(obj, view_of(graph))) == [
        "CREATE ROLE IF NOT EXISTS THING COMMENT = '[snowcat proj/Role/thing delete=yes given=ca470a,f18aa4]'",
        "GRANT CREATE COMPUTE POOL, CREATE DATABASE ON ACCOUNT TO ROLE THING",
        "GRANT ROLE THING TO ROLE SYSADMIN",
        "GRANT ROLE THING TO USER ANNA",
    ], "what is granted on objects of this project comes with their creation"


def test_the_session_s_own_role_is_never_dropped(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, TEXT)
    (obj,) = graph.of_kind("Role")
    with pytest.raises(Stalled, match="this session uses"):
        ROLE.delete(obj.key, view_of(graph, role="THING"))
