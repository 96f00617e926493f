"""The reference and the schemas are what the models say, and every lab manifest passes its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from controller.api.reference import reference, schemas
from controller.api.registry import KINDS, json_schema
from controller.manifests.nodes import documents

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
STALE = "out of date: python -m controller.api.reference docs"


def test_the_reference_is_up_to_date() -> None:
    assert (DOCS / "manifests.md").read_text(encoding="utf-8") == reference(), STALE


def test_the_schemas_are_up_to_date() -> None:
    made = schemas()
    assert {path.name for path in (DOCS / "schemas").iterdir()} == made.keys(), STALE
    for name, text in made.items():
        assert (DOCS / "schemas" / name).read_text(encoding="utf-8") == text, f"{name} is {STALE}"


@pytest.mark.parametrize("kind", [*KINDS, "Project", None])
def test_schemas_are_valid(kind: str | None) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(kind))


def test_every_field_that_a_person_must_understand_is_described() -> None:
    """Required fields of a spec have a text: it is also the hint when the field is missing."""
    silent = [
        f"{kind}.{field.alias}"
        for kind, model in KINDS.items()
        for field in model.model_fields["spec"].annotation.model_fields.values()  # type: ignore[union-attr]
        if field.is_required() and not field.description
    ]
    assert silent == []


def test_a_manifest_passes_the_schema_and_a_misspelt_one_does_not() -> None:
    pool = {"apiVersion": "snowcat/v1", "kind": "ComputePool", "metadata": {"name": "p"}, "spec": {"instanceFamily": "CPU_X64_XS"}}
    check = jsonschema.Draft202012Validator(json_schema())
    check.validate(pool)
    with pytest.raises(jsonschema.ValidationError):
        check.validate({**pool, "spec": {"instanceFamly": "CPU_X64_XS"}})


def lab_documents() -> list[tuple[str, Any]]:
    files = sorted((ROOT / "manifests" / "lab").glob("*.yaml"))
    return [(f"{file.name}:{node.line}", node.plain) for file in files for node in documents(file.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("place", "document"), lab_documents(), ids=lambda part: part if isinstance(part, str) else "")
def test_the_lab_passes_its_schemas_before_values_are_filled_in(place: str, document: Any) -> None:
    jsonschema.Draft202012Validator(json_schema(document["kind"])).validate(document)
