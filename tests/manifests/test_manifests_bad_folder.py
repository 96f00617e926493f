"""What is wrong with a folder as a whole: its project file, its names and references, files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from manifests_bad import PROJECT, STAGE, load, pool, service

from controller.manifests.project import load_project


def test_a_wrong_object_leaves_the_others_of_its_file_alone(tmp_path: Path) -> None:
    result = load(tmp_path, pool("good") + "---\n" + pool("bad", "  minNodes: x\n"))
    assert [str(obj.key) for obj in result.graph] == ["ComputePool/good"]
    assert len(result.problems) == 1


def test_what_refers_to_a_wrong_object_says_where_the_fault_is(tmp_path: Path) -> None:
    text = service("      containers: [{name: m, image: /a/b/c/d:1}]\n").replace("cpu_x64_xs", "GPU_3", 1)
    messages = [str(problem) for problem in load(tmp_path, text).errors]
    assert len(messages) == 2
    assert "the ComputePool 'pool' has a problem of its own" in messages[1]
    assert messages[1].endswith("objects.yaml:5")


def test_a_duplicate_stops_both(tmp_path: Path) -> None:
    result = load(tmp_path, pool("a") + "---\n" + pool("A") + "---\n" + pool("b"))
    assert [str(obj.key) for obj in result.graph] == ["ComputePool/b"]
    assert len({problem.key for problem in result.errors}) == 1


def test_a_cycle_leaves_out_what_is_on_it_and_what_waits_for_it(tmp_path: Path) -> None:
    def after(name: str, other: str) -> str:
        return pool(name).replace(f"{{name: {name}}}", f"{{name: {name}, dependsOn: [ComputePool/{other}]}}")

    result = load(tmp_path, "---\n".join([after("a", "b"), after("b", "a"), after("c", "a"), pool("d")]))
    assert [str(obj.key) for obj in result.graph] == ["ComputePool/d"]


def test_an_empty_file_is_worth_a_warning_only(tmp_path: Path) -> None:
    result = load(tmp_path, "# nothing here yet\n")
    assert [problem.is_error for problem in result.problems] == [False]
    assert result.complete


def test_a_folder_without_manifests_is_not_complete(tmp_path: Path) -> None:
    (tmp_path / "snowcat.yaml").write_text(PROJECT)
    result = load_project(tmp_path)
    assert not result.complete
    assert "there are no manifests in this folder" in result.errors[0].message


def test_a_folder_without_a_project_file(tmp_path: Path) -> None:
    result = load_project(tmp_path)
    assert result.settings is None
    assert "snowcat init" in str(result.errors[0])


@pytest.mark.parametrize(
    ("reason", "text", "line", "says"),
    [
        ("no role", PROJECT.replace("role: worker\n", ""), 1, "role: a value is missing"),
        ("an administrator's role", PROJECT.replace("worker", "sysadmin"), 4, "SYSADMIN is a role of Snowflake's own"),
        ("everybody's role", PROJECT.replace("worker", "'\"PUBLIC\"'"), 4, "name a role of the project's"),
        ("an unknown field", PROJECT + "wharehouse: x\n", 7, "did you mean warehouse?"),
        ("a home without its database", PROJECT + "home: control\n", 7, "must be database.schema"),
        ("an existing object of no kind", PROJECT.replace("Schema/db.s", "Shema/db.s"), 5, "is not Kind/name"),
        (
            "a secret among the values",
            PROJECT.replace("nodes: 2", "hf_token: hf_abcdefghijklmnopqrstuvwxyz1234"),
            6,
            "a secret stands here",
        ),
        ("two documents", PROJECT + "---\n" + PROJECT, 1, "must hold one mapping"),
        ("a duration of no unit", PROJECT + "resync: 3 fortnights\n", 7, "is not a duration"),
        ("broken YAML", PROJECT + "users: [\n", 8, "not YAML"),
    ],
)
def test_faults_of_the_project_file(reason: str, text: str, line: int, says: str, tmp_path: Path) -> None:
    result = load(tmp_path, pool(), text)
    assert result.settings is None, reason
    assert result.errors[0].location.line == line
    assert says in str(result.errors[0])


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("a field of it is wrong", PROJECT + "resync: 3 fortnights\n"),
        ("it is no YAML", PROJECT + "users: [\n"),
        ("a secret stands in it", PROJECT.replace("nodes: 2", "hf_token: hf_abcdefghijklmnopqrstuvwxyz1234")),
    ],
)
def test_a_fault_of_the_project_file_hides_no_others(reason: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("apiVersion: [\n")
    (tmp_path / "unsure.yaml").write_text(pool("d", "  minNodes: ${somewhere}\n"))
    (tmp_path / "spec.yaml").write_text("spec: {containers: []}\n")
    result = load(tmp_path, pool("good") + "---\n" + pool("bad", "  minNodes: x\n"), text)
    assert result.settings is None
    assert [problem.location.file.name for problem in result.errors][:1] == ["snowcat.yaml"]
    others = {problem.location.file.name for problem in result.errors[1:]}
    assert others == {"broken.yaml", "objects.yaml", "spec.yaml"}, reason
    assert "hf_abc" not in "".join(map(str, result.problems))
    (only,) = load_project(tmp_path, only=[tmp_path / "broken.yaml"]).errors[1:]
    assert only.location.file.name == "broken.yaml"


@pytest.mark.parametrize(
    ("reason", "project", "told"),
    [
        ("a field of it is wrong", PROJECT + "resync: 3 fortnights\n", True),
        ("a field is missing", PROJECT.replace("role: worker\n", ""), True),
        ("a field that references need is wrong", PROJECT + "home: control\n", True),
        ("a secret among its values", PROJECT.replace("nodes: 2", "hf_token: hf_abcdefghijklmnopqrstuvwxyz1234"), True),
        ("the account is unknown", PROJECT + "accounts: {other: {}}\n", True),
        ("what exists is wrong", PROJECT.replace("Schema/db.s", "Shema/db.s"), False),
        ("what exists is misspelt", PROJECT.replace("existing", "exsting"), False),
        ("it is no YAML", PROJECT + "users: [\n", False),
    ],
)
def test_a_fault_of_the_project_file_hides_no_wrong_reference(reason: str, project: str, told: bool, tmp_path: Path) -> None:
    """Unless what exists besides the manifests cannot be told: then any name may be right."""
    (tmp_path / "unsure.yaml").write_text(pool("d", "  minNodes: ${somewhere}\n"))
    after = [pool("a").replace("a}", f"a, dependsOn: [ComputePool/{name}]}}") for name in ("nowhere", "d")]
    load(tmp_path, "---\n".join([STAGE, after[0], after[1].replace("name: a", "name: b")]), project)
    result = load_project(tmp_path, "elsewhere" if "account" in reason else None)
    found = [problem for problem in result.errors if problem.location.file.name != "snowcat.yaml"]
    assert result.settings is None
    assert [(p.location.file.name, p.location.line) for p in found] == ([("objects.yaml", 8)] if told else []), reason
    assert all("there is no ComputePool 'nowhere'" in str(problem) for problem in found)


def test_a_name_that_is_nowhere_gets_all_that_are_near(tmp_path: Path) -> None:
    project = PROJECT.replace("Schema/db.s", "Schema/db.s, ComputePool/trainer_pool_eu")
    text = "---\n".join([pool("train_pool"), pool("trainer_pool"), pool("x").replace("x}", "x, dependsOn: [ComputePool/trainers_pool]}")])
    (problem,) = load(tmp_path, text, project).errors
    assert problem.hint == "did you mean trainer_pool, train_pool or trainer_pool_eu?"


def test_an_unknown_account_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "snowcat.yaml").write_text(PROJECT + "accounts: {production: {}, local: {}}\n")
    result = load_project(tmp_path, "prod")
    assert "there is no account 'prod'; known: local, production" in str(result.errors[0])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "snowcat.yaml").write_text(PROJECT)
    os.mkfifo(tmp_path / "pipe.yaml")
    (problem,) = load_project(tmp_path).errors
    assert (problem.location.file.name, problem.message) == ("pipe.yaml", "this is no file")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    result = load(tmp_path, pool())
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    result = load_project(tmp_path)
    assert [problem.location.file.name for problem in result.errors] == ["gone.yaml", "loop.yaml"]
    assert all("cannot be read" in problem.message for problem in result.errors)
    assert [str(obj.key) for obj in result.graph] == ["ComputePool/pool"]


def test_a_link_that_leads_a_stage_s_files_out_of_the_project(tmp_path: Path) -> None:
    """Whoever may change the project's folder could have any file of the machine uploaded."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/rows.txt").write_text("x")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "data").symlink_to("../outside")
    for pattern in ("data/*.txt", "data/rows.txt", "data"):
        (problem,) = load(folder, STAGE.replace("spec: {}", f"spec: {{files: [{{from: '{pattern}'}}]}}")).errors
        assert f"{pattern!r} leaves the project's folder" in str(problem)
