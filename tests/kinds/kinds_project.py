"""Manifests as text → what a kind is given: objects, a view of an account, and rows as SHOW gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from controller.account.snapshot import Missing, Read, Row, Show, Snapshot
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import KindError, Project, View
from controller.kinds.registry import KINDS
from controller.manifests.project import load_project

PROJECT = "apiVersion: snowcat/v1\nkind: Project\nproject: proj\nrole: worker\nexisting: [Role/SYSADMIN, Database/db, Schema/db.sch]\n"


class Files:
    """The part of a Gatherer that the simple kinds use."""

    offline = False
    project = Project("proj", Path("/"))  # so that what a test writes anywhere lies in it

    def recall(self, key: str) -> Any | None:
        return None

    def show(self, read: Show) -> tuple[Row, ...]:
        return ()

    def hash_files(self, paths: Iterable[Path]) -> str:
        return "|".join(path.read_text() for path in paths)


class Offline(Files):
    offline = True


def graph_of(folder: Path, *manifests: str, whole: bool = False) -> Graph:
    """Load manifests, given without their apiVersion line unless they are `whole`, as a project of their own."""
    (folder / "snowcat.yaml").write_text(PROJECT)
    text = "\n---\n".join(("" if whole else "apiVersion: snowcat/v1\n") + dedent(manifest).strip() for manifest in manifests)
    (folder / "manifests.yaml").write_text(text)
    result = load_project(folder)
    assert not [p for p in result.problems if p.severity == "error"], [str(p) for p in result.problems]
    return result.graph


def one(folder: Path, kind: str, spec: str = "", metadata: str = "name: thing") -> tuple[DesiredObject, Graph]:
    """One manifest of a kind. Kinds that live in a schema get `db.sch`."""
    place = {"schema": "schema: db.sch", "database": "database: db"}.get(str(KINDS[kind].manifest.scope), "")
    lines = "\n".join(part for part in (dedent(metadata).strip(), place) if part)
    text = f"kind: {kind}\nmetadata:\n{indent(lines, '  ')}\n" + (f"spec:\n{indent(dedent(spec).strip(), '  ')}\n" if spec else "")
    graph = graph_of(folder, text)
    (obj,) = graph.of_kind(kind)
    return obj, graph


def view_of(
    graph: Graph,
    answers: Mapping[Read, Iterable[Row] | Missing] | None = None,
    *,
    role: str = "WORKER",
    gatherer: Files | None = None,
) -> View:
    """A view with gathered facts. SHOWs that the objects need and that are not answered are answered with no rows."""
    gatherer = gatherer or Files()
    facts: dict[ObjectKey, Any] = {}
    given = {read: rows if isinstance(rows, Missing) else tuple(rows) for read, rows in (answers or {}).items()}
    for obj in graph:
        kind = KINDS[obj.key.kind]
        try:
            facts[obj.key] = kind.gather(obj, graph, gatherer)
        except KindError as error:
            facts[obj.key] = error
        for read in kind.reads(obj, graph):
            given.setdefault(read, ())
    return View(Project("proj", Path(".")), graph, Snapshot(given, role=role), facts)


def row_for(obj: DesiredObject, **columns: Any) -> Row:
    """A row of SHOW under the object's own name, with this project's mark, and the columns given."""
    parts = obj.key.name.parts
    place = dict(zip(("name", "schema_name", "database_name"), (part.text for part in reversed(parts)), strict=False))
    if len(parts) == 2:
        place = {"name": parts[1].text, "database_name": parts[0].text}
    return {"owner": "WORKER", "comment": comment_of(obj), **place, **columns}


def comment_of(obj: DesiredObject, text: str = "", **attributes: str) -> str:
    """A comment with the mark that a fresh object of this manifest carries."""
    from controller.kinds.comments import mark_for
    from controller.kinds.mark import join_comment

    view = View(Project("proj", Path(".")), Graph({}), Snapshot())
    return join_comment(text, mark_for(obj, view, **attributes))


def show_of(obj: DesiredObject) -> Show:
    """The SHOW that lists the object."""
    return next(iter(KINDS[obj.key.kind].reads(obj, Graph({}))))


def seen_as(obj: DesiredObject, graph: Graph, row: Row, **more: Any) -> tuple[View, Any]:
    """View and observation for one row."""
    view = view_of(graph, {show_of(obj): [row], **more.pop("answers", {})}, **more)
    return view, KINDS[obj.key.kind].observe(obj, view)


def sql_of(steps: Iterable[Any]) -> list[str]:
    """Statements as shown to people, on one line each."""
    return [" ".join(str(step).split()) for step in steps]
