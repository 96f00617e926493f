"""Making the simple objects that a composite stands for: their manifests, names and what they wait for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controller.api.base import API_VERSION, Manifest, Metadata
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import DesiredObject, ObjectKey
from controller.api.service import Service, ServiceSpec
from controller.kinds.function import Function, FunctionSpec
from controller.kinds.references import schema_of


def child(
    parent: DesiredObject,
    manifest: Manifest,
    name: QualifiedName,
    references: Mapping[str, ObjectKey],
    waits_for: Iterable[ObjectKey],
) -> DesiredObject:
    """One child. It is treated as its parent is: adopted, kept and ignored alike."""
    schema = ObjectKey("Schema", schema_of(name))
    depends_on = frozenset([*references.values(), *waits_for, schema]) - {parent.key}
    return DesiredObject(ObjectKey(manifest.kind, name), manifest, parent.location, dict(references), depends_on, parent.key)


def child_metadata(parent: DesiredObject, name: Identifier, labels: Mapping[str, str] | None = None) -> Metadata:
    metadata = parent.manifest.metadata
    return Metadata(
        name=name.sql,
        schema_=schema_of(parent.key.name).sql,
        labels=dict(labels or {}),
        adopt=metadata.adopt,
        management_policy=metadata.management_policy,
        deletion_policy=parent.manifest.deletion_policy,
        replace=metadata.replace,
        ignore=metadata.ignore,
    )


def service_child(
    parent: DesiredObject,
    spec: Mapping[str, Any],
    references: Mapping[str, ObjectKey],
    waits_for: Iterable[ObjectKey] = (),
    labels: Mapping[str, str] | None = None,
) -> DesiredObject:
    """The service of a composite, called as the composite itself. `spec` in the form of a manifest."""
    metadata = child_metadata(parent, parent.key.name.name, labels)
    document = {"apiVersion": API_VERSION, "kind": "Service", "metadata": metadata, "spec": ServiceSpec.model_validate(spec)}
    manifest = Service.model_validate(document)
    warehouses = [key for key in parent.depends_on if key.kind == "Warehouse"]  # the project's, as QUERY_WAREHOUSE
    return child(parent, manifest, parent.key.name, references, [*waits_for, *warehouses])


def function_child(parent: DesiredObject, name: str, spec: FunctionSpec, waits_for: Iterable[ObjectKey]) -> DesiredObject:
    full = schema_of(parent.key.name).child(Identifier.parse(name))
    metadata = child_metadata(parent, full.name)
    manifest = Function.model_validate({"apiVersion": API_VERSION, "kind": "Function", "metadata": metadata, "spec": spec})
    return child(parent, manifest, full, {}, waits_for)


def common_references(parent: DesiredObject) -> dict[str, ObjectKey]:
    """References of a composite that its service takes over under the same field names."""
    names = ("computePool", "warehouse")
    return {path: key for path, key in parent.references.items() if path in names or path.startswith("externalAccess[")}
