"""Grants against the account: given, taken back, passed on, for functions, services and what is yet to be made; ours and others'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from kinds_round_trip import Trip, told, trip

from controller.account.connections import Connection
from controller.api.names import Identifier
from controller.api.role import RoleSpec
from controller.kinds.grants import Difference, Grant, difference, held_grants, statements_for
from controller.reconcile.planning.change import Action, Block, Plan

STANDS = (
    "CREATE WAREHOUSE IF NOT EXISTS WH",
    "CREATE STAGE IF NOT EXISTS DB.SCH.ST",
    "CREATE SECRET IF NOT EXISTS DB.SCH.TOKEN TYPE = GENERIC_STRING SECRET_STRING = 'x'",
    "CREATE COMPUTE POOL IF NOT EXISTS POOL MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS INITIALLY_SUSPENDED = TRUE",
    "CREATE IMAGE REPOSITORY IF NOT EXISTS DB.SCH.REPO",
    "CREATE OR REPLACE FUNCTION DB.SCH.TWICE(X VARCHAR, Y NUMBER) RETURNS VARCHAR AS 'X || X'",
)
EXISTING = [
    "Database/db", "Schema/db.sch", "Warehouse/wh", "Stage/db.sch.st", "Secret/db.sch.token", "ComputePool/pool",
    "ImageRepository/db.sch.repo", "Role/other",
]  # fmt: skip


@pytest.fixture
def made(account: Connection) -> Iterator[Trip]:
    with trip(account, existing=EXISTING) as one:
        one.by_hand(*STANDS, "CREATE ROLE IF NOT EXISTS OTHER")
        yield one
        one.by_hand("DROP ROLE IF EXISTS THING", "DROP COMPUTE POOL POOL", "DROP WAREHOUSE WH", "DROP ROLE OTHER")
        one.by_hand(
            "DROP STAGE DB.SCH.ST",
            "DROP SECRET DB.SCH.TOKEN",
            "DROP IMAGE REPOSITORY DB.SCH.REPO",
            "DROP FUNCTION DB.SCH.TWICE(VARCHAR, NUMBER)",
        )


def on(kind: str, name: str) -> dict[str, str]:
    return {"kind": kind, "name": name}


FUTURE = {"future": "services", "in": on("Schema", "db.sch")}
TWICE = {"function": "db.sch.twice(varchar, number)"}


@dataclass(frozen=True)
class Life:
    """What a role's manifest lists, what a person does to the role, and the statements that put it back."""

    reason: str
    privileges: list[dict[str, Any]]
    by_hand: tuple[str, ...]
    sent: tuple[str, ...]


def one(target: Any, *privileges: str, **more: Any) -> list[dict[str, Any]]:
    return [{"on": target, "privileges": list(privileges), **more}]


LIVES = [
    Life(
        "on the account",
        one("account", "create database", "BIND SERVICE ENDPOINT"),
        ("REVOKE CREATE DATABASE ON ACCOUNT FROM ROLE THING", "GRANT CREATE WAREHOUSE ON ACCOUNT TO ROLE THING"),
        ("GRANT CREATE DATABASE ON ACCOUNT TO ROLE THING", "REVOKE CREATE WAREHOUSE ON ACCOUNT FROM ROLE THING"),
    ),
    Life(
        "write on a stage follows read, and goes before it",
        one(on("Stage", "db.sch.st"), "WRITE", "READ"),
        ("REVOKE READ, WRITE ON STAGE DB.SCH.ST FROM ROLE THING",),
        ("GRANT READ ON STAGE DB.SCH.ST TO ROLE THING", "GRANT WRITE ON STAGE DB.SCH.ST TO ROLE THING"),
    ),
    Life(
        "what a stranger gave on something else is taken back",
        one(on("Warehouse", "wh"), "USAGE"),
        ("GRANT READ ON STAGE DB.SCH.ST TO ROLE THING", "GRANT WRITE ON STAGE DB.SCH.ST TO ROLE THING"),
        ("REVOKE WRITE ON STAGE DB.SCH.ST FROM ROLE THING", "REVOKE READ ON STAGE DB.SCH.ST FROM ROLE THING"),
    ),
    Life(
        "ALL stands for the few that there are",
        one(on("ComputePool", "pool"), "ALL"),
        ("REVOKE OPERATE, MODIFY ON COMPUTE POOL POOL FROM ROLE THING",),
        ("GRANT MODIFY, OPERATE ON COMPUTE POOL POOL TO ROLE THING",),
    ),
    Life(
        "the right to pass it on",
        one(on("Secret", "db.sch.token"), "READ", grantOption=True),
        ("REVOKE GRANT OPTION FOR READ ON SECRET DB.SCH.TOKEN FROM ROLE THING",),
        ("GRANT READ ON SECRET DB.SCH.TOKEN TO ROLE THING WITH GRANT OPTION",),
    ),
    Life(
        "nobody asked that it may be passed on",
        one(on("ImageRepository", "db.sch.repo"), "READ"),
        ("GRANT READ ON IMAGE REPOSITORY DB.SCH.REPO TO ROLE THING WITH GRANT OPTION",),
        ("REVOKE GRANT OPTION FOR READ ON IMAGE REPOSITORY DB.SCH.REPO FROM ROLE THING",),
    ),
    Life(
        "what is yet to be made",
        one(FUTURE, "MONITOR", "OPERATE"),
        ("REVOKE MONITOR ON FUTURE SERVICES IN SCHEMA DB.SCH FROM ROLE THING", "GRANT READ ON FUTURE SECRETS IN DATABASE DB TO ROLE THING"),
        (
            "GRANT MONITOR ON FUTURE SERVICES IN SCHEMA DB.SCH TO ROLE THING",
            "REVOKE READ ON FUTURE SECRETS IN DATABASE DB FROM ROLE THING",
        ),
    ),
    Life(
        "a function, by its types",
        one(TWICE, "USAGE"),
        ("REVOKE USAGE ON FUNCTION DB.SCH.TWICE(VARCHAR, NUMBER) FROM ROLE THING",),
        ("GRANT USAGE ON FUNCTION DB.SCH.TWICE(VARCHAR, NUMBER) TO ROLE THING",),
    ),
]


def role(privileges: list[dict[str, Any]], metadata: dict[str, Any] | None = None, **spec: Any) -> list[dict[str, Any]]:
    return [{"kind": "Role", "metadata": {"name": "thing", **(metadata or {})}, "spec": {"privileges": privileges, **spec}}]


def settled(made: Trip) -> Plan:
    plan = made.apply()
    assert plan.empty, told(plan)
    return plan


@pytest.mark.parametrize("life", LIVES, ids=[life.reason for life in LIVES])
def test_the_set_is_the_manifest_s(life: Life, made: Trip) -> None:
    made.write(role(life.privileges))
    settled(made)
    made.by_hand(*life.by_hand)
    assert "privileges" in made.drift("Role"), "seen in one look"
    settled(made)
    assert tuple(made.sent) == life.sent
    made.write(role([]))
    settled(made)
    held = held_grants(made.by_hand("SHOW GRANTS TO ROLE THING"), made.by_hand("SHOW FUTURE GRANTS TO ROLE THING"))
    left = {grant.on for grant in held}
    assert left <= {"FUNCTION"}, "only what a deployment might have given is left alone"


def test_what_a_future_grant_gives_stays(made: Trip) -> None:
    made.write(role(one({"future": "stages", "in": on("Schema", "db.sch")}, "READ")))
    settled(made)
    made.by_hand("CREATE STAGE DB.SCH.LATER")
    assert made.plan().empty
    assert any(row["name"] == "DB.SCH.LATER" for row in made.by_hand("SHOW GRANTS TO ROLE THING"))
    made.by_hand("DROP STAGE DB.SCH.LATER")


def test_an_adopted_role_keeps_what_others_gave(made: Trip) -> None:
    made.by_hand("CREATE ROLE THING", "GRANT USAGE ON WAREHOUSE WH TO ROLE THING")
    made.write(role(one(on("Database", "db"), "USAGE")))
    (change,) = made.apply(until=lambda plan: True).changes
    assert (change.action, change.block, change.block_reason) == (Action.BLOCKED, Block.STALLED, "NotOwned"), "no mark, no change"

    made.write(role(one(on("Database", "db"), "USAGE"), {"adopt": True}))
    settled(made)
    assert not [text for text in made.sent if text.startswith("REVOKE")]
    made.write(role(one(on("Schema", "db.sch"), "USAGE"), {"adopt": True}))
    settled(made)
    revoked = [text for text in made.sent if text.startswith("REVOKE")]
    assert revoked == ["REVOKE USAGE ON DATABASE DB FROM ROLE THING"], "what an earlier manifest gave, and nothing else"
    assert any(row["name"] == "WH" for row in made.by_hand("SHOW GRANTS TO ROLE THING"))


def test_who_has_the_role(made: Trip) -> None:
    made.write(role([], grantedTo={"roles": ["sysadmin", "other"], "users": ["admin"]}))
    settled(made)
    made.by_hand("REVOKE ROLE THING FROM ROLE OTHER", "GRANT ROLE THING TO ROLE USERADMIN")
    assert "grantedTo" in made.drift("Role")
    settled(made)
    assert made.sent == ["GRANT ROLE THING TO ROLE OTHER"], "others who have it are left alone"
    made.write(role([], grantedTo={"roles": ["sysadmin"]}))
    settled(made)
    taken = [text for text in made.sent if text.startswith("REVOKE")]
    assert taken == ["REVOKE ROLE THING FROM ROLE OTHER", "REVOKE ROLE THING FROM USER ADMIN"]


def test_a_dropped_role_comes_back_with_its_grants(made: Trip) -> None:
    made.write(role(one(on("Warehouse", "wh"), "USAGE"), grantedTo={"roles": ["other"]}))
    settled(made)
    made.by_hand("DROP ROLE THING")
    settled(made)
    assert made.sent[1:] == ["GRANT USAGE ON WAREHOUSE WH TO ROLE THING", "GRANT ROLE THING TO ROLE OTHER"]


def test_a_role_that_manages_grants_keeps_others_without_being_in_a_manifest(account: Connection, made: Trip) -> None:
    made.by_hand(
        "CREATE ROLE KEEPER",
        "GRANT CREATE ROLE, MANAGE GRANTS ON ACCOUNT TO ROLE KEEPER",
        "GRANT USAGE ON WAREHOUSE WH TO ROLE KEEPER",
        "GRANT ROLE KEEPER TO USER ADMIN",
    )
    with trip(account, role="KEEPER", existing=EXISTING) as kept:
        kept.write(role(one(on("Warehouse", "wh"), "USAGE")))
        settled(kept)
        made.by_hand("REVOKE USAGE ON WAREHOUSE WH FROM ROLE THING", "GRANT OPERATE ON WAREHOUSE WH TO ROLE THING")
        settled(kept)
        assert kept.sent == ["GRANT USAGE ON WAREHOUSE WH TO ROLE THING", "REVOKE OPERATE ON WAREHOUSE WH FROM ROLE THING"]
    made.by_hand("DROP ROLE KEEPER")


# ---- rows and statements without an account ------------------------------------------------------------------------------------------

ROWS = [
    (
        "an argument's name and the type of the result",
        "FUNCTION",
        'DB.S."F(X VARCHAR, Y NUMBER):VARCHAR"',
        "FUNCTION DB.S.F(VARCHAR, NUMBER)",
    ),
    ("types alone", "FUNCTION", "DB.S.F(VARCHAR)", "FUNCTION DB.S.F(VARCHAR)"),
    ("no arguments", "FUNCTION", "DB.S.F()", "FUNCTION DB.S.F()"),
    ("a service role", "SERVICE_ROLE", "DB.S.SVC!ALL_ENDPOINTS_USAGE", "SERVICE ROLE DB.S.SVC!ALL_ENDPOINTS_USAGE"),
    ("a quoted name", "STAGE", 'DB."a b".X', 'STAGE DB."a b".X'),
    ("a name that is none", "TAG", "a b.c d", "TAG a b.c d"),
    ("the account", "ACCOUNT", "XY12345", "ACCOUNT"),
]


@pytest.mark.parametrize(("reason", "granted_on", "name", "target"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_as_a_target(reason: str, granted_on: str, name: str, target: str) -> None:
    (grant,) = held_grants([{"privilege": "USAGE", "granted_on": granted_on, "name": name, "grant_option": "false"}])
    assert grant.target == target, reason


def test_a_service_role_is_given_by_its_own_statement() -> None:
    grant = Grant("SERVICE ROLE", "SERVICE ROLE DB.S.SVC!ALL_ENDPOINTS_USAGE", "USAGE")
    assert statements_for(Identifier("R"), Difference(missing=frozenset({grant}))) == [
        "GRANT SERVICE ROLE DB.S.SVC!ALL_ENDPOINTS_USAGE TO ROLE R"
    ]
    assert statements_for(Identifier("R"), Difference(extra=frozenset({grant}))) == [
        "REVOKE SERVICE ROLE DB.S.SVC!ALL_ENDPOINTS_USAGE FROM ROLE R"
    ]


def test_imported_privileges_are_shown_as_usage() -> None:
    wanted = [Grant("DATABASE", "DATABASE SHARED", "IMPORTED PRIVILEGES")]
    held = [Grant("DATABASE", "DATABASE SHARED", "USAGE")]
    assert difference(wanted, [], ours=True).missing == frozenset(wanted)
    assert not difference(wanted, held, ours=True)


REFUSED = [
    ("ALL on the account gives too much", {"on": "account", "privileges": ["ALL"]}, "list the ones"),
    ("nobody knows what ALL on a schema is", {"on": on("Schema", "db.sch"), "privileges": ["all privileges"]}, "list the ones"),
    ("WRITE alone is refused by Snowflake", {"on": on("Stage", "db.sch.st"), "privileges": ["WRITE"]}, "needs READ"),
    ("ownership is not granted", {"on": on("Stage", "db.sch.st"), "privileges": ["OWNERSHIP"]}, "comes with creating"),
    ("a function needs its types", {"on": {"function": "db.sch.f"}, "privileges": ["USAGE"]}, "is not database.schema.name"),
]


@pytest.mark.parametrize(("reason", "entry", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_granted_is_said(reason: str, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoleSpec.model_validate({"privileges": [entry]})
