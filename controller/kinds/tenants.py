"""What runs on the compute pools of an account, ours and others', from one SHOW of all services.

SHOW tells who runs where, and how many instances; how large they are is declared for what is ours, and else told by DESCRIBE SERVICE,
where this role may ask for it. What cannot be seen counts as what Snowflake gives to a container that asks for nothing, with a GPU on a
pool of GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from controller.account.snapshot import Describe, Missing, Row, Show
from controller.api.names import Identifier, QualifiedName
from controller.api.objects import ObjectKey
from controller.kinds.base import Room, View
from controller.kinds.comments import from_attribute, marked_name
from controller.kinds.mark import Mark, mark_of
from controller.kinds.properties import as_bool, as_int, as_upper
from controller.kinds.services.comparison import parse
from controller.kinds.sizes import DEFAULT, Size, of_specification

SERVICES = Show("SERVICES", "ACCOUNT")
_AT_REST = frozenset({"SUSPENDED", "DELETED"})
_ENDED = frozenset({"DONE", "FAILED", "CANCELLED", "INTERNAL_ERROR"})
_LEAVING = frozenset({"SUSPENDING", "CANCELLING", "DELETING"})


class Phase(StrEnum):
    RUNNING = "running"
    SUBMITTED = "submitted"  # a job that has not started
    LEAVING = "leaving"
    AT_REST = "at rest"


@dataclass(frozen=True)
class Tenant:
    """One service or job in the account. `key` is the object of this project that it was made for, None for what is others'."""

    name: QualifiedName
    phase: Phase
    job: bool
    instances: int
    key: ObjectKey | None = None
    held: str = ""  # `Kind/name` of what it was suspended for
    paused: bool = False

    @property
    def shown(self) -> str:
        """What is neither declared nor a part of what is: of others, or of an object whose manifest is gone."""
        whose = "others" if self.key is None else f"{self.key}, which is in no manifest any more"
        return f"{'job' if self.job else 'service'} {self.name} of {whose}"


def tenants(view: View) -> dict[str, list[Tenant]]:
    """All services and jobs that have not ended, by the stored name of their pool. None where the account was not asked."""
    found: dict[str, list[Tenant]] = {}
    for row in view.snapshot.rows(SERVICES) if view.snapshot.asked(SERVICES) else ():
        tenant = _tenant(row, view)
        if tenant is not None:
            found.setdefault(as_upper(row.get("compute_pool")) or "", []).append(tenant)
    return found


def strangers(view: View, pool: str) -> list[Describe]:
    """The questions that tell how large others' services on a pool are, and jobs whose manifests are gone."""
    here = (tenant for tenant in tenants(view).get(pool, []) if tenant.phase is not Phase.AT_REST)
    return [Describe("SERVICE", tenant.name.sql) for tenant in here if tenant.key is None or (tenant.job and tenant.key not in view.graph)]


def size_of(tenant: Tenant, room: Room, view: View) -> Size:
    """Of one instance of what is not declared here."""
    question = Describe("SERVICE", tenant.name.sql)
    answer = view.snapshot.answers.get(question, ())
    text = next((row.get("spec") for row in answer), None) if not isinstance(answer, Missing) else None
    try:
        return of_specification(parse(str(text))) if text else replace(DEFAULT, gpus=min(1, room.node.gpus))
    except ValueError:
        return DEFAULT


def _tenant(row: Row, view: View) -> Tenant | None:
    parts = [row.get("database_name"), row.get("schema_name"), row.get("name")]
    if not all(parts):
        return None
    name = QualifiedName(tuple(Identifier(str(part)) for part in parts))
    status, job = as_upper(row.get("status")) or "", as_bool(row.get("is_job")) is True
    if job and status in _ENDED:
        return None
    mark = mark_of(row)
    ours = mark is not None and mark.project == view.project.name
    attributes: Mapping[str, str] = mark.attributes if mark is not None and ours else {}
    target = as_int(row.get("target_instances")) or 0
    return Tenant(
        name,
        _phase(status, job),
        job,
        max(1, target, as_int(row.get("min_instances")) or 0 if not job else 0),
        _key(name, mark) if mark is not None and ours else None,
        from_attribute(attributes.get("held", "")),
        attributes.get("paused") == "yes",
    )


def _phase(status: str, job: bool) -> Phase:
    if status in _AT_REST:
        return Phase.AT_REST
    if status in _LEAVING:
        return Phase.LEAVING
    return Phase.SUBMITTED if job and status == "PENDING" else Phase.RUNNING


def _key(name: QualifiedName, mark: Mark) -> ObjectKey | None:
    """The object that a mark names, in the schema where the service is."""
    last = marked_name(mark)
    return ObjectKey(mark.kind, name.parent.child(last)) if last is not None and name.parent is not None else None
