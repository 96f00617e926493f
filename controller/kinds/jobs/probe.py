"""`probe: true`: a short job that measures two micro-steps on one real node, before anything is trained.

What it finds lies on the output stage, `probes/<identity>.json`. The identity is that of what a measurement depends on: the model, the
technique, the number format and the family of the nodes, but not rank, learning rate or rows. So jobs of one model share a probe, and the
runs of a sweep do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controller.api.fine_tune_job import FineTuneJobSpec
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject
from controller.kinds.base import Gatherer
from controller.kinds.jobs.service import JobFact, JobRequest, Mount, gather_job

FOLDER = "probes"
COMMAND = ("python", "-m", "container.probe")


def probe_identity(spec: FineTuneJobSpec, model: str, family: str) -> str:
    """8 hex digits; `model` is the identity of the base model."""
    training = {"dtype": spec.training.dtype, "attention": spec.training.attention, "compile": spec.training.compile}
    words = [model, spec.method.technique, training, family.upper()]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:8]


def gather_probe(
    obj: DesiredObject, spec: FineTuneJobSpec, model: str, family: str, stage: QualifiedName, gatherer: Gatherer
) -> tuple[JobFact | None, Mapping[str, Any] | None]:
    """The probe's jobs (None where the manifest asks for none), and what was measured, if only for another job of the project."""
    identity = probe_identity(spec, model, family)
    key = f"calibration:{identity}"
    fact = gather_job(obj, identity, stage, f"{FOLDER}/{identity}.json", gatherer, infix="probe_") if spec.probe else None
    if fact is not None and fact.result is not None:
        if gatherer.recall(key) != fact.result:
            gatherer.remember(key, dict(fact.result))
        return fact, fact.result
    known = gatherer.recall(key)
    return fact, known if isinstance(known, dict) else None


def as_probe(request: JobRequest, stage: QualifiedName, identity: str, path: str) -> JobRequest:
    """The request of a run, as that of its probe: one node, another program, another folder of the stage, mounted at `path`."""
    mounts = [mount for mount in request.mounts if mount.volume == "base"]
    return replace(
        request,
        command=COMMAND,
        env={**request.env, "SNOWCAT_PROBE": f"{identity}.json"},
        mounts=(*mounts, Mount("output", stage, FOLDER, path)),
        replicas=1,
    )
