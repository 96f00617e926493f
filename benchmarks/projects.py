"""Projects of any size for the benchmarks: a mix of kinds as a data platform has it, in files of about forty objects each.

The number of scopes (schemas, roles) is the same from a hundred objects on, so that what grows with the number of objects can be told from
what grows with the number of scopes. Nothing here starts a container: what is measured is the reconciler.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET_VARIABLE = "SNOWCAT_BENCHMARK_SECRET"
PER_FILE = 40
_MIX = (  # kind, share of what is not a container; the rest are stages
    ("Warehouse", 0.10),
    ("ComputePool", 0.05),
    ("NetworkRule", 0.20),
    ("ExternalAccessIntegration", 0.05),
    ("ImageRepository", 0.05),
    ("Secret", 0.02),
)


@dataclass(frozen=True)
class BenchProject:
    """One generated project. `documents` are its manifests."""

    name: str
    documents: tuple[dict[str, Any], ...]

    @property
    def kinds(self) -> dict[str, int]:
        """Objects by kind."""
        return dict(Counter(document["kind"] for document in self.documents))

    @property
    def schemas(self) -> int:
        return self.kinds.get("Schema", 0)

    @property
    def roles(self) -> int:
        return self.kinds.get("Role", 0)

    def write(self, folder: Path) -> None:
        """The project as files: `snowcat.yaml` and one file for every forty objects."""
        folder.mkdir(parents=True)
        project = {
            "apiVersion": "snowcat/v1",
            "kind": "Project",
            "project": self.name,
            "role": f"{self.name}_worker",
            "users": ["admin"],
            "resync": "30s",
        }
        (folder / "snowcat.yaml").write_text(json.dumps(project) + "\n")
        for start in range(0, len(self.documents), PER_FILE):
            text = "---\n".join(_yaml(document) for document in self.documents[start : start + PER_FILE])
            (folder / f"objects_{start // PER_FILE:03}.yaml").write_text(text)

    def file_of(self, kind: str) -> tuple[int, int]:
        """File number and place in it of the last object of a kind."""
        place = max(n for n, document in enumerate(self.documents) if document["kind"] == kind)
        return divmod(place, PER_FILE)


def project(name: str, size: int) -> BenchProject:
    """A project of `size` objects, 10 or more. All names start with the project's, so that several live in one account."""
    databases, schemas, roles = (1, 1, 1) if size < 100 else (2, 8, 4)
    made = list(_containers(name, databases, schemas, roles))
    homes = [f"{document['metadata']['database']}.{document['metadata']['name']}" for document in made if document["kind"] == "Schema"]
    counts = {kind: max(1, int((size - len(made)) * share)) for kind, share in _MIX}
    counts["Stage"] = size - len(made) - sum(counts.values())
    rules = [_named(f"{name}_rule_{n}", homes[n % len(homes)]) for n in range(counts["NetworkRule"])]
    for kind, count in counts.items():
        made += [_object(kind, f"{name}_{n}", n, homes[n % len(homes)], rules) for n in range(count)]
    return BenchProject(name, tuple(made))


def _containers(name: str, databases: int, schemas: int, roles: int) -> Iterator[dict[str, Any]]:
    for n in range(roles):
        yield _document("Role", {"name": f"{name}_role_{n}"}, {})
    for n in range(databases):
        yield _document("Database", {"name": f"{name}_db_{n}", "deletionPolicy": "delete"}, {})
    for n in range(schemas):
        yield _document("Schema", {"name": f"s_{n}", "database": f"{name}_db_{n % databases}", "deletionPolicy": "delete"}, {})


def _object(kind: str, name: str, n: int, home: str, rules: list[str]) -> dict[str, Any]:
    in_schema = {"name": name, "schema": home}
    match kind:
        case "Warehouse":
            return _document(kind, {"name": f"{name}_wh"}, {"size": ("XSMALL", "SMALL")[n % 2], "autoSuspend": 60 + n % 5})
        case "ComputePool":
            return _document(kind, {"name": f"{name}_pool"}, {"instanceFamily": "CPU_X64_XS", "maxNodes": 1 + n % 3})
        case "NetworkRule":
            return _document(kind, {**in_schema, "name": rules[n].rpartition(".")[2]}, {"values": [f"host{n}.example.com"]})
        case "ExternalAccessIntegration":
            return _document(kind, {"name": f"{name}_access"}, {"networkRules": [rules[n % len(rules)]]})
        case "Secret":
            return _document(kind, in_schema, {"valueFrom": {"env": SECRET_VARIABLE}})
        case "Stage":
            return _document(kind, {**in_schema, "deletionPolicy": "delete"}, {"comment": f"stage number {n}"})
        case _:
            return _document(kind, {**in_schema, "deletionPolicy": "delete"}, {})


def _named(name: str, home: str) -> str:
    return f"{home}.{name}"


def _document(kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "snowcat/v1", "kind": kind, "metadata": metadata, **({"spec": spec} if spec else {})}


def _yaml(document: dict[str, Any]) -> str:
    """Block style at the top as people write it, flow style (JSON) below."""
    return "".join(f"{key}: {value if isinstance(value, str) else json.dumps(value)}\n" for key, value in document.items())
