"""What can be done with no account at all: help, validate, schema, init, plans on paper."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cli_support import OBJECTS, ROOT, Snowcat

from controller.api.project import ProjectSettings
from controller.cli.init import project_name

COMMANDS = [
    "init", "bootstrap", "validate", "plan", "apply", "run", "reconcile", "get", "describe", "events", "logs", "open", "delete", "destroy",
    "schema", "local",
]  # fmt: skip


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['snowcat', '--help']\nfrom controller.cli.main import main\nresult = main()\n"
        "heavy = {'snowflake', 'pydantic', 'duckdb', 'rich.live', 'structlog', 'yaml', 'httpx', 'torch'} & set(sys.modules)\n"
        "print(heavy or 'light'); sys.exit(result)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("light\n")
    assert [name for name in COMMANDS if f"  {name} " not in done.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, snowcat: Snowcat) -> None:
    done = snowcat(command, "--help")
    assert done.code == 0
    assert "Usage:" in done.out


@pytest.mark.parametrize(
    ("reason", "words", "says"),
    [
        ("an unknown command", ["aply"], "No such command"),
        ("an unknown option", ["plan", "--offlin"], "No such option"),
        ("an unknown format", ["plan", "--offline", "-o", "xml"], "xml"),
        ("two accounts at once", ["plan", "--local", "-c", "x"], "exclude each other"),
        ("a kind that is misspelt", ["get", "ComputePol", "--local"], "did you mean ComputePool?"),
        ("an object without its kind", ["logs", "thing", "--local"], "is not KIND/NAME"),
        ("an unknown schema", ["schema", "Pool"], "unknown kind 'Pool'"),
        ("an unknown account of the project", ["plan", "--offline", "--account", "prod"], "there is no account 'prod'; known: local"),
        ("a path that is not there", ["validate", "nowhere"], "there is no file or folder nowhere"),
        ("a path that is not there, below a project", ["destroy", "nowhere", "--local", "--yes"], "there is no file or folder nowhere"),
        ("a time of no known unit, before the folder is looked at", ["apply", "--timeout", "20 weeks", "nowhere"], "is not a duration"),
        ("less time than anything takes", ["destroy", "--timeout", "200ms"], "is less than a second"),
        ("an address without a port, before the folder is looked at", ["run", "--listen", "abc", "nowhere"], "'abc' is not HOST:PORT"),
        ("a folder without a project", ["plan", "--offline", "/"], "there is no snowcat.yaml here or above"),
    ],
)
def test_bad_usage_is_exit_code_2(reason: str, words: list[str], says: str, local: Snowcat) -> None:
    done = local(*words)
    assert done.code == 2, (reason, done)
    assert says in done.err, reason


def test_a_time_has_its_unit_or_means_seconds(snowcat: Snowcat) -> None:
    for time in ("90", "90s", "1.5m"):
        done = snowcat("apply", "--timeout", time, SNOWFLAKE_DEFAULT_CONNECTION_NAME="none")
        assert done.code == 1 and "no connection" in done.err, (time, done)


def test_validate_says_how_many_objects_are_fine(snowcat: Snowcat) -> None:
    done = snowcat("validate")
    assert (done.code, done.out) == (0, "4 objects, no problems\n")
    schema = "apiVersion: snowcat/v1\nkind: Schema\nmetadata: {name: s, database: db2}\n"
    (snowcat.folder / "more.yaml").write_text(schema.replace("Schema", "Database").replace("s, database: ", "") + "---\n" + schema)
    assert snowcat("validate").out == "6 objects, no problems\n", "the two schemas of one name are two"


def test_validate_names_file_line_and_field(snowcat: Snowcat) -> None:
    (snowcat.folder / "more").mkdir()
    (snowcat.folder / "more" / "pool.yaml").write_text(
        "apiVersion: snowcat/v1\nkind: ComputePool\nmetadata: {name: p}\nspec:\n  minNods: 1\n"
    )
    done = snowcat("validate", ".")
    assert done.code == 2
    assert "more/pool.yaml:5: spec.minNods: unknown field 'minNods'; did you mean minNodes?" in done.err
    assert "2 problems" in done.err


@pytest.mark.parametrize(("paths", "code"), [(["objects.yaml"], 0), (["broken.yaml"], 2), (["objects.yaml", "broken.yaml"], 2), (["."], 2)])
def test_validate_takes_files_and_folders(paths: list[str], code: int, snowcat: Snowcat) -> None:
    (snowcat.folder / "broken.yaml").write_text("apiVersion: [\n")
    done = snowcat("validate", *paths)
    assert done.code == code
    assert ("broken.yaml:" in done.err) == (code == 2)


def test_validate_looks_at_every_account(snowcat: Snowcat) -> None:
    project = snowcat.folder / "snowcat.yaml"
    project.write_text(project.read_text().replace("{suspend: 300}", "{suspend: soon}"))
    done = snowcat("validate")
    assert done.code == 2
    assert "objects.yaml:4: spec.autoSuspend: expected a whole number, got 'soon'" in done.err


def test_validate_of_an_empty_file_is_a_warning(snowcat: Snowcat) -> None:
    (snowcat.folder / "empty.yaml").write_text("")
    done = snowcat("validate")
    assert done.code == 0
    assert "empty.yaml:1: warning: the file is empty" in done.out


def test_an_unknown_instance_family_is_a_warning(snowcat: Snowcat) -> None:
    pool = "apiVersion: snowcat/v1\nkind: ComputePool\nmetadata: {name: p}\nspec:\n  instanceFamily: GPU_NV_SMALL\n"
    (snowcat.folder / "pools.yaml").write_text(pool + "  backupInstanceFamilies: [GPU_NV_S, QUANTUM_1]\n")
    for done in (snowcat("validate"), snowcat("plan", "--offline")):
        assert done.code == 0, done
        assert "pools.yaml:5: warning: spec.instanceFamily: unknown family 'GPU_NV_SMALL'; did you mean GPU_NV_SM" in done.text
        assert "pools.yaml:6: warning: spec.backupInstanceFamilies[1]: unknown family 'QUANTUM_1'; SHOW COMPUTE POOL" in done.text
    assert "QUANTUM" not in snowcat("validate", "objects.yaml").text
    assert snowcat("validate", "pools.yaml").out.count("warning") == 2


def test_schema_is_json_schema(snowcat: Snowcat) -> None:
    assert json.loads(snowcat("schema").out)["title"] == "A Snowcat manifest"
    assert json.loads(snowcat("schema", "computepool").out)["title"] == "ComputePool"
    assert json.loads(snowcat("schema", "Project").out)["properties"]["project"]


def test_init_writes_a_project_that_is_valid_and_never_overwrites(snowcat: Snowcat, tmp_path: Path) -> None:
    done = snowcat("init", "new")
    assert done.code == 0, done
    assert snowcat("validate", "new").code == 0
    written, source = ((folder / "snowcat.yaml").read_text() for folder in (snowcat.folder / "new", ROOT / "manifests" / "lab"))
    assert written == source.replace("project: lab\n", "project: new\n") != source, "two projects never share marks"
    before = {path: path.read_bytes() for path in (snowcat.folder / "new").rglob("*") if path.is_file()}
    assert not [path for path in before if path.name.startswith(".")]
    again = snowcat("init", "new")
    assert again.code == 2
    assert "is not empty; nothing was written" in again.err
    assert {path: path.read_bytes() for path in (snowcat.folder / "new").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("folder", "name"),
    [("team_a", "team_a"), ("My Lab (2)", "my-lab-2"), ("2026", "lab-2026"), ("…", "lab"), ("Ünal", "nal"), ("x" * 60, "x" * 40)],
)
def test_a_folder_s_name_becomes_a_valid_project_name(folder: str, name: str) -> None:
    assert project_name(Path("/projects") / folder) == name
    assert ProjectSettings.model_validate({"apiVersion": "snowcat/v1", "kind": "Project", "project": name, "role": "r"}).project == name


def test_a_plan_on_paper_has_the_sql(snowcat: Snowcat) -> None:
    done = snowcat("plan", "--offline")
    assert done.code == 0, done
    assert "+ create   Warehouse/wh" in done.out
    assert "AUTO_SUSPEND = 600" in done.out
    assert "4 to create" in done.out
    assert "AUTO_SUSPEND = 300" in snowcat("plan", "--offline", "--account", "local").out


@pytest.mark.parametrize(
    ("form", "begins"), [("sql", "-- create "), ("markdown", "<!-- snowcat plan small -->"), ("json", "{"), ("yaml", "project: small")]
)
def test_forms_of_a_plan(form: str, begins: str, snowcat: Snowcat) -> None:
    out = snowcat("plan", "--offline", "-o", form).out
    assert out.startswith(begins)
    if form in ("json", "yaml"):
        document = yaml.safe_load(out)
        assert [change["action"] for change in document["changes"]] == ["create"] * 4
        assert set(document["changes"][0]) == {
            "object", "action", "fields", "statements", "effects", "reason", "after", "cost", "destructive", "blocked"
        }  # fmt: skip


def test_a_plan_that_needs_an_account_s_values_says_once_how_to_choose_one(snowcat: Snowcat) -> None:
    project = snowcat.folder / "snowcat.yaml"
    project.write_text(project.read_text().replace("values: {suspend: 600}", "values: {}").replace("{local: {", "{other: {}, local: {"))
    (snowcat.folder / "more.yaml").write_text(OBJECTS.partition("---")[0].replace("name: wh", "name: two"))
    said = snowcat("plan", "--offline").err
    assert said.count("the value ${suspend} is not defined") == 2
    assert said.endswith("choose `--local` or `--account local`\n") and said.count("choose") == 1
    assert "choose" not in snowcat("plan", "--offline", "--account", "local").err
    assert "choose" not in snowcat("plan", "--offline", "--account", "other").err, "one is chosen, and it does not help"


def test_a_plan_with_something_to_do_is_exit_code_3_on_demand(snowcat: Snowcat) -> None:
    assert snowcat("plan", "--offline", "--exit-code").code == 3


@pytest.mark.parametrize("more", [[], ["--exit-code"], ["-o", "markdown"]])
def test_a_plan_with_something_blocked_is_exit_code_1(more: list[str], snowcat: Snowcat) -> None:
    pool = "apiVersion: snowcat/v1\nkind: ComputePool\nmetadata: {name: system_compute_pool_cpu}\nspec: {instanceFamily: CPU_X64_S}\n"
    (snowcat.folder / "pool.yaml").write_text(pool)
    done = snowcat("plan", "--offline", *more)
    assert done.code == 1 and "Warehouse/wh" in done.out, done
    assert "1 blocked: 'snowcat apply' cannot do it before a person acts:\n" in done.err
    assert "  ComputePool/system_compute_pool_cpu (pool.yaml:3): " in done.err
    assert "belongs to Snowflake" in done.err


def test_a_plan_of_invalid_manifests_shows_the_rest_and_is_exit_code_2(snowcat: Snowcat) -> None:
    (snowcat.folder / "broken.yaml").write_text("x: [\n")
    done = snowcat("plan", "--offline")
    assert done.code == 2
    assert "create   Warehouse/wh" in done.out
    assert "broken.yaml:2: this is not YAML" in done.err


def test_no_secret_is_in_a_plan(snowcat: Snowcat) -> None:
    secret = "---\napiVersion: snowcat/v1\nkind: Secret\nmetadata: {name: token, schema: db.s}\nspec: {valueFrom: {env: MY_TOKEN}}\n"
    (snowcat.folder / "objects.yaml").write_text(OBJECTS + secret)
    for form in ("table", "sql", "json", "markdown"):
        done = snowcat("plan", "--offline", "-o", form, MY_TOKEN="correct horse battery")
        assert "TOKEN" in done.out
        assert "correct horse" not in done.text


def test_bootstrap_prints_what_an_administrator_runs(snowcat: Snowcat) -> None:
    done = snowcat("bootstrap")
    assert done.code == 0, done
    assert "USE ROLE ACCOUNTADMIN;" in done.out
    assert "CREATE ROLE IF NOT EXISTS WORKER" in done.out
    assert "CREATE SCHEMA IF NOT EXISTS SNOWCAT.CONTROL;" in done.out


def test_without_a_connection_it_says_how_to_have_one(snowcat: Snowcat) -> None:
    done = snowcat("plan")
    assert done.code == 1
    assert "no connection: add one with" in done.err
    assert "--local" in done.err


def test_an_account_that_cannot_be_reached(snowcat: Snowcat) -> None:
    done = snowcat(
        "get", SNOWFLAKE_ACCOUNT="x", SNOWFLAKE_USER="u", SNOWFLAKE_PASSWORD="not-to-be-shown",
        SNOWFLAKE_HOST="127.0.0.1", SNOWFLAKE_PORT="9", SNOWFLAKE_PROTOCOL="http",
    )  # fmt: skip
    assert done.code == 1
    assert "127.0.0.1:9 did not answer" in done.err
    assert "not-to-be-shown" not in done.text


def test_a_fault_of_ours_has_a_traceback_only_on_demand(snowcat: Snowcat) -> None:
    (snowcat.folder / "snowcat.yaml").unlink()
    quiet, loud = snowcat("plan"), snowcat("plan", SNOWCAT_DEBUG="1")
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err
    assert quiet.code == loud.code == 2
