"""Workspace: Jupyter as a service with a stage as its folder, and notebooks put there from the repository.

A small list on the stage, `.snowcat/<name>.json`, says which version of each notebook was uploaded. Only a notebook that changed in the
repository is uploaded again: what people edit and save in Jupyter is theirs until then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from controller.account.snapshot import Show
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.api.workspace import Workspace, WorkspaceSpec
from controller.kinds.base import Effect, EffectContext, FieldChange, Gatherer, Kind, Observation, Stalled, Step, View
from controller.kinds.children import common_references, service_child
from controller.kinds.image import image_path
from controller.kinds.jobs.service import Mount, sized, stage_volume
from controller.kinds.references import name_of, schema_scope
from controller.kinds.service_health import find, lagging, look_closer, services_in

PORT, ENDPOINT = 8888, "notebook"
_FOLDER = "/snowcat/stage"


@dataclass(frozen=True)
class WorkspaceFact:
    """The notebooks of the repository and what the stage has of them: file name → sha256."""

    files: Mapping[str, Path]
    wanted: Mapping[str, str]
    uploaded: Mapping[str, str] | None  # None: not known (offline), or never

    @property
    def due(self) -> list[str]:
        """Names of the notebooks to upload."""
        return sorted(name for name, digest in self.wanted.items() if (self.uploaded or {}).get(name) != digest)


@dataclass(frozen=True)
class UploadNotebooks(Effect):
    """Copy notebooks to the stage, and the list of them last."""

    workspace: str
    stage: QualifiedName
    files: tuple[tuple[str, Path], ...]
    listing: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"upload {', '.join(name for name, _ in self.files)} to @{self.stage}"

    def run(self, context: EffectContext) -> None:
        for name, path in self.files:
            context.progress(f"uploading {name}")
            context.session.put_file(path, self.stage)
        local = context.workdir / f"{self.workspace}.json"
        local.write_text(json.dumps(dict(self.listing), indent=2), encoding="utf-8")
        context.session.put_file(local, self.stage, ".snowcat")


class WorkspaceKind(Kind):
    name: ClassVar[str] = "Workspace"
    manifest: ClassVar[type[Workspace]] = Workspace

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> WorkspaceFact:
        look_closer(obj.key.name, gatherer)
        files = _notebooks(obj)
        wanted = {name: gatherer.hash_files([path]) for name, path in files.items()}
        return WorkspaceFact(files, wanted, _uploaded(obj, wanted, gatherer) if files else {})

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        return (services_in(obj.key.name),)

    def expand(self, obj: DesiredObject, view: View) -> Sequence[DesiredObject]:
        spec = _spec(obj)
        container: dict[str, Any] = {
            "name": "main",
            "image": image_path(obj, "image", spec.image, view),
            "env": {"SNOWCAT_PORT": str(PORT), "SNOWCAT_WORKSPACE_ROOT": _FOLDER, **spec.env},
            "readinessProbe": {"port": PORT, "path": "/api"},
            "volumeMounts": [{"name": "notebooks", "mountPath": _FOLDER}],
        }
        if resources := sized(spec.resources, None, 0):
            container["resources"] = resources
        document = {
            "computePool": spec.compute_pool,
            "specification": {
                "spec": {
                    "containers": [container],
                    "endpoints": [{"name": ENDPOINT, "port": PORT, "public": True}],
                    "volumes": [stage_volume(Mount("notebooks", name_of(obj, "stage"), "", _FOLDER))],
                }
            },
            "externalAccess": spec.external_access,
            "priority": spec.priority,
            "preemptible": spec.preemptible,
        }
        waits_for = [obj.references[path] for path in ("image", "stage") if path in obj.references]
        return (service_child(obj, document, common_references(obj), waits_for),)

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        fact = _fact(obj, view)
        exists = fact.uploaded is not None or find(view.snapshot.rows(services_in(obj.key.name)), obj.key.name) is not None
        due = fact.due
        drift = (FieldChange("notebooks", "other content", ", ".join(due)),) if due else ()
        message = f"{len(fact.wanted)} notebooks on the stage" if not due else f"to be uploaded: {', '.join(due)}"
        message += lagging(obj.key.name, view.snapshot)
        observed = {"notebooks": sorted(fact.wanted), "endpoint": ENDPOINT}
        return Observation(exists=exists, message=message, reason="Uploaded", drift=drift, observed=observed, markable=False)

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        fact = _fact(obj, view)
        if not fact.due:
            return ()
        files = tuple((name, fact.files[name]) for name in fact.due)
        workspace = obj.key.name.name.text.lower()
        return (UploadNotebooks(workspace, name_of(obj, "stage"), files, tuple(sorted(fact.wanted.items()))),)

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        return self.create(obj, view)

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        """Nothing of its own: the service carries a mark, and the notebooks stay with their stage."""
        return ()


def _notebooks(obj: DesiredObject) -> dict[str, Path]:
    """File name → path, of all patterns; two files of one name cannot lie in one folder."""
    folder = obj.location.file.parent
    found: dict[str, Path] = {}
    for pattern in _spec(obj).notebooks:
        paths = sorted(path for path in folder.glob(pattern) if path.is_file()) if not Path(pattern).is_absolute() else [Path(pattern)]
        if not paths:
            raise Stalled(f"{obj.location}: notebooks: nothing matches {folder / pattern}", "FileNotFound")
        for path in paths:
            other = found.setdefault(path.name, path)
            if other.resolve() != path.resolve():
                raise Stalled(f"{obj.location}: notebooks: {other} and {path} have the same name", "BadManifest")
    return found


def _uploaded(obj: DesiredObject, wanted: Mapping[str, str], gatherer: Gatherer) -> Mapping[str, str] | None:
    """The list on the stage; remembered once it is what is wanted, so that a steady look reads no file."""
    if gatherer.offline:
        return None
    stage = name_of(obj, "stage")
    row = next((row for row in gatherer.show(Show("STAGES", schema_scope(stage))) if row.get("name") == stage.name.text), None)
    if row is None:
        return None
    key = f"notebooks:{obj.key.name}:{stage}:{row.get('created_on')}"
    known = gatherer.recall(key)
    if known == dict(wanted):
        return dict(wanted)
    content = gatherer.read_stage_file(stage.sql, f".snowcat/{obj.key.name.name.text.lower()}.json")
    try:
        listing = json.loads(content) if content is not None else None
    except ValueError:
        listing = None
    if listing == dict(wanted):
        gatherer.remember(key, listing)
    return listing if isinstance(listing, dict) else None


def _fact(obj: DesiredObject, view: View) -> WorkspaceFact:
    return cast(WorkspaceFact, view.fact(obj.key))


def _spec(obj: DesiredObject) -> WorkspaceSpec:
    return cast(WorkspaceSpec, obj.manifest.spec)
