"""A small project on an embedded account from the first apply to destroy, as a person would do it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from cli_support import OBJECTS, PROJECT, Snowcat, environment

POOL = "---\napiVersion: snowcat/v1\nkind: ComputePool\nmetadata: {name: pool}\nspec: {instanceFamily: CPU_X64_XS, autoSuspendSeconds: 0}\n"


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snowcat]:
    """The small project, applied."""
    home = tmp_path_factory.mktemp("applied")
    folder = home / "project"
    folder.mkdir()
    (folder / "snowcat.yaml").write_text(PROJECT)
    (folder / "objects.yaml").write_text(OBJECTS + POOL)
    caller = Snowcat(folder, {**environment(home), "SNOWCAT_LOCAL_STATE": str(home / "account")})
    try:
        done = caller("apply", "--local", "--timeout", "100")
        assert done.code == 0, done
        assert "all 5 objects are ready" in done.out
        assert any(line.endswith("create Warehouse/wh CREATE WAREHOUSE WH") for line in done.out.splitlines())
        yield caller
    finally:
        caller("local", "stop")


def sql(caller: Snowcat, text: str, role: str = "WORKER") -> list[dict[str, Any]]:
    """One statement as somebody beside Snowcat."""
    record = json.loads((Path(caller.environment["SNOWCAT_LOCAL_STATE"]) / "account.json").read_text())
    keys = ("host", "port", "protocol", "account", "user", "password")
    with snowflake.connector.connect(**{key: record[key] for key in keys}, role=role) as connection:
        return list(connection.cursor(snowflake.connector.DictCursor).execute(text))


def test_a_second_plan_is_empty(applied: Snowcat) -> None:
    done = applied("plan", "--local", "--exit-code")
    assert (done.code, done.out) == (0, "5 as they should be. Credits per hour: 0.06 → 0.06\n")


def test_a_second_apply_does_nothing(applied: Snowcat) -> None:
    before = json.loads(applied("events", "--local", "-o", "json").out)
    assert applied("apply", "--local", "--timeout", "60").code == 0
    after = json.loads(applied("events", "--local", "-o", "json").out)
    done = {"Created", "Updated", "Replaced", "Deleted", "Adopted", "DriftDetected"}
    assert [event for event in after if event["reason"] in done] == [event for event in before if event["reason"] in done]


def test_get_lists_objects_in_every_form(applied: Snowcat) -> None:
    table = applied("get", "--local").out.splitlines()
    assert table[0].split() == ["KIND", "NAME", "SYNC", "HEALTH", "MESSAGE"]
    assert len(table) == 6
    objects = json.loads(applied("get", "--local", "-o", "json").out)
    assert {(o["sync"], o["health"]) for o in objects} == {("Synced", "Healthy")}
    assert {"object", "kind", "name", "conditions", "message", "generation"} <= set(objects[0])


@pytest.mark.parametrize(
    ("words", "objects"),
    [
        (["warehouse"], ["Warehouse/wh"]),
        (["Warehouses", "Stage/files"], ["Warehouse/wh", "Stage/files"]),
        (["Stage/db.s.files"], ["Stage/files"]),
        ([".", "database"], ["Database/db"]),
    ],
)
def test_get_chooses(words: list[str], objects: list[str], applied: Snowcat) -> None:
    assert sorted(o["object"] for o in json.loads(applied("get", *words, "--local", "-o", "json").out)) == sorted(objects)


def test_an_object_that_is_not_there_names_the_nearest(applied: Snowcat) -> None:
    done = applied("get", "Warehouse/w", "--local")
    assert done.code == 2
    assert "there is no Warehouse/w in this project; did you mean Warehouse/wh?" in done.err


def test_describe_tells_everything(applied: Snowcat) -> None:
    out = applied("describe", "ComputePool/pool", "--local").out
    for line in ("Object:     ComputePool/pool", "Sync:       Synced", "Health:     Healthy", "Conditions:", "  Ready", "Events:"):
        assert f"\n{line}" in f"\n{out}", line
    assert "Created" in out
    document = json.loads(applied("describe", "ComputePool/pool", "--local", "-o", "json").out)[0]
    assert "Created" in {event["reason"] for event in document["events"]}


def test_events_of_one_object(applied: Snowcat) -> None:
    reasons = [event["reason"] for event in json.loads(applied("events", "Warehouse/wh", "--local", "-o", "json").out)]
    assert "Created" in reasons
    assert "Ready" in reasons


def test_drift_is_planned_shown_and_healed(applied: Snowcat) -> None:
    sql(applied, "ALTER WAREHOUSE wh SET AUTO_SUSPEND = 42")
    planned = applied("plan", "--local", "--exit-code")
    assert planned.code == 3
    assert "autoSuspend: 42 → 300" in planned.out
    assert "OutOfSync" in applied("get", "Warehouse/wh", "--local").out
    assert "AUTO_SUSPEND = 300" in applied("describe", "Warehouse/wh", "--local").out
    assert applied("apply", "--local", "--timeout", "60").code == 0
    assert applied("plan", "--local", "--exit-code").code == 0


def test_logs_and_open_of_what_has_no_service(applied: Snowcat) -> None:
    for command in ("logs", "open"):
        done = applied(command, "Stage/files", "--local")
        assert done.code == 1
        assert "Stage/files has no service or job in the account yet" in done.err


def test_a_wrong_password(applied: Snowcat) -> None:
    record = json.loads((Path(applied.environment["SNOWCAT_LOCAL_STATE"]) / "account.json").read_text())
    done = applied(
        "get", SNOWFLAKE_ACCOUNT="LOCAL", SNOWFLAKE_USER="ADMIN", SNOWFLAKE_PASSWORD="wrong-word",
        SNOWFLAKE_HOST=record["host"], SNOWFLAKE_PORT=str(record["port"]), SNOWFLAKE_PROTOCOL="http",
    )  # fmt: skip
    assert done.code == 1
    assert "the account refused the login" in done.err
    assert "wrong-word" not in done.text


def test_the_same_account_by_a_named_connection(applied: Snowcat) -> None:
    record = json.loads((Path(applied.environment["SNOWCAT_LOCAL_STATE"]) / "account.json").read_text())
    home = Path(applied.environment["SNOWFLAKE_HOME"])
    home.mkdir(exist_ok=True)
    keys = ("account", "user", "password", "host", "port", "protocol")
    (home / "connections.toml").write_text("[embedded]\n" + "".join(f"{key} = {json.dumps(record[key])}\n" for key in keys))
    (home / "connections.toml").chmod(0o600)
    done = applied("plan", "-c", "embedded")
    assert done.code == 0, done
    assert "autoSuspend: 300 → 600" in done.out, "no entry of accounts names it, so the project's own values hold"


def test_reconcile_leaves_a_note_for_the_daemon(applied: Snowcat) -> None:
    assert "a look at Warehouse/wh is noted, but no daemon runs here" in applied("reconcile", "Warehouse/wh", "--local").err
    assert "a look at everything is noted" in applied("reconcile", "--local").err
    assert applied("reconcile", "Warehouse/nope", "--local").code == 2


def test_bootstrap_again_changes_nothing(applied: Snowcat) -> None:
    done = applied("bootstrap", "--local")
    assert done.code == 0, done
    assert "done in the embedded account" in done.err


def test_delete_and_destroy_take_what_is_ours_and_nothing_else(local: Snowcat) -> None:
    (local.folder / "objects.yaml").write_text(OBJECTS + POOL)
    assert local("apply", "--local", "--timeout", "100").code == 0
    sql(local, "CREATE WAREHOUSE somebody_elses")

    refused = local("delete", "Stage/files", "--local", stdin="n\n")
    assert refused.code == 1
    assert "DROP STAGE" in refused.out
    assert "nothing was dropped" in refused.err
    assert len(sql(local, "SHOW STAGES IN SCHEMA db.s")) == 1

    needed = local("delete", "Schema/s", "--local", "--yes")
    assert needed.code == 1
    assert "Schema/s cannot be dropped: Stage/files needs it" in needed.out

    one = local("delete", "Stage/files", "--local", "--yes")
    assert one.code == 0, one
    assert "Stage/files: dropped" in one.out
    assert "remove its manifest too" in one.out
    assert sql(local, "SHOW STAGES IN SCHEMA db.s") == []

    assert local("destroy", "--local", stdin="\n").code == 1
    assert len(sql(local, "SHOW COMPUTE POOLS LIKE 'POOL'")) == 1
    done = local("destroy", "--local", "--yes", "--timeout", "60")
    assert done.code == 0, done
    assert "4 dropped, 0 kept, 0 failed" in done.out
    order = [line.split(":")[0] for line in done.out.splitlines() if line.endswith(": dropped")]
    assert order.index("Schema/s") < order.index("Database/db")
    assert [row["name"] for row in sql(local, "SHOW WAREHOUSES")] == ["SOMEBODY_ELSES"]
    again = local("destroy", "--local", "--yes")
    assert (again.code, again.out.splitlines()[-1]) == (0, "there is nothing to drop")
