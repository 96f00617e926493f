"""`plan --out` and `apply --plan`, `why` and `export`, as a person calls them, against a real account."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from cli_support import PROJECT, Snowcat
from embedded_account import RunningAccount

MORE = """\
---
apiVersion: snowcat/v1
kind: ComputePool
metadata: {name: pool}
spec: {instanceFamily: CPU_X64_XS, maxNodes: 2}
---
apiVersion: snowcat/v1
kind: Role  # the one that works, and that owns the lease
metadata: {name: worker}
spec: {privileges: [{on: account, privileges: [CREATE COMPUTE POOL, CREATE DATABASE, CREATE WAREHOUSE]}]}
---
apiVersion: snowcat/v1
kind: Secret
metadata: {name: token, schema: db.s}
spec: {valueFrom: {env: MY_TOKEN}}
"""
SECRET = "sesame-open-4711"


def by_hand(snowcat: Snowcat, *statements: str) -> None:
    """Statements of a person with the project's role."""
    state = Path(snowcat.environment["SNOWCAT_LOCAL_STATE"])
    account = RunningAccount(state, json.loads((state / "account.json").read_text()))
    with account.connect(role="WORKER") as connection:
        for statement in statements:
            connection.cursor().execute(statement)


def test_a_saved_plan_is_kept_to_until_something_moves(local: Snowcat) -> None:
    objects = local.folder / "objects.yaml"
    objects.write_text(objects.read_text() + MORE)
    made = local("plan", "--local", "--out", "first.json", MY_TOKEN=SECRET)
    assert made.code == 0, made.text
    file = local.folder / "first.json"
    assert file.stat().st_mode & 0o777 == 0o600 and SECRET not in file.read_text() and "apply --plan first.json" in made.err
    done = local("apply", "--local", "--plan", "first.json", MY_TOKEN=SECRET)
    assert done.code == 0, done.text
    assert "all 7 objects are ready" in done.out and len(done.out.splitlines()) < 16, done.out

    # a pool that falls asleep meanwhile is no obstacle
    objects.write_text(objects.read_text().replace("maxNodes: 2", "maxNodes: 3"))
    assert local("plan", "--local", "--out", "second.json", MY_TOKEN=SECRET).code == 0
    by_hand(local, "ALTER COMPUTE POOL POOL SUSPEND")
    done = local("apply", "--local", "--plan", "second.json", "-v", MY_TOKEN=SECRET)
    assert done.code == 0, done.text
    assert "ALTER COMPUTE POOL POOL SET MAX_NODES = 3" in done.text and SECRET not in done.text

    # a column that a person changes is one, named, and nothing is done
    objects.write_text(objects.read_text().replace("maxNodes: 3", "maxNodes: 4"))
    assert local("plan", "--local", "--out", "third.json", MY_TOKEN=SECRET).code == 0
    by_hand(local, "ALTER WAREHOUSE WH SET AUTO_SUSPEND = 77")
    refused = local("apply", "--local", "--plan", "third.json", MY_TOKEN=SECRET)
    assert refused.code == 1 and "Warehouse/WH: auto_suspend has changed in the account" in refused.err, refused.text
    assert "nothing was changed" in refused.err and "plan --out third.json" in refused.err

    # and so is a file
    by_hand(local, "ALTER WAREHOUSE WH SET AUTO_SUSPEND = 300")
    objects.write_text(objects.read_text() + "# said later\n")
    refused = local("apply", "--local", "--plan", "third.json", MY_TOKEN=SECRET)
    assert refused.code == 1 and "objects.yaml has changed" in refused.err and "AUTO" not in refused.err

    # whoever has not the value of a secret that is there can plan all the same
    seen = local("plan", "--local")
    assert seen.code == 0 and "blocked" not in seen.text and "MY_TOKEN" not in seen.text, seen.text
    told = local("get", "--local", "Secret")
    assert "Degraded" not in told.out and "its value is not checked: the environment variable MY_TOKEN is not set" in told.out, told.text
    rotated = local("plan", "--local", MY_TOKEN="another")
    assert "Secret/token" in rotated.out and "another\n" not in rotated.out, rotated.text

    # why, of two that are not ready
    objects.write_text(objects.read_text() + MORE[MORE.rindex("---") :].replace("name: token", "name: more").replace("MY_TOKEN", "MORE"))
    assert local("plan", "--local", MY_TOKEN=SECRET).code == 1, "this one has to be made"
    told = local("why", "--local", "Secret/more", MY_TOKEN=SECRET)
    assert told.code == 0 and "MORE" in told.out and "What to do:" in told.out
    document = json.loads(local("why", "--local", "ComputePool/pool", "-o", "json", MY_TOKEN=SECRET).out)
    assert document["cause"] == "pending" and document["root"]["object"] == "ComputePool/pool" and document["events"]


def test_what_plan_out_refuses(snowcat: Snowcat) -> None:
    assert "--offline" in snowcat("plan", "--offline", "--out", "x.json", ".").err
    assert not (snowcat.folder / "x.json").exists()
    assert snowcat("plan", "--out", "nope/x.json", ".").err.strip() == "snowcat: --out nope/x.json: folder nope does not exist"


def test_export_begins_a_project_whose_plan_is_empty(local: Snowcat, tmp_path: Path) -> None:
    assert local("apply", "--local").code == 0
    again = local("export", "--local", "Stage")
    assert again.code == 0 and "bootstrap" not in again.text, "nothing is said of what was there already"
    by_hand(local, "CREATE STAGE DB.S.BY_HAND", "CREATE COMPUTE POOL OTHER MIN_NODES=1 MAX_NODES=1 INSTANCE_FAMILY=CPU_X64_S")
    elsewhere = Snowcat(tmp_path, local.environment)
    done = elsewhere("export", "--local", "-d", "seen")
    assert done.code == 0, done.text
    documents = {path.stem: list(yaml.safe_load_all(path.read_text())) for path in (tmp_path / "seen").glob("*.yaml")}
    assert (documents["snowcat"][0]["project"], documents["snowcat"][0]["role"]) == ("exported", "worker")
    stages = {one["metadata"]["name"]: one["metadata"] for one in documents["stage"]}
    assert stages["by_hand"] == {"name": "by_hand", "schema": "db.s", "managementPolicy": "observe"}
    seen = elsewhere("plan", "--local", "--exit-code", "seen")
    assert seen.code == 0 and "as they should be" in seen.out, seen.text

    # a role that no project can have is not written into one
    asked = elsewhere("export", "--local", "--role", "accountadmin", "--project", "of-admin", "-d", "of_admin", "Stage")
    assert asked.code == 0 and "ACCOUNTADMIN has looked" in asked.err, asked.text
    assert yaml.safe_load((tmp_path / "of_admin" / "snowcat.yaml").read_text())["role"] == "of_admin_role"

    # the same folder twice is refused, one schema and one object can be asked for, and without -d all is printed
    assert elsewhere("export", "--local", "-d", "seen").code == 2
    printed = elsewhere("export", "--local", "--schema", "db.s", "Stage")
    assert {one["metadata"]["name"] for one in yaml.safe_load_all(printed.out)} == {"files", "by_hand"}

    # taken over: the marks are written, and nothing else
    taken = elsewhere("export", "--local", "--adopt", "--project", "taken", "-d", "taken", "ComputePool/other", "Stage/by_hand")
    assert taken.code == 0, taken.text
    plan = json.loads(elsewhere("plan", "--local", "-o", "json", "taken").out)
    assert {change["action"] for change in plan["changes"]} == {"adopt"}
    assert all(len(change["statements"]) == 1 and not change["fields"] for change in plan["changes"])
    assert elsewhere("apply", "--local", "taken").code == 0
    assert elsewhere("plan", "--local", "--exit-code", "taken").code == 0

    # beside a project, its own objects come with their own rules and need no project file
    inside = local("export", "--local", "-d", "more", "Stage")
    assert inside.code == 0 and not (local.folder / "more" / "snowcat.yaml").exists(), inside.text
    (mine,) = [one for one in yaml.safe_load_all((local.folder / "more" / "stage.yaml").read_text()) if one["metadata"]["name"] == "files"]
    assert mine["metadata"] == {"name": "files", "schema": "db.s", "deletionPolicy": "delete"}
    assert "project: small" in PROJECT
