"""Looking up what a manifest refers to: the same few questions for every kind that runs containers."""

from __future__ import annotations

from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import Stalled, View


def schema_scope(name: QualifiedName) -> str:
    """`SCHEMA D.S`, for a SHOW of an object and its siblings."""
    return f"SCHEMA {schema_of(name).sql}"


def schema_of(name: QualifiedName) -> QualifiedName:
    if name.parent is None:
        raise Stalled(f"{name} has no schema: set metadata.schema")
    return name.parent


def names_of(obj: DesiredObject, path: str) -> list[QualifiedName]:
    """The full names that a list field refers to, in the manifest's order."""
    numbered = []
    for field, key in obj.references.items():
        head, bracket, rest = field.partition("[")
        if head == path and bracket:
            numbered.append((int(rest.partition("]")[0]), key.name))
    return [name for _, name in sorted(numbered)]


def name_of(obj: DesiredObject, path: str) -> QualifiedName:
    """The full name that a required field refers to."""
    return key_of(obj, path).name


def key_of(obj: DesiredObject, path: str) -> ObjectKey:
    key = obj.references.get(path)
    if key is None:
        raise Stalled(f"{obj.location}: {obj.key}: {path} refers to nothing")
    return key


def manifest_of(obj: DesiredObject, path: str, graph: Graph) -> DesiredObject:
    """The object that a field refers to; it must be one of the project's own.

    Raises:
        Stalled: it is an object of others (`existing`), whose manifest is not known.
    """
    found = graph.referred(obj, path)
    if found is None:
        raise Stalled(f"{obj.location}: {obj.key}: {path} must name an object of this project, {key_of(obj, path)} is not declared in it")
    return found


def warehouse_of(obj: DesiredObject, view: View) -> Identifier | None:
    """QUERY_WAREHOUSE: the manifest's, else the project's."""
    key = obj.references.get("warehouse")
    if key is not None:
        return key.name.name
    return Identifier.parse(view.project.warehouse) if view.project.warehouse else None
