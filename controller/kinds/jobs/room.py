"""What a job takes of its pool, from the same parts that its specification is made of."""

from __future__ import annotations

from controller.api.objects import DesiredObject
from controller.api.parts import Resources
from controller.kinds.base import Load, View
from controller.kinds.instance_families import Family
from controller.kinds.jobs.service import sized
from controller.kinds.sizes import of_specification


def job_load(
    obj: DesiredObject,
    view: View,
    resources: Resources | None,
    *,
    stages: int,
    family: Family | None = None,
    gpus: int = 0,
    replicas: int = 1,
    priority: int = 0,
) -> Load | None:
    """With so many stages mounted; None where the pool is none of the project's."""
    pool = view.graph.referred(obj, "computePool")
    if pool is None:
        return None
    body = {"containers": [{"resources": sized(resources, family, gpus)}], "volumes": [{"source": "stage"}] * stages}
    return Load(pool.key, of_specification({"spec": body}, family), replicas, job=True, priority=priority)
