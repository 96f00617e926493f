"""All kinds by name, and the documents that are made from them: JSON Schema for editors, and the reference in docs/manifests.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.api.base import Manifest
from controller.api.base_model import BaseModel
from controller.api.compute_pool import ComputePool
from controller.api.database import Database
from controller.api.dataset import Dataset
from controller.api.fine_tune_job import FineTuneJob
from controller.api.gateway import Gateway
from controller.api.image import Image, ImageRepository
from controller.api.model_deployment import ModelDeployment
from controller.api.network import ExternalAccessIntegration, NetworkRule
from controller.api.project import ProjectSettings
from controller.api.role import Role
from controller.api.schema import Schema
from controller.api.secret import Secret
from controller.api.security_integration import SecurityIntegration
from controller.api.service import Service
from controller.api.stage import Stage
from controller.api.warehouse import Warehouse
from controller.api.workspace import Workspace

_ALL: tuple[type[Manifest], ...] = (
    Role,
    Warehouse,
    Database,
    Schema,
    SecurityIntegration,
    ComputePool,
    Secret,
    NetworkRule,
    ExternalAccessIntegration,
    Stage,
    ImageRepository,
    Image,
    Dataset,
    BaseModel,
    FineTuneJob,
    ModelDeployment,
    Service,
    Workspace,
    Gateway,
)

KINDS: Mapping[str, type[Manifest]] = {kind.__name__: kind for kind in _ALL}
"""Kinds that a manifest may have, in the order in which a reader meets them."""


def json_schema(kind: str | None = None) -> dict[str, Any]:
    """JSON Schema (2020-12) of one kind, of `Project`, or of any manifest when `kind` is None.

    Raises:
        KeyError: there is no such kind.
    """
    if kind is None:
        document: dict[str, Any] = {"oneOf": [], "$defs": {}}
        for name, kind_model in KINDS.items():
            schema = kind_model.model_json_schema(by_alias=True)
            document["$defs"].update(schema.pop("$defs", {}))
            document["$defs"][name] = {k: v for k, v in schema.items() if k != "$schema"}
            document["oneOf"].append({"$ref": f"#/$defs/{name}"})
        title = "A Snowcat manifest"
    else:
        model = ProjectSettings if kind == "Project" else KINDS[kind]
        document = model.model_json_schema(by_alias=True)
        title = kind
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_with_values(document), "title": title}


_VALUE = {"type": "string", "pattern": r"\$\{"}


def _with_values(schema: Any) -> Any:
    """The schema with `${name}` allowed wherever a field is not text: editors see a manifest before its values are filled in."""
    if isinstance(schema, list):
        return [_with_values(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _with_values(part) for key, part in schema.items()}
    for name, field in changed.get("properties", {}).items():
        if isinstance(field, dict) and field.get("type") != "string" and name not in ("apiVersion", "kind", "metadata", "spec"):
            notes = {key: field.pop(key) for key in ("description", "default", "title") if key in field}
            changed["properties"][name] = {**notes, "anyOf": [field, _VALUE]}
    return changed
