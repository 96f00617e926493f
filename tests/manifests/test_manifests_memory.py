"""A load that remembers earlier ones finds what a fresh one finds, whatever happened to the files in between."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.manifests import files as files_module
from controller.manifests import project as project_module
from controller.manifests import resolve as resolve_module
from controller.manifests.memory import Memory
from controller.manifests.project import LoadResult, load_project
from controller.manifests.resolve import resolve

PROJECT = "apiVersion: snowcat/v1\nkind: Project\nproject: p\nrole: r\nvalues: {size: XSMALL, wait: 60}\n"
A = (
    "apiVersion: snowcat/v1\nkind: Database\nmetadata: {name: db}\n---\n"
    "apiVersion: snowcat/v1\nkind: Schema\nmetadata: {name: s, database: db}\n---\n"
    "apiVersion: snowcat/v1\nkind: NetworkRule\nmetadata: {name: rule, schema: db.s}\nspec: {values: [a.example.com]}\n"
)
B = (
    'apiVersion: snowcat/v1\nkind: Warehouse\nmetadata: {name: wh}\nspec: {size: "${size}", autoSuspend: 61}\n---\n'
    "apiVersion: snowcat/v1\nkind: ExternalAccessIntegration\nmetadata: {name: access}\nspec: {networkRules: [rule]}\n"
)
C = (
    "apiVersion: snowcat/v1\nkind: Stage\nmetadata: {name: files, schema: db.s}\nspec: {files: [{from: data.txt}]}\n---\n"
    "apiVersion: snowcat/v1\nkind: Stage\nmetadata: {name: other, schema: db.s}\n"
)


def edit(file: str, old: str, new: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        stat = (folder / file).stat()
        (folder / file).write_text(text.replace(old, new))
        os.utime(folder / file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # neither size nor time may be trusted

    return apply


def write(file: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_text(text) and None


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


STEPS: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: None, "nothing"),
    (edit("b.yaml", "name: access", "name: access2"), "a name that nobody refers to"),
    (edit("b.yaml", "name: access2", "name: access"), "and back"),
    (edit("b.yaml", "61", "62"), "a field, with size and time of the file as before"),
    (edit("a.yaml", "name: rule", "name: role"), "a name that others refer to"),
    (edit("a.yaml", "name: role", "name: rule"), "and back"),
    (edit("snowcat.yaml", "XSMALL", "MEDIUM"), "a value, which no manifest shows"),
    (remove("data.txt"), "a file that a manifest names is gone, and no manifest has changed"),
    (write("data.txt", "again"), "it is there again"),
    (edit("b.yaml", "autoSuspend", "autoSuspnd"), "a field that is not known"),
    (edit("a.yaml", "a.example.com", "b.example.com"), "another file while one is broken"),
    (edit("b.yaml", "autoSuspnd", "autoSuspend"), "the broken one is mended"),
    (write("d.yaml", "x: [\n"), "a file that is no YAML"),
    (remove("d.yaml"), "it is gone"),
    (write("d.yaml", B), "everything in it is declared twice"),
    (remove("d.yaml"), "it is gone again"),
    (edit("snowcat.yaml", "role: r", "role: r\nexisting: [Schema/raw.s]"), "a schema of others makes a short name ambiguous"),
    (edit("a.yaml", "metadata: {name: s, database: db}", "metadata: {name: s, database: db, dependsOn: [Stage/other]}"), "a cycle"),
    (edit("a.yaml", ", dependsOn: [Stage/other]", ""), "no cycle"),
    (remove("b.yaml"), "a whole file goes"),
    (write("b.yaml", B), "and comes back"),
]


def same(one: LoadResult, other: LoadResult) -> None:
    assert one.graph.objects == other.graph.objects
    assert one.problems == other.problems
    assert (one.files, one.texts, one.settings) == (other.files, other.texts, other.settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"snowcat.yaml": PROJECT, "a.yaml": A, "b.yaml": B, "c.yaml": C, "data.txt": "x"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_load_with_a_memory_finds_what_a_fresh_one_finds(folder: Path) -> None:
    memory = Memory()
    assert load_project(folder, memory=memory).complete
    for change, reason in STEPS:
        change(folder)
        for texts in ({}, {folder / "a.yaml": A.replace("[a.", "[c.")}):  # as it is, and with the last good text of a file in its place
            remembered, fresh = load_project(folder, memory=memory, texts=texts), load_project(folder, texts=texts)
            assert remembered.graph.objects == fresh.graph.objects, reason
            same(remembered, fresh)


def test_what_has_not_changed_is_not_checked_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    real = project_module.decode

    def spy(*args: object) -> object:
        decoded.append(args[1].name)  # type: ignore[attr-defined]
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(project_module, "decode", spy)
    memory = Memory()
    first = load_project(folder, memory=memory)
    decoded.clear()
    again = load_project(folder, memory=memory)
    assert set(decoded) == {"c.yaml"}, "only the file that names one of the user's files is looked at again"
    edit("b.yaml", "61", "62")(folder)
    decoded.clear()
    changed = load_project(folder, memory=memory)
    assert set(decoded) == {"b.yaml", "c.yaml"}
    old, new = first.graph.objects, changed.graph.objects
    assert {key.kind for key in old if old[key] is new[key]} >= {"Database", "Schema", "NetworkRule"}, "objects stay the same values"
    assert again.graph.objects == old


def test_references_are_looked_up_again_only_when_a_file_has_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[int] = []
    real = resolve
    monkeypatch.setattr(project_module, "resolve", lambda *args: resolved.append(1) or real(*args))  # type: ignore[func-returns-value]
    remove("c.yaml")(folder)  # whether the file that it names exists must be looked at each time
    memory = Memory()

    def load() -> bool:
        resolved.clear()
        remembered, fresh = load_project(folder, memory=memory), load_project(folder)
        same(remembered, fresh)
        assert list(remembered.graph.objects) == list(fresh.graph.objects)
        return len(resolved) == 2

    assert load()
    assert not load(), "the same files"
    for change, all_again, reason in [
        (edit("b.yaml", "61", "62"), False, "a field"),
        (edit("b.yaml", "name: wh", "name: wh2"), True, "a name"),
        (edit("b.yaml", "[rule]", "[rule, db.s.rule]"), False, "the same is referred to twice"),
        (edit("b.yaml", "name: access", "name: access, dependsOn: [Warehouse/wh2]"), True, "what is waited for"),
        (edit("a.yaml", "metadata: {name: db}", "metadata: {name: db}\nspec: {comment: x}"), False, "a container, and lines further down"),
        (edit("snowcat.yaml", "XSMALL", "MEDIUM"), True, "a value"),
        (write("d.yaml", C.replace("files: [{from: data.txt}]", "comment: x")), True, "one more file"),
        (edit("d.yaml", "name: other", "name: swap"), True, "the last one has another name"),
        (
            write("d.yaml", "---\n".join(reversed(C.replace("files: [{from: data.txt}]", "comment: x").split("---\n")))),
            True,
            "turned round",
        ),
        (remove("d.yaml"), True, "one file less"),
    ]:
        change(folder)
        assert load() is all_again, reason
        assert not load(), reason
    for change, reason in [
        (write("d.yaml", "x: [\n"), "no YAML"),
        (remove("d.yaml"), "gone"),
        (write("d.yaml", B), "declared twice"),
        (remove("d.yaml"), "gone again"),
        (edit("b.yaml", "[rule, db.s.rule]", "[no_rule]"), "nothing of that name"),
        (edit("b.yaml", "[no_rule]", "[rule]"), "mended"),
    ]:
        change(folder)
        assert load(), reason
    assert not load()
    remove("b.yaml")(folder)
    assert load(), "a file is gone"
    assert not load()


def test_only_what_was_edited_is_looked_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[list[str]] = []
    real = resolve_module._references

    def spy(unique: Any, *more: Any) -> Any:
        looked_up.append([str(key) for key in unique])
        return real(unique, *more)

    monkeypatch.setattr(resolve_module, "_references", spy)
    remove("c.yaml")(folder)
    memory = Memory()
    before = load_project(folder, memory=memory)
    looked_up.clear()
    edit("a.yaml", "a.example.com", "b.example.com")(folder)
    now = load_project(folder, memory=memory)
    assert [set(keys) for keys in looked_up] == [{"Database/db", "Schema/s", "NetworkRule/rule"}], "those of the file"
    assert all(now.graph.objects[key] is obj for key, obj in before.graph.objects.items() if obj.location.file.name == "b.yaml")


def test_a_cycle_that_an_edit_makes_is_found(folder: Path) -> None:
    memory = Memory()
    file = folder / "roles.yaml"
    role = "---\napiVersion: snowcat/v1\nkind: Role\nmetadata: {{name: {name}{more}}}\n"
    file.write_text(role.format(name="one_role", more="") + role.format(name="other_role", more=", dependsOn: [Role/one_role]"))
    before = load_project(folder, local=True, memory=memory)
    assert not before.errors, "one waits for the other"
    file.write_text(
        role.format(name="one_role", more=", dependsOn: [Role/other_role]")
        + role.format(name="other_role", more=", dependsOn: [Role/one_role]")
    )
    now = load_project(folder, local=True, memory=memory)
    assert any("wait for each other" in problem.message for problem in now.errors)


def test_each_file_is_read_in_one_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = os.read

    def spy(opened: int, size: int) -> bytes:
        read.append(size)
        return real(opened, size)

    monkeypatch.setattr(os, "read", spy)
    assert load_project(folder).complete
    assert sorted(read) == sorted((folder / name).stat().st_size + 1 for name in ("snowcat.yaml", "a.yaml", "b.yaml", "c.yaml"))


@pytest.mark.parametrize(("told", "reason"), [(3, "just so"), (1, "it has grown since"), (0, "it was empty"), (9, "it has shrunk")])
def test_a_file_that_is_written_to_meanwhile_is_read_to_its_end(tmp_path: Path, told: int, reason: str) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    opened = os.open(tmp_path / "a", os.O_RDONLY)
    try:
        assert files_module._content(opened, told) == b"abc", reason
    finally:
        os.close(opened)
