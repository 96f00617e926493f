"""A folder as a project: which files count, whose values are used, and how names become references."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.api.names import QualifiedName
from controller.api.objects import ObjectKey
from controller.manifests.project import find_project, load_project

PROJECT = """\
apiVersion: snowcat/v1
kind: Project
project: test
role: worker
warehouse: wh
home: ops.control
existing: [Schema/raw.public, Stage/raw.public.landing]
values: {family: CPU_X64_XS, nodes: 1}
accounts:
  local: {values: {nodes: 2}}
  prod: {connection: company, values: {family: GPU_NV_S}}
"""


def document(kind: str, name: str, spec: str = "{}", **metadata: str) -> str:
    meta = ", ".join([f"name: {name}", *(f"{key}: {value}" for key, value in metadata.items())])
    return f"---\napiVersion: snowcat/v1\nkind: {kind}\nmetadata: {{{meta}}}\nspec: {spec}\n"


BASE = (
    document("Database", "db")
    + document("Schema", "s", database="db")
    + document("Stage", "files", schema="db.s")
    + document("Warehouse", "wh")
    + document("ComputePool", "pool", "{instanceFamily: '${family}', minNodes: '${nodes}', maxNodes: 4}")
)


def write(folder: Path, **files: str) -> Path:
    (folder / "snowcat.yaml").write_text(PROJECT)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def key(kind: str, name: str) -> ObjectKey:
    return ObjectKey(kind, QualifiedName.parse(name))


def names(folder: Path) -> set[str]:
    return {str(obj.key) for obj in load_project(folder).graph}


def test_everything_needed_first_is_known(tmp_path: Path) -> None:
    job = (
        "{source: {package: {name: p, version: '1', file: f, sha256: '"
        + "0" * 64
        + "'}}, stage: files, computePool: POOL, image: /a/b/c/d:1}"
    )
    result = load_project(write(tmp_path, base=BASE, model=document("BaseModel", "m", job, schema="db.s")))
    assert result.problems == ()
    model = result.graph.get(key("BaseModel", "db.s.m"))
    assert model is not None
    assert dict(model.references) == {"stage": key("Stage", "db.s.files"), "computePool": key("ComputePool", "pool")}
    assert {str(k) for k in model.depends_on} == {"Stage/files", "ComputePool/pool", "Schema/s", "Warehouse/wh"}
    schema = result.graph.get(key("Schema", "db.s"))
    assert schema is not None
    assert schema.depends_on == {key("Database", "db")}


@pytest.mark.parametrize(
    ("reason", "written", "home", "meant"),
    [
        ("the own schema goes first", "files", "db.s", "db.s.files"),
        ("case does not count", "FILES", "db.s", "db.s.files"),
        ("elsewhere in the project, when only one has the name", "other", "db.s", "db.t.other"),
        ("within the own database", "t.files", "db.s", "db.t.files"),
        ("exactly", "db.t.files", "db.s", "db.t.files"),
        ("somebody else's, when it is listed", "raw.public.landing", "db.s", "raw.public.landing"),
        ("somebody else's by its last name", "landing", "db.s", "raw.public.landing"),
    ],
)
def test_a_name_is_looked_up_from_near_to_far(reason: str, written: str, home: str, meant: str, tmp_path: Path) -> None:
    more = document("Schema", "t", database="db") + document("Stage", "files", schema="db.t") + document("Stage", "other", schema="db.t")
    workspace = document("Workspace", "w", f"{{computePool: pool, image: /a/b/c/d:1, stage: {written}}}", schema=home)
    result = load_project(write(tmp_path, base=BASE, more=more, workspace=workspace))
    assert [str(problem) for problem in result.problems] == [], reason
    found = result.graph.get(key("Workspace", "db.s.w"))
    assert found is not None
    assert found.references["stage"] == key("Stage", meant), reason
    assert (key("Stage", meant) in found.depends_on) == (not meant.startswith("raw"))


def test_a_name_that_may_mean_two_things_is_a_problem(tmp_path: Path) -> None:
    more = "".join(document("Schema", s, database="db") + document("Stage", "twin", schema=f"db.{s}") for s in ("t", "u"))
    workspace = document("Workspace", "w", "{computePool: pool, image: /a/b/c/d:1, stage: twin}", schema="db.s")
    result = load_project(write(tmp_path, base=BASE, more=more, workspace=workspace))
    assert "'twin' may be any of DB.T.TWIN, DB.U.TWIN; write database.schema.name" in str(result.errors[0])


@pytest.mark.parametrize(
    ("reason", "written"),
    [
        ("a schema by its last name", "s"),
        ("the schema PUBLIC comes with its database", "db.public"),
        ("the home schema exists", "ops.control"),
        ("a schema of others", "raw.public"),
    ],
)
def test_schemas_that_an_object_may_live_in(reason: str, written: str, tmp_path: Path) -> None:
    result = load_project(write(tmp_path, base=BASE, stage=document("Stage", "more", schema=written)))
    assert [str(problem) for problem in result.problems] == [], reason


def test_references_of_a_kind_that_stands_beside(tmp_path: Path) -> None:
    role = document("Role", "r", "{privileges: [{on: {kind: Schema, name: db.s}, privileges: [USAGE]}], grantedTo: {roles: [SYSADMIN]}}")
    result = load_project(write(tmp_path, base=BASE, role=role))
    assert result.problems == ()
    found = result.graph.get(key("Role", "r"))
    assert found is not None
    assert found.references["privileges[0].on.name"] == key("Schema", "db.s")


@pytest.mark.parametrize(
    ("reason", "choice", "account", "nodes", "family"),
    [
        ("no account: the project's own values", {}, None, 1, "CPU_X64_XS"),
        ("--local", {"local": True}, "local", 2, "CPU_X64_XS"),
        ("by name", {"account": "prod"}, "prod", 1, "GPU_NV_S"),
        ("by its connection", {"connection": "company"}, "prod", 1, "GPU_NV_S"),
        ("a connection of the account's own name", {"connection": "prod"}, "prod", 1, "GPU_NV_S"),
        ("a connection that no account names", {"connection": "mine"}, None, 1, "CPU_X64_XS"),
    ],
)
def test_the_account_chooses_the_values(
    reason: str, choice: dict[str, object], account: str | None, nodes: int, family: str, tmp_path: Path
) -> None:
    result = load_project(write(tmp_path, base=BASE), **choice)  # type: ignore[arg-type]
    pool = result.graph.get(key("ComputePool", "pool"))
    assert pool is not None, [str(problem) for problem in result.problems]
    assert (result.account, pool.manifest.spec.min_nodes, pool.manifest.spec.instance_family) == (account, nodes, family), reason


def test_what_is_a_manifest_and_what_is_not(tmp_path: Path) -> None:
    write(tmp_path, base=BASE)
    broken = "this: [is not"
    for place in (".hidden.yaml", ".ipynb_checkpoints/a.yaml", ".git/config.yaml", "notes.txt", "data.json"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(broken)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "pool.yml").write_text(document("ComputePool", "deep", "{instanceFamily: GPU_NV_S}"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "snowcat.yaml").write_text(PROJECT)
    (tmp_path / "other" / "pool.yaml").write_text(document("ComputePool", "others", "{instanceFamily: GPU_NV_S}"))
    assert load_project(tmp_path).problems == ()
    assert "ComputePool/deep" in names(tmp_path)
    assert "ComputePool/others" not in names(tmp_path)


def test_links_are_followed_and_never_for_ever(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    write(folder, base=BASE)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "pool.yaml").write_text(document("ComputePool", "linked", "{instanceFamily: GPU_NV_S}"))
    (folder / "link").symlink_to(outside)
    (outside / "back").symlink_to(folder)
    assert load_project(folder).problems == ()
    assert "ComputePool/linked" in names(folder)


def test_windows_files_read_the_same(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "base.yaml").write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    result = load_project(tmp_path)
    assert result.problems == ()
    assert len(result.graph.objects) == 5


def test_the_order_of_documents_and_files_means_nothing(tmp_path: Path) -> None:
    parts = [part for part in BASE.split("---\n") if part]
    write(tmp_path, **{f"f{index}": "---\n".join(parts[index::2]) for index in (1, 0)})
    one = load_project(tmp_path).graph
    other = tmp_path / "other"
    other.mkdir()
    write(other, base="---\n".join(reversed(parts)))
    two = load_project(other).graph
    assert {k: (o.manifest, o.depends_on) for k, o in one.objects.items()} == {
        k: (o.manifest, o.depends_on) for k, o in two.objects.items()
    }


def test_the_last_good_text_stands_in_for_a_broken_file(tmp_path: Path) -> None:
    good = load_project(write(tmp_path, base=BASE))
    base = tmp_path / "base.yaml"
    base.write_text("broken: [")
    assert not load_project(tmp_path).graph.objects
    again = load_project(tmp_path, texts={base: good.texts[base]})
    assert again.graph.objects.keys() == good.graph.objects.keys()
    base.unlink()
    assert not load_project(tmp_path, texts={base: good.texts[base]}).graph.objects, "a file that is gone stays gone"


def test_problems_of_one_file_only(tmp_path: Path) -> None:
    write(tmp_path, base=BASE, bad1="a: [", bad2="b: [")
    result = load_project(tmp_path / "bad1.yaml", only=[tmp_path / "bad1.yaml"])
    assert [problem.location.file.name for problem in result.problems] == ["bad1.yaml"]
    assert len(result.graph.objects) == 5


@pytest.mark.parametrize(
    ("reason", "place", "start", "found"),
    [
        ("the folder itself", "p", "p", "p"),
        ("from a file within", "p", "p/x.yaml", "p"),
        ("from a folder below", "p", "p/a/b", "p"),
        ("manifests beside", "manifests", ".", "manifests"),
        ("the only folder of manifests", "manifests/lab", ".", "manifests/lab"),
        ("nothing", "elsewhere", ".", None),
    ],
)
def test_where_a_project_is_found(reason: str, place: str, start: str, found: str | None, tmp_path: Path) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "snowcat.yaml").write_text(PROJECT)
    (tmp_path / start).mkdir(parents=True, exist_ok=True) if not start.endswith(".yaml") else (tmp_path / start).touch()
    assert find_project(tmp_path / start) == (tmp_path / found if found else None), reason


def test_two_folders_of_manifests_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "manifests" / name).mkdir(parents=True)
        (tmp_path / "manifests" / name / "snowcat.yaml").write_text(PROJECT)
    assert find_project(tmp_path) is None


def test_a_variant_that_links_to_anothers_files_is_not_the_one_meant(tmp_path: Path) -> None:
    for name in ("a", "a-small"):
        (tmp_path / "manifests" / name).mkdir(parents=True)
        (tmp_path / "manifests" / name / "snowcat.yaml").write_text(PROJECT)
    (tmp_path / "manifests" / "a" / "x.yaml").write_text("")
    (tmp_path / "manifests" / "a-small" / "x.yaml").symlink_to("../a/x.yaml")
    assert find_project(tmp_path) == tmp_path / "manifests" / "a"


def test_a_large_project_loads(tmp_path: Path) -> None:
    pools = "".join(document("ComputePool", f"pool_{n}", "{instanceFamily: CPU_X64_XS}") for n in range(1000))
    assert len(load_project(write(tmp_path, pools=pools)).graph.objects) == 1000


def test_the_lab_is_without_problems_for_both_accounts() -> None:
    lab = Path(__file__).parents[2] / "manifests" / "lab"
    for choice in ({"local": True}, {"account": "production"}):
        result = load_project(lab, **choice)  # type: ignore[arg-type]
        assert [str(problem) for problem in result.problems] == []
        assert {obj.key.kind for obj in result.graph} >= {
            "Role",
            "ComputePool",
            "Image",
            "Dataset",
            "BaseModel",
            "FineTuneJob",
            "ModelDeployment",
        }


def test_a_relative_path_is_shown_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, bad="a: [")
    monkeypatch.chdir(tmp_path)
    assert str(load_project(Path()).errors[0]).startswith("bad.yaml:")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert str(load_project(tmp_path).errors[0]).startswith(f"{tmp_path}/bad.yaml:")


def test_a_name_that_may_stand_in_an_unreadable_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "snowcat.yaml").write_text("apiVersion: snowcat/v1\nkind: Project\nproject: p\nrole: r\nhome: db.home\n", encoding="utf-8")
    (tmp_path / "a.yaml").write_text("spec: {\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("apiVersion: snowcat/v1\nkind: Schema\nmetadata: {name: s, database: elsewhere}\n", encoding="utf-8")
    found = {problem.location.file.name: str(problem) for problem in load_project(tmp_path).problems}
    assert "this is not YAML" in found["a.yaml"]
    assert "it may stand in" in found["b.yaml"] and "a.yaml" in found["b.yaml"]
