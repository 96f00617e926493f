"""Each simple kind against the embedded account: make it, change it by hand, mend it, drop it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from kinds_account import Account, until
from kinds_project import graph_of, one

from controller.account.counters import StatementClass
from controller.account.errors import Rejected
from controller.account.pool import SessionPool
from controller.kinds.base import Health
from controller.kinds.registry import KINDS


@dataclass(frozen=True)
class Life:
    """`by_hand` is what a person does to THING, `path` the drift that it makes."""

    kind: str
    spec: str
    by_hand: str
    path: str


LIVES = [
    Life("Warehouse", "autoSuspend: 180\ncomment: it's 'quoted'", "ALTER WAREHOUSE THING SET WAREHOUSE_SIZE = LARGE", "size"),
    Life("Warehouse", "size: small", "ALTER WAREHOUSE THING SET AUTO_SUSPEND = 60 AUTO_RESUME = FALSE", "autoSuspend"),
    Life("Database", "dataRetentionDays: 1", "ALTER DATABASE THING SET DATA_RETENTION_TIME_IN_DAYS = 0", "dataRetentionDays"),
    Life("Schema", "comment: mine", "COMMENT ON SCHEMA DB.THING IS 'theirs [snowcat proj/Schema/thing]'", "comment"),
    Life("ComputePool", "instanceFamily: CPU_X64_S", "ALTER COMPUTE POOL THING SET MAX_NODES = 2 AUTO_SUSPEND_SECS = 300", "maxNodes"),
    Life(
        "ComputePool",
        "instanceFamily: CPU_X64_S\nbackupInstanceFamilies: [CPU_X64_M]\nautoResume: false",
        "ALTER COMPUTE POOL THING UNSET BACKUP_INSTANCE_FAMILIES",
        "backupInstanceFamilies",
    ),
    Life(
        "Secret",
        "valueFrom: {command: [echo, a word]}",
        "ALTER SECRET DB.SCH.THING SET COMMENT = '[snowcat proj/Secret/thing value=0000$1111 delete=yes]'",
        "valueFrom",
    ),
    Life(
        "Secret",
        "type: password\nusername: anna\nvalueFrom: {command: [echo, a word]}",
        "ALTER SECRET DB.SCH.THING SET USERNAME = 'otto'",
        "username",
    ),
    Life("NetworkRule", "values: [a.com, 'b.com:8443']", "ALTER NETWORK RULE DB.SCH.THING SET VALUE_LIST = ('a.com', 'x.com')", "values"),
    Life("Stage", "comment: mine", "ALTER STAGE DB.SCH.THING SET DIRECTORY = (ENABLE = FALSE)", "directory"),
    Life("Stage", "encryption: SNOWFLAKE_FULL\ndirectory: false", "ALTER STAGE DB.SCH.THING SET DIRECTORY = (ENABLE = TRUE)", "directory"),
    Life(
        "ImageRepository",
        "comment: mine",
        "ALTER IMAGE REPOSITORY DB.SCH.THING SET COMMENT = '[snowcat proj/ImageRepository/thing]'",
        "comment",
    ),
    Life("SecurityIntegration", "comment: mine", "ALTER SECURITY INTEGRATION THING SET ENABLED = FALSE", "enabled"),
    Life(
        "Role",
        "privileges: [{on: account, privileges: [CREATE DATABASE]}]",
        "REVOKE CREATE DATABASE ON ACCOUNT FROM ROLE THING",
        "privileges",
    ),
    Life("Role", "grantedTo: {roles: [sysadmin], users: [admin]}", "REVOKE ROLE THING FROM ROLE SYSADMIN", "grantedTo"),
    Life(
        "Role",
        "privileges: [{on: {kind: Database, name: db}, privileges: [USAGE]}]",
        "GRANT MONITOR ON DATABASE DB TO ROLE THING",
        "privileges",
    ),
]


@pytest.fixture
def account(pool: SessionPool, tmp_path: Path) -> Account:
    """The account with a database and a schema of somebody."""
    own = Account(pool, tmp_path)
    own.run("CREATE DATABASE IF NOT EXISTS DB", "CREATE SCHEMA IF NOT EXISTS DB.SCH")
    return own


@pytest.mark.parametrize("life", LIVES, ids=[f"{life.kind}-{life.path}" for life in LIVES])
def test_a_life(life: Life, account: Account, tmp_path: Path) -> None:
    obj, graph = one(tmp_path, life.kind, life.spec)
    assert not account.observe(obj, graph).exists
    account.create(obj, graph)
    seen = account.observe(obj, graph)
    assert (seen.exists, seen.drift) == (True, ()), "what was made is what was wanted"
    assert seen.mark is not None and seen.mark.project == "proj"

    account.run(life.by_hand)
    drifted = account.observe(obj, graph)
    assert life.path in {change.path for change in drifted.drift}
    account.update(obj, graph)
    assert account.observe(obj, graph).drift == ()

    inventory = [item.key for item in KINDS[life.kind].inventory(account.view(graph))]
    assert inventory == [obj.key], "found by its mark, should the manifest go"
    account.delete(obj.key, graph)
    assert not account.observe(obj, graph).exists


def test_a_look_sends_only_show_and_describe_and_no_warehouse(account: Account, tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "NetworkRule", "values: [a.com]")
    account.create(obj, graph)
    before = dict(account.pool.counters.by_class)
    account.observe(obj, graph)
    fresh = {kind: count - before.get(kind, 0) for kind, count in account.pool.counters.by_class.items() if count != before.get(kind, 0)}
    assert fresh.keys() <= {StatementClass.SHOW, StatementClass.DESCRIBE, StatementClass.SESSION}
    assert account.pool.counters.in_warehouse == 0
    account.delete(obj.key, graph)


def test_lists_of_an_integration(account: Account, tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        "kind: NetworkRule\nmetadata: {name: rule, schema: db.sch}\nspec: {values: [a.com]}",
        "kind: Secret\nmetadata: {name: token, schema: db.sch}\nspec: {valueFrom: {command: [echo, zq81-of-nobody]}}",
        "kind: ExternalAccessIntegration\nmetadata: {name: thing}\nspec: {networkRules: [rule], secrets: [token]}",
    )
    objects = {obj.key.kind: obj for obj in graph}
    for kind in ("NetworkRule", "Secret", "ExternalAccessIntegration"):
        account.create(objects[kind], graph)
    obj = objects["ExternalAccessIntegration"]
    assert account.observe(obj, graph).drift == ()
    account.run("ALTER EXTERNAL ACCESS INTEGRATION THING SET ALLOWED_AUTHENTICATION_SECRETS = NONE ENABLED = FALSE")
    assert {change.path for change in account.observe(obj, graph).drift} == {"secrets", "enabled"}
    account.update(obj, graph)
    assert account.observe(obj, graph).drift == ()
    for kind in ("ExternalAccessIntegration", "Secret", "NetworkRule"):
        account.delete(objects[kind].key, graph)
        assert not account.observe(objects[kind], graph).exists


def test_a_pool_comes_up_and_changes_its_family(account: Account, tmp_path: Path) -> None:
    obj, graph = one(tmp_path, "ComputePool", "instanceFamily: CPU_X64_S")
    account.create(obj, graph)
    assert account.observe(obj, graph).health in {Health.PROGRESSING, Health.HEALTHY}
    until(lambda: account.observe(obj, graph).health is Health.HEALTHY)

    wanted, graph = one(tmp_path, "ComputePool", "instanceFamily: CPU_X64_M")
    sent: list[str] = []

    def settled() -> bool:
        seen = account.observe(wanted, graph)
        if seen.drift and seen.message.startswith("stopping"):
            return False
        sent.extend(account.update(wanted, graph) if seen.drift else [])
        return not seen.drift and seen.health is Health.HEALTHY

    until(settled)
    actions = [text.removeprefix("ALTER COMPUTE POOL THING ") for text in sent if "COMMENT" not in text]
    assert actions == ["SUSPEND", "SET INSTANCE_FAMILY = CPU_X64_M", "RESUME"]
    account.delete(obj.key, graph)


def test_files_reach_the_stage(account: Account, tmp_path: Path) -> None:
    name = "odd (name) ünd.txt"
    (tmp_path / name).write_text("hello")
    obj, graph = one(tmp_path, "Stage", f"files: [{{from: {name}, to: some/folder}}]")
    account.create(obj, graph)
    assert account.observe(obj, graph).drift == ()
    with account.pool.session() as session:
        assert session.get_file(obj.key.name, f"some/folder/{name}") == b"hello"
        assert session.get_file(obj.key.name, "some/folder/none.txt") is None
    (tmp_path / name).write_text("hello again")
    assert {change.path for change in account.observe(obj, graph).drift} == {"files", "mark"}
    account.update(obj, graph)
    assert account.observe(obj, graph).drift == ()
    with account.pool.session() as session:
        assert session.get_file(obj.key.name, f"some/folder/{name}") == b"hello again"
        (tmp_path / "it's.txt").write_text("x")
        with pytest.raises(Rejected, match="rename it"):
            session.put_file(tmp_path / "it's.txt", obj.key.name)
    account.delete(obj.key, graph)


def test_a_second_ingress_integration_is_tolerated(account: Account, tmp_path: Path) -> None:
    account.run("CREATE SECURITY INTEGRATION BUILT_IN TYPE = OAUTH OAUTH_CLIENT = SNOWSERVICES_INGRESS ENABLED = TRUE")
    obj, graph = one(tmp_path, "SecurityIntegration")
    seen = account.observe(obj, graph)
    assert (seen.exists, seen.markable, seen.drift) == (True, False, ())
    assert account.create(obj, graph), "error 390950 is taken as 'there already'"
    account.run("DROP INTEGRATION BUILT_IN")
    assert not account.observe(obj, graph).exists
