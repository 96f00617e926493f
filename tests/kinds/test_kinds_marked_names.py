"""Names read back from marks: quoted ones, ones that somebody has edited, and equal ones in two databases."""

from __future__ import annotations

from pathlib import Path

from controller.account.snapshot import Row, Show, Snapshot
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import Graph, ObjectKey
from controller.kinds.base import Project, View
from controller.kinds.dataset import DatasetKind
from controller.kinds.jobs.status import drop_jobs, job_inventory

SERVICES, TABLES = Show("SERVICES", "ACCOUNT"), Show("TABLES", "ACCOUNT")


def row(name: str, mark: str, database: str = "DB") -> Row:
    return {"name": name, "database_name": database, "schema_name": "S", "comment": f"[snowcat p/{mark} delete=yes]"}


def view(question: Show, *rows: Row) -> View:
    return View(Project("p", Path(), "WH", False), Graph({}), Snapshot({question: rows}), {})


def key(kind: str, name: str, database: str = "DB") -> ObjectKey:
    return ObjectKey(kind, QualifiedName((Identifier(database), Identifier("S"), Identifier(name))))


def test_jobs_of_an_object_with_a_quoted_name() -> None:
    seen = view(SERVICES, row("LOAD_1", 'BaseModel/"my%20model"'))
    assert [item.key for item in job_inventory("BaseModel", seen)] == [key("BaseModel", "my model")]
    assert [str(step) for step in drop_jobs(key("BaseModel", "my model"), seen)] == ["DROP SERVICE DB.S.LOAD_1"]


def test_a_mark_with_no_name_in_it_is_passed_over() -> None:
    seen = view(SERVICES, row("A", "BaseModel/no-name"), row("B", "BaseModel/good"))
    assert [item.key for item in job_inventory("BaseModel", seen)] == [key("BaseModel", "GOOD")]
    tables = view(TABLES, row("A", "Dataset/no-name"), row("B", "Dataset/good"))
    assert [item.key for item in DatasetKind().inventory(tables)] == [key("Dataset", "GOOD")]


def test_equal_names_in_two_databases_are_told_apart() -> None:
    """The table or job of another database names one here that may be somebody else's."""
    jobs = view(SERVICES, row("OTHERS", "BaseModel/m", "A"), row("MINE", "BaseModel/m", "B"))
    assert [str(step) for step in drop_jobs(key("BaseModel", "M", "B"), jobs)] == ["DROP SERVICE B.S.MINE"]
    tables = view(TABLES, row("OTHERS", "Dataset/d", "A"), row("MINE", "Dataset/d", "B"))
    assert [str(step) for step in DatasetKind().delete(key("Dataset", "D", "B"), tables)] == ["DROP TABLE B.S.MINE"]
