"""A service of the account as a manifest's `spec`: its row of SHOW and the specification that DESCRIBE shows."""

from __future__ import annotations

from typing import Any

from controller.account.snapshot import Row
from controller.api.names import QualifiedName
from controller.kinds.exporting import name_text, written_name
from controller.kinds.properties import as_bool, as_int, as_upper
from controller.kinds.services.comparison import Document, normalised


def is_manifest_like(row: Row) -> bool:
    """Whether a row of SHOW SERVICES is a service that a person made: no job, and nothing that Snowflake runs for a feature of its own."""
    return not as_bool(row.get("is_job")) and not row.get("managing_object_name")


def service_spec(row: Row, document: Document, home: QualifiedName | None) -> dict[str, Any]:
    """What SHOW does not hold as a plain property, and the specification without what the service filled in."""
    found: dict[str, Any] = {"computePool": name_text(row.get("compute_pool")), "specification": _specification(document, home)}
    least = as_int(row.get("min_instances")) or 1
    numbers = {
        "minInstances": least,
        "maxInstances": as_int(row.get("max_instances")),
        "minReadyInstances": as_int(row.get("min_ready_instances")),
    }
    found |= {key: number for key, number in numbers.items() if number is not None and number != (1 if key == "minInstances" else least)}
    if warehouse := as_upper(row.get("query_warehouse")):
        found["warehouse"] = name_text(f'"{warehouse}"')
    return found


def _specification(document: Document, home: QualifiedName | None) -> Document:
    body = normalised(document, home)
    for container in (body.get("spec") or {}).get("containers") or []:
        for use in container.get("secrets") or []:
            use["snowflakeSecret"] = {"objectName": _secret_name(str(use["snowflakeSecret"]))}
    return body


def _secret_name(text: str) -> str:
    return written_name(QualifiedName.parse(text)) if not text.startswith("reference ") else text
