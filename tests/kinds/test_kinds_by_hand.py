"""What people do by hand to objects of ours, kind by kind: another comment, a drop, a suspended pool; seen in one look and put back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kinds_account import until
from kinds_cases import CASES, Case
from kinds_round_trip import Trip, told, trip

from controller.account.connections import Connection
from controller.kinds.base import Health
from controller.reconcile.planning.change import Action, Plan

FIRST = {case.kind: case for case in reversed(CASES)}


@pytest.fixture(scope="module")
def project(account: Connection) -> Iterator[Trip]:
    with trip(account) as one:
        yield one


@pytest.fixture
def made(project: Trip) -> Iterator[Trip]:
    yield project
    project.clear()


def settled(made: Trip) -> Plan:
    plan = made.apply()
    assert plan.empty, told(plan)
    return plan


def column(made: Trip, case: Case, name: str) -> Any:
    scope = {"SCHEMA": " IN SCHEMA DB.SCH", "DATABASE": " IN DATABASE DB"}.get(case.table.manifest.scope.upper(), "")
    (row,) = (row for row in made.by_hand(f"SHOW {case.table.plural}{scope}") if row["name"] == "THING")
    return row[name]


@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)
def test_another_comment(case: Case, made: Trip) -> None:
    made.write([*case.needs, case.document(comment='it\'s "ours"\n[really] ünd 🐈')])
    settled(made)
    before = column(made, case, "comment")
    key = next(key for key in made.plan().objects if key.name.name.text == "THING")
    theirs = before.replace("ours", "theirs").replace("\\", "\\\\").replace("'", "''")
    made.by_hand(f"ALTER {case.table.what} {key.name.sql} SET COMMENT = '{theirs}'")
    assert set(made.drift(case.kind)) == {"comment"}
    made.write([*case.needs, case.document({"ignore": ["comment"]}, comment="ours")])
    assert "comment" not in made.drift(case.kind)
    made.write([*case.needs, case.document(comment='it\'s "ours"\n[really] ünd 🐈')])
    settled(made)
    assert column(made, case, "comment") == before
    made.write([*case.needs, case.document()])
    settled(made)
    assert "ours" not in column(made, case, "comment"), "taken out with the manifest's"


@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)
def test_a_drop(case: Case, made: Trip) -> None:
    made.write([*case.needs, case.document()])
    settled(made)
    key = next(key for key in made.plan().objects if key.name.name.text == "THING")
    made.by_hand(f"DROP {case.table.what} {key.name.sql}")
    assert made.plan().objects[key].change.action is Action.CREATE
    settled(made)


# ---- a pool that was suspended -------------------------------------------------------------------------------------------------------

NEVER = {"instanceFamily": "CPU_X64_XS", "autoSuspendSeconds": 0}


def pool(metadata: dict[str, Any] | None = None, **spec: Any) -> list[dict[str, Any]]:
    return [{"kind": "ComputePool", "metadata": {"name": "thing", **(metadata or {})}, "spec": {**NEVER, **spec}}]


def suspend(made: Trip) -> None:
    made.by_hand("ALTER COMPUTE POOL THING SUSPEND")
    until(lambda: made.by_hand("SHOW COMPUTE POOLS LIKE 'THING'")[0]["state"] == "SUSPENDED")


def test_a_pool_that_never_suspends_itself_is_resumed(made: Trip) -> None:
    made.write(pool())
    settled(made)
    suspend(made)
    assert (made.drift()["suspended"].before, made.drift()["suspended"].after) == (True, False)
    settled(made)
    assert made.sent == ["ALTER COMPUTE POOL THING RESUME"]


LEFT = [
    ("it may have suspended itself", pool(autoSuspendSeconds=600)),
    ("it was to be made suspended", pool(initiallySuspended=True)),
    ("its manifest says so", pool({"suspend": True})),
    ("its manifest leaves that to others", pool({"ignore": ["suspended"]})),
]


@pytest.mark.parametrize(("reason", "documents"), LEFT, ids=[row[0] for row in LEFT])
def test_a_suspended_pool_is_left_so(reason: str, documents: list[dict[str, Any]], made: Trip) -> None:
    made.write(pool(autoSuspendSeconds=documents[0]["spec"]["autoSuspendSeconds"]))
    settled(made)
    suspend(made)
    made.write(documents)
    plan = settled(made)
    assert "ALTER COMPUTE POOL THING RESUME" not in made.sent, reason
    (entry,) = plan
    assert entry.observation is not None
    assert entry.observation.health is Health.SUSPENDED


@pytest.mark.parametrize("attribute", ["paused=yes", "held=FineTuneJob/wishes"])
def test_a_pool_that_was_suspended_on_purpose_stays_so(attribute: str, made: Trip) -> None:
    made.write(pool())
    settled(made)
    suspend(made)
    marked = made.by_hand("SHOW COMPUTE POOLS LIKE 'THING'")[0]["comment"]
    noted = marked.replace(" delete=yes", f" delete=yes {attribute}")
    made.by_hand(f"ALTER COMPUTE POOL THING SET COMMENT = '{noted}'")
    made.apply(until=lambda plan: True)
    assert made.sent == []
    assert "suspended" not in made.drift()


def test_a_family_changes_by_suspend_set_resume(made: Trip) -> None:
    made.write(pool(placementGroup="A"))
    settled(made)
    made.write(pool(instanceFamily="CPU_X64_S", placementGroup="DISTRIBUTED"))
    settled(made)
    actions = [text.removeprefix("ALTER COMPUTE POOL THING ") for text in made.sent if "COMMENT" not in text]
    assert actions == ["SUSPEND", "SET INSTANCE_FAMILY = CPU_X64_S PLACEMENT_GROUP = 'DISTRIBUTED'", "RESUME"]
    made.write(pool(instanceFamily="CPU_X64_S"))
    settled(made)
    actions = [text.removeprefix("ALTER COMPUTE POOL THING ") for text in made.sent if "COMMENT" not in text]
    assert actions == ["SUSPEND", "UNSET PLACEMENT_GROUP", "RESUME"]


# ---- what a manifest leaves to others ------------------------------------------------------------------------------------------------


def test_a_secret_whose_value_is_left_to_others(made: Trip) -> None:
    def secret(value: str, *ignore: str) -> list[dict[str, Any]]:
        metadata = {"name": "thing", "schema": "db.sch", "ignore": list(ignore)}
        return [{"kind": "Secret", "metadata": metadata, "spec": {"valueFrom": {"command": ["echo", value]}}}]

    made.write(secret("the value at first"))
    settled(made)
    made.write(secret("another value", "valueFrom"))
    assert made.plan().empty, told(made.plan())
    made.write(secret("another value"))
    settled(made)
    assert [text.startswith("ALTER SECRET DB.SCH.THING SET SECRET_STRING") for text in made.sent] == [True], "it was not taken for sent"


def test_a_stage_whose_files_are_left_to_others(made: Trip) -> None:
    def stage(*ignore: str, **spec: Any) -> list[dict[str, Any]]:
        metadata = {"name": "thing", "schema": "db.sch", "ignore": list(ignore)}
        return [{"kind": "Stage", "metadata": metadata, "spec": {"files": [{"from": "a.txt"}], **spec}}]

    (made.folder / "a.txt").write_text("first")
    made.write(stage())
    settled(made)
    (made.folder / "a.txt").write_text("second")
    made.write(stage("files", directory=False))
    settled(made)
    assert [text.split()[0] for text in made.sent] == ["ALTER"]
    made.write(stage(directory=False))
    settled(made)
    assert [text.split()[0] for text in made.sent] == ["upload", "ALTER"], "they were not taken for uploaded"


# ---- the integration for ingress -----------------------------------------------------------------------------------------------------


def test_an_integration_that_cannot_be_seen_is_tried_once(account: Connection, made: Trip) -> None:
    made.by_hand(
        "CREATE ROLE IF NOT EXISTS LIMITED",
        "GRANT CREATE INTEGRATION ON ACCOUNT TO ROLE LIMITED",
        "GRANT ROLE LIMITED TO USER ADMIN",
        "CREATE SECURITY INTEGRATION BUILT_IN TYPE = OAUTH OAUTH_CLIENT = SNOWSERVICES_INGRESS ENABLED = TRUE",
    )
    with trip(account, role="LIMITED", existing=[]) as limited:
        limited.write([{"kind": "SecurityIntegration", "metadata": {"name": "thing"}, "spec": {}}])
        plan = settled(limited)
        assert [text.split()[0] for text in limited.sent] == ["CREATE", "note"]
        (entry,) = plan
        assert entry.observation is not None
        assert "cannot see" in entry.observation.message
        settled(limited)
        assert limited.sent == [], "not in every cycle"
    made.by_hand("DROP INTEGRATION BUILT_IN", "DROP ROLE LIMITED")
