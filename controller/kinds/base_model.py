"""BaseModel: a pretrained model in a folder of a stage, `@stage/base/<name>/<identity12>/`, put there by a small job or from this machine.

`model.json`, written last, says that the folder is complete. The identity is a hash of the source's description: another revision is
another folder, and a deployment moves over to it when it is ready.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from controller.account.snapshot import Show
from controller.api.base_model import BaseModel, BaseModelSpec
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import Effect, EffectContext, Gatherer, Health, Inventory, Kind, Load, Observation, Stalled, Step, View, Waiting
from controller.kinds.comments import marked_comment
from controller.kinds.image import image_path
from controller.kinds.jobs.endings import HOPELESS, last_progress
from controller.kinds.jobs.result import parsed, read_result
from controller.kinds.jobs.room import job_load
from controller.kinds.jobs.service import JobFact, JobRequest, Mount, gather_job, job_name
from controller.kinds.jobs.status import drop_jobs, job_inventory, jobs_of, observe_jobs
from controller.kinds.references import name_of, names_of, warehouse_of
from controller.kinds.service_health import services_in
from controller.kinds.services import specification

MANIFEST = "model.json"
CONFIG = "config.json"
_RETRIES = 3
_STAGE = "/snowcat/stage"


def identity_of(obj: DesiredObject) -> str:
    """sha256 of what the model is; the name of the secret for its download is no part of it.

    A folder of this machine counts by its path as written, so that the model is the same one wherever the repository is checked out.
    """
    return hashlib.sha256(json.dumps(description_of(obj), sort_keys=True).encode()).hexdigest()


def source_of(obj: DesiredObject) -> dict[str, Any]:
    """The source as the fetcher takes it; a local path is absolute."""
    document = description_of(obj)
    if "path" in document:
        document["path"] = str((obj.location.file.parent / document["path"]).resolve())
    return document


def description_of(obj: DesiredObject) -> dict[str, Any]:
    """The source as the manifest has it, but for its secret."""
    document: dict[str, Any] = _spec(obj).source.model_dump(mode="json", by_alias=True, exclude_none=True)
    document.get("huggingFace", {}).pop("tokenSecret", None)
    return document


def stage_of(obj: DesiredObject) -> QualifiedName:
    return name_of(obj, "stage")


def folder_of(obj: DesiredObject) -> str:
    """The model's folder within its stage."""
    return f"base/{obj.key.name.name.text.lower()}/{identity_of(obj)[:12]}"


def config_of(obj: DesiredObject, gatherer: Gatherer) -> Mapping[str, Any] | None:
    """The model's `config.json`: from the folder that it comes from, else from the stage once it is there. None while it is not known."""
    source = _spec(obj).source
    if source.path is not None:
        return parsed(_read(obj.location.file.parent / source.path / CONFIG))
    key = f"config:{identity_of(obj)}"
    known = gatherer.recall(key)
    if known is None and not gatherer.offline and read_result(stage_of(obj), f"{folder_of(obj)}/{MANIFEST}", gatherer).document is not None:
        known = parsed(gatherer.read_stage_file(stage_of(obj).sql, f"{folder_of(obj)}/{CONFIG}")) or {}
        gatherer.remember(key, known)
    return known if isinstance(known, dict) else None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@dataclass(frozen=True)
class UploadModel(Effect):
    """Make the model's folder on this machine and copy it to the stage, `model.json` last."""

    name: str
    config: Mapping[str, Any]
    stage: QualifiedName
    folder: str

    def __str__(self) -> str:
        return f"fetch model {self.name} on this machine and upload it to @{self.stage}/{self.folder}"

    def run(self, context: EffectContext) -> None:
        local = context.workdir / "model"
        context.progress(f"fetching model {self.name}")
        self._fetch(local)
        files = sorted(path for path in local.rglob("*") if path.is_file())
        ordered = [path for path in files if path.name != MANIFEST] + [local / MANIFEST]
        for number, path in enumerate(ordered, 1):
            inside = path.relative_to(local).parent.as_posix()
            context.progress(f"uploading {path.name} ({number} of {len(ordered)})")
            context.session.put_file(path, self.stage, f"{self.folder}/{inside}".rstrip("/."))

    def _fetch(self, local: Path) -> None:
        """The same program that the job runs, as a process of its own: it needs the packages of the trainer's image here."""
        document = {**self.config, "output": {"path": str(local)}}
        ended = subprocess.run(
            [sys.executable, "-m", "container.fetch"],
            env=_environment(document),
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode == 0:
            return
        said = (last_progress(ended.stdout) or {}).get("message") or (ended.stderr.strip().splitlines() or ["no output"])[-1]
        if ended.returncode in HOPELESS:
            raise Stalled(str(said), HOPELESS[ended.returncode])
        raise Waiting(f"fetching model {self.name} failed: {said}")


def _environment(document: Mapping[str, Any]) -> dict[str, str]:
    return {**os.environ, "SNOWCAT_CONFIG": json.dumps(document), "PYTHONPATH": str(Path(__file__).parents[2])}


class BaseModelKind(Kind):
    name: ClassVar[str] = "BaseModel"
    manifest: ClassVar[type[BaseModel]] = BaseModel
    update_makes: ClassVar[bool] = True

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> JobFact:
        return gather_job(obj, identity_of(obj)[:8], stage_of(obj), f"{folder_of(obj)}/{MANIFEST}", gatherer, infix="load_")

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        return (services_in(obj.key.name),)

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        fact = _fact(obj, view)
        if _spec(obj).via == "local":
            if fact.result is None:
                message = fact.lacks or "not uploaded yet"
                return Observation(exists=False, health=Health.MISSING, message=message, reason="Missing", markable=False)
            return Observation(exists=True, message=_described(fact), reason="Uploaded", observed=_observed(obj), markable=False)
        return observe_jobs(obj, jobs_of(obj, fact, _RETRIES, view), fact, _described(fact), "model")

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        if _spec(obj).via == "local":
            name = str(obj.key).partition("/")[2]
            config = {"source": source_of(obj), "identity": identity_of(obj)}
            return (UploadModel(name, config, stage_of(obj), folder_of(obj)),)
        return self._start(obj, view)

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        return self.create(obj, view)

    def _start(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        fact = _fact(obj, view)
        due = jobs_of(obj, fact, _RETRIES, view).next
        if due.stalled:
            raise Stalled(due.stalled, due.reason)
        if due.attempt is None:
            return ()
        spec = _spec(obj)
        folder = folder_of(obj)
        path = f"{_STAGE}/{folder}"
        config = {"source": source_of(obj), "output": {"path": path}, "identity": identity_of(obj)}
        secret = obj.references.get("source.huggingFace.tokenSecret")
        request = JobRequest(
            name=job_name(obj, fact, due.attempt),
            pool=name_of(obj, "computePool"),
            image=image_path(obj, "image", str(spec.image), view),
            command=("python", "-m", "container.fetch"),
            env={"SNOWCAT_CONFIG": specification.configuration(config)},
            mounts=(Mount("stage", stage_of(obj), folder, path),),
            resources=spec.resources,
            secrets=[secret_as(secret, "HF_TOKEN")] if secret is not None else [],
            warehouse=warehouse_of(obj, view),
            access=names_of(obj, "externalAccess"),
        )
        return (request.statement(marked_comment(obj, view, run=fact.identity, attempt=str(due.attempt))),)

    def load(self, obj: DesiredObject, view: View) -> Load | None:
        spec = _spec(obj)
        return job_load(obj, view, spec.resources, stages=1, priority=spec.priority) if spec.via == "job" else None

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        return drop_jobs(key, view)

    def inventory_reads(self) -> Iterable[Show]:
        return (Show("SERVICES", "ACCOUNT"),)

    def inventory(self, view: View) -> Iterable[Inventory]:
        return job_inventory(self.name, view)


def secret_as(secret: ObjectKey, variable: str) -> dict[str, Any]:
    """The text of a secret as an environment variable of a container."""
    return {"snowflakeSecret": {"objectName": secret.name.sql}, "envVarName": variable, "secretKeyRef": "secret_string"}


def _spec(obj: DesiredObject) -> BaseModelSpec:
    return cast(BaseModelSpec, obj.manifest.spec)


def _fact(obj: DesiredObject, view: View) -> JobFact:
    return cast(JobFact, view.fact(obj.key))


def _described(fact: JobFact) -> str:
    result = fact.result or {}
    parameters = result.get("parameters")
    size = f"{parameters / 1e6:.0f} million parameters" if isinstance(parameters, int) and parameters < 1e9 else ""
    size = size or (f"{parameters / 1e9:.1f} billion parameters" if isinstance(parameters, int) else "")
    return ", ".join(part for part in (str(result.get("architecture") or ""), size) if part) or "on the stage"


def _observed(obj: DesiredObject) -> dict[str, Any]:
    return {"model": identity_of(obj)[:8], "folder": f"@{stage_of(obj)}/{folder_of(obj)}"}
